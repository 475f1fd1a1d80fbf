"""All pages in one router."""

from fastapi import APIRouter

from app.pages import (
    clusters,
    documents,
    figures,
    jobs,
    overview,
    predictions,
    reference,
    scaling,
)

router = APIRouter()
for part in (overview, clusters, predictions, documents, jobs, scaling, reference, figures):
    router.include_router(part.router)
