"""All pages in one router."""

from fastapi import APIRouter

from app.pages import (
    api_reference,
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
    api_reference,
    figures,
    login,
)
for part in PARTS:
    router.include_router(part.router)
