"""The web application: `uvicorn app.main:create_app --factory`."""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware

from app.api import (
    arrow,
    clusterings,
    clusters,
    corpora,
    experiments,
    exports,
    jobs,
    operation,
    parity,
    predictions,
    similarities,
    suites,
    theory,
)
from app.api.openapi import described_application
from app.pages.routes import router as pages
from app.web import errors
from app.web.access_control import AccessControl
from app.web.body_limit import BodyLimit
from app.web.etag import ConditionalRequests
from app.web.login_attempts import LoginAttempts
from app.web.metrics import Metrics
from app.web.paths import static_dir
from app.web.request_log import RequestLog, log_to_stderr
from app.web.response_cache import ResponseCache
from app.web.security_headers import SecurityHeaders
from app.web.static_files import CachedStatic
from backend.jobs import queue
from backend.settings import settings
from backend.store.database import Store, open_store

COMPRESSION_LEVEL = 5
MIN_COMPRESSED_BYTES = 1024
API_ROUTERS = (
    suites.router,
    corpora.router,
    predictions.router,
    exports.router,
    similarities.router,
    experiments.router,
    clusterings.router,
    clusters.router,
    theory.router,
    parity.router,
    jobs.router,
    operation.router,
)

GC_THRESHOLDS, GC_DEFAULT = (20_000, 20, 50), gc.get_threshold()


def _middleware(store: Store, metrics: Metrics) -> list[Middleware]:
    # Outermost first: refusals and errors are logged and get the security headers; ETags hash the
    # uncompressed body, and the cache stores the compressed one.
    return [
        Middleware(SecurityHeaders),
        Middleware(RequestLog, metrics=metrics),
        Middleware(AccessControl, store=store),
        Middleware(BodyLimit),
        Middleware(ResponseCache, store=store),
        Middleware(
            GZipMiddleware,
            minimum_size=MIN_COMPRESSED_BYTES,
            compresslevel=COMPRESSION_LEVEL,
            # Cosines and losses do not compress well.
            exclude_content_types=(*DEFAULT_EXCLUDED_CONTENT_TYPES, arrow.MEDIA_TYPE),
        ),
        Middleware(ConditionalRequests),
    ]


def _open_store() -> Store:
    log_to_stderr()
    return open_store(settings())


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    queue.preload()
    # Loaded modules are never garbage; collect only objects of requests, and less often.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    yield
    gc.unfreeze()
    gc.set_threshold(*GC_DEFAULT)
    app.state.store.engine.dispose()


def create_app(store: Store | None = None) -> FastAPI:
    """Return the application for `store`, by default the store of the settings."""
    store = store or _open_store()
    metrics = Metrics(store)
    app = described_application(middleware=_middleware(store, metrics), lifespan=_lifespan)
    app.state.store = store
    app.state.metrics = metrics
    app.state.attempts = LoginAttempts()
    errors.install_handlers(app)
    for router in API_ROUTERS:
        app.include_router(router)
    app.include_router(pages, include_in_schema=False)
    app.mount("/static", CachedStatic(directory=static_dir()), name="static")
    return app
