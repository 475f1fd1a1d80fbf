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
)

router = APIRouter()
for part in (overview, clusters, predictions, documents, scaling, reference, figures):
    router.include_router(part.router)
