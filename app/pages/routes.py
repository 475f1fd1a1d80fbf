"""All pages in one router."""

from fastapi import APIRouter

from app.pages import (
    clusters,
    documents,
    experiment_runs,
    figures,
    finer_grid,
    grokking,
    jobs,
    login,
    modular_addition,
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
    experiment_runs,
    grokking,
    finer_grid,
    omnigrok,
    parity,
    modular_addition,
    theory,
    reference,
    figures,
    login,
)
for part in PARTS:
    router.include_router(part.router)
