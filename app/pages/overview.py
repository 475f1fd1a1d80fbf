"""The overview, the glossary, and the pages of a store without clusters or documents."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from app.requests.dependencies import StoreDep
from app.web.templating import PageContext, render
from backend.corpora import corpora
from backend.quanta import clusterings
from backend.quanta import overview as overviews
from backend.quanta.views import Overview

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, kw_only=True)
class OverviewPage(PageContext):
    """Variables of the overview."""

    template: ClassVar[str] = "overview.html"

    title: str = "Overview"
    section: str = "overview"
    api: str = "/api/v1/suites"
    view: Overview


@dataclass(frozen=True, kw_only=True)
class EmptyPage(PageContext):
    """Variables of the page that says how to fill the store."""

    template: ClassVar[str] = "empty.html"

    section: Literal["clusters", "documents"]


@dataclass(frozen=True, kw_only=True)
class GlossaryPage(PageContext):
    """Variables of the glossary."""

    template: ClassVar[str] = "glossary.html"

    title: str = "Glossary"
    section: str = "glossary"


@router.get("/")
def overview(request: Request, store: StoreDep) -> Response:
    """Show the contents of the store and where to begin."""
    return render(request, OverviewPage(view=overviews.overview(store)))


@router.get("/clusterings")
def default_clustering(request: Request, store: StoreDep) -> Response:
    """Redirect to the default clustering; without one, say how to make it."""
    default = overviews.overview(store).default_clustering if _has_clusterings(store) else None
    if default is not None:
        return RedirectResponse(f"/clusterings/{default}", 307)
    return render(request, EmptyPage(section="clusters", title="Clusters"))


def _has_clusterings(store: StoreDep) -> bool:
    return bool(clusterings.list_clusterings(store))


@router.get("/documents")
def default_documents(request: Request, store: StoreDep) -> Response:
    """Redirect to the documents of the first corpus; without one, say how to add it."""
    rows = corpora.list_corpora(store)
    if rows:
        return RedirectResponse(f"/documents/{rows[0].id}", 307)
    return render(request, EmptyPage(section="documents", title="Documents"))


@router.get("/glossary")
def glossary(request: Request) -> Response:
    """Explain the words and formulas of the dashboard."""
    return render(request, GlossaryPage())
