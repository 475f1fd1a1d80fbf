"""All pages in one router."""

from fastapi import APIRouter

from app.pages import (
    clock,
    clusters,
    documents,
    experiment_parts,
    figures,
    grokking,
    jobs,
    login,
    omnigrok,
    overview,
    parity,
    predictions,
    reference,
    scaling,
    search,
    theory,
)

router = APIRouter()
PARTS = (
    overview,
    clusters,
    predictions,
    search,
    documents,
    jobs,
    scaling,
    experiment_parts,
    grokking,
    omnigrok,
    parity,
    clock,
    theory,
    reference,
    figures,
    login,
)
for part in PARTS:
    router.include_router(part.router)
