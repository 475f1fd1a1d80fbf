"""All pages in one router."""

from fastapi import APIRouter

from app.pages import (
    clusters,
    documents,
    experiment_parts,
    figures,
    grokking,
    jobs,
    login,
    omnigrok,
    overview,
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
    theory,
    reference,
    figures,
    login,
)
for part in PARTS:
    router.include_router(part.router)
