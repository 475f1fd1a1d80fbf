"""The OpenAPI document: one problem schema behind every 4xx and 5xx."""

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from pydantic import TypeAdapter

from app.client.problems import Problem
from app.web.errors import PROBLEM_JSON
from app.web.scopes import needed_scope

URL = "/api/v1/openapi.json"
TITLE = "Quanta Explorer"
SUMMARY = "Discover, browse and follow the quanta that language models learn."
DESCRIPTION = (
    "Losses and entropies are nats; ranks start at 1; a number that is not finite or not defined "
    "is null. Lists are paged by cursor: send `next_cursor` back as `cursor`. Every error is a "
    "problem document (RFC 9457); its `remedy` says what to do. Responses have an ETag. "
    "If the server requires tokens, send `Authorization: Bearer <token>`: scope read reads, run "
    "also submits jobs, admin may do everything."
)
TAGS = [
    {"name": "suites", "description": "Models, checkpoints and their evaluations"},
    {"name": "corpora", "description": "Documents, tokens, losses and predictions"},
    {"name": "search", "description": "Predictions by curve shape, text and scores"},
    {"name": "scaling", "description": "Mean loss over model size and training step"},
    {"name": "quanta", "description": "Selections, similarities, clusterings and clusters"},
    {"name": "experiments", "description": "Toy networks: grokking, sparse parity and others"},
    {"name": "theory", "description": "The quantization model in numbers"},
    {"name": "jobs", "description": "Background computations"},
    {"name": "operation", "description": "Liveness, readiness and metrics"},
]
_EXAMPLE = {
    "type": "urn:quanta-explorer:problem:not-found",
    "title": "Not Found",
    "status": 404,
    "detail": "There is no clustering 7",
    "instance": "/api/v1/clusterings/7",
    "request_id": "5f1d9a3c0b7e2468",
    "remedy": "GET /api/v1/clusterings lists them",
}


_RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds after which to try again",
        "schema": {"type": "integer", "minimum": 1},
    }
}
SECURITY_SCHEMES = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token of `quanta token create`, or QUANTA_TOKEN. Ten invalid tokens "
        "in five minutes block their address for the rest of these minutes",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "quanta_session",
        "description": "The session cookie of /login; its name ends in _ and the server's port",
    },
}


def _problem(description: str, headers: dict[str, Any] | None = None) -> dict[str, Any]:
    reference = {"$ref": "#/components/schemas/Problem"}
    content: dict[str, Any] = {"content": {PROBLEM_JSON: {"schema": reference}}}
    return {"description": description, **content, **({"headers": headers} if headers else {})}


PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: _problem("No single Host header, or an unreadable body"),
    401: _problem("A token is required, or the token is unknown, expired or revoked"),
    403: _problem("The token's scope is insufficient, or the request comes from another site"),
    404: _problem("Not in the store"),
    409: _problem("Not finished yet"),
    414: _problem("An address longer than 32 KiB"),
    421: _problem("A host name that this server does not serve"),
    422: _problem("An invalid parameter; `errors` names it"),
    429: _problem("Too many invalid tokens from this address", _RETRY_AFTER),
    431: _problem("Headers longer than 32 KiB"),
    503: _problem("The database is missing or damaged, or busy: then with Retry-After"),
    507: _problem("The server's disk is full"),
}
MUTATION_PROBLEMS: dict[int | str, dict[str, Any]] = {
    413: _problem("A body larger than 1 MiB, or with more than 25,000 values"),
    415: _problem("A body that is not JSON, or is compressed"),
}


def _add_security(document: dict[str, Any] | None) -> None:
    """Add to every operation the scope that it needs, of a token or of a session."""
    assert document is not None, "FastAPI caches the document"
    document["components"]["securitySchemes"] = SECURITY_SCHEMES
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            needed = needed_scope(method.upper(), path)
            scopes = [needed] if needed else []
            operation["security"] = [{name: scopes} for name in SECURITY_SCHEMES]
            if method == "get":  # requests from this machine may read without a token
                operation["security"].append({})


class Application(FastAPI):
    """FastAPI with the problem schema in its OpenAPI document."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, built once."""
        if self.openapi_schema is None:
            schemas = super().openapi()["components"]["schemas"]
            template = "#/components/schemas/{model}"
            problem = TypeAdapter(Problem).json_schema(ref_template=template, mode="serialization")
            schemas.update(problem.pop("$defs"))
            schemas["Problem"] = {**problem, "examples": [_EXAMPLE]}
            _add_security(self.openapi_schema)
        assert self.openapi_schema is not None, "FastAPI caches the document"
        return self.openapi_schema


def described_application(**extra: Any) -> Application:
    """Return an application with its description, without FastAPI's own documentation pages."""
    return Application(
        title=TITLE,
        version=version("quanta-explorer"),
        summary=SUMMARY,
        description=DESCRIPTION,
        openapi_url=URL,
        openapi_tags=TAGS,
        docs_url=None,
        redoc_url=None,
        responses=PROBLEMS,
        **extra,
    )
