"""The first page and the two that need no store: glossary and errors' way home."""

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from app.pages.glossary import TERMS
from app.requests.dependencies import StoreDep
from app.web.templating import render
from backend.corpora import corpora
from backend.quanta import clusterings
from backend.quanta import overview as overviews

router = APIRouter(include_in_schema=False)


@router.get("/")
def overview(request: Request, store: StoreDep) -> Response:
    """Show what the store holds and where to begin."""
    view = overviews.overview(store)
    return render(
        request,
        "overview.html",
        view=view,
        section="overview",
        title="Overview",
        api="/api/v1/suites",
    )


@router.get("/clusterings")
def default_clustering(request: Request, store: StoreDep) -> Response:
    """Go to the clustering that is shown by default, or say how to make one."""
    default = overviews.overview(store).default_clustering if _has_clusterings(store) else None
    if default is not None:
        return RedirectResponse(f"/clusterings/{default}", 307)
    return render(request, "empty.html", section="clusters", title="Clusters", kind="clusters")


def _has_clusterings(store: StoreDep) -> bool:
    return bool(clusterings.list_clusterings(store))


@router.get("/documents")
def default_documents(request: Request, store: StoreDep) -> Response:
    """Go to the documents of the first corpus, or say how to add one."""
    rows = corpora.list_corpora(store)
    if rows:
        return RedirectResponse(f"/documents/{rows[0].id}", 307)
    return render(request, "empty.html", section="documents", title="Documents", kind="documents")


@router.get("/glossary")
def glossary(request: Request) -> Response:
    """Explain the words and formulas of the dashboard."""
    return render(request, "glossary.html", section="glossary", title="Glossary", terms=TERMS)
