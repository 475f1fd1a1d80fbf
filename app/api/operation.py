"""Liveness, readiness and metrics, at the root."""

from importlib.metadata import version

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.client.types import Health, Readiness
from app.requests.dependencies import StoreDep
from app.web.metrics import CONTENT_TYPE, Metrics
from backend.errors import StoreError
from backend.store import database as db

VERSION = version("quanta-explorer")

router = APIRouter(tags=["operation"])


@router.get("/healthz")
def healthz(response: Response) -> Health:
    """Whether the process responds."""
    response.headers["Cache-Control"] = "no-store"
    return Health("ok", VERSION)


@router.get("/readyz")
def readyz(store: StoreDep, response: Response) -> Readiness:
    """Whether the database responds and has the newest schema."""
    response.headers["Cache-Control"] = "no-store"
    current, newest = db.revisions(store.engine)
    if current != newest:
        raise StoreError(
            f"the database is at revision {current}, this program needs {newest}",
            "Run `quanta db upgrade`, then try again",
        )
    return Readiness("ready", newest)


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def metrics(request: Request) -> Response:
    """Requests, latencies, jobs, workers and the process, for Prometheus."""
    collected: Metrics = request.app.state.metrics
    return Response(
        collected.text(), media_type=CONTENT_TYPE, headers={"Cache-Control": "no-store"}
    )
