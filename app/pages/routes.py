"""All pages in one router."""

from fastapi import APIRouter

from app.pages import (
    clusters,
    documents,
    figures,
    overview,
    predictions,
    reference,
    scaling,
    search,
)

router = APIRouter()
for part in (overview, clusters, predictions, search, documents, scaling, reference, figures):
    router.include_router(part.router)
