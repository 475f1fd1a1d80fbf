"""The OpenAPI document: one problem schema behind every 4xx and 5xx."""

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from pydantic import TypeAdapter

from app.errors import PROBLEM_JSON, Problem

URL = "/api/v1/openapi.json"
TITLE = "Quanta Explorer"
SUMMARY = "Discover, browse and follow the quanta that language models learn."
DESCRIPTION = (
    "Losses and entropies are nats; ranks start at 1; a number that is not finite or not defined "
    "is null. Lists are paged by cursor: send `next_cursor` back as `cursor`. Every error is a "
    "problem document (RFC 9457) whose `remedy` says what to do next. Answers carry an ETag. "
    "Where tokens are in use, send `Authorization: Bearer <token>`: read reads, run also asks "
    "for jobs, admin does everything."
)
TAGS = [
    {"name": "suites", "description": "Models, checkpoints and their evaluations"},
    {"name": "corpora", "description": "Documents, tokens, losses and predictions"},
    {"name": "search", "description": "Predictions by curve shape, text and scores"},
    {"name": "scaling", "description": "Mean loss over model size and training step"},
    {"name": "quanta", "description": "Selections, similarities, clusterings and clusters"},
    {"name": "jobs", "description": "Computing what is not stored yet, in the background"},
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


def _problem(description: str) -> dict[str, Any]:
    reference = {"$ref": "#/components/schemas/Problem"}
    return {"description": description, "content": {PROBLEM_JSON: {"schema": reference}}}


PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: _problem("Not one Host header, or a body that cannot be read"),
    401: _problem("A token is needed, or the one that was sent is unknown, expired or revoked"),
    403: _problem("The token's scope is too small, or not from this server's own pages"),
    404: _problem("No such thing in the store"),
    409: _problem("Not finished yet"),
    421: _problem("A host name that this server does not answer for"),
    422: _problem("A parameter that cannot be used; `errors` names it"),
    503: _problem("The database is missing, busy or damaged"),
}
MUTATION_PROBLEMS: dict[int | str, dict[str, Any]] = {
    413: _problem("A body larger than 1 MiB"),
    415: _problem("A body that is not JSON"),
}


class Application(FastAPI):
    """FastAPI whose OpenAPI document knows the problem schema."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, built once."""
        if self.openapi_schema is None:
            schemas = super().openapi()["components"]["schemas"]
            template = "#/components/schemas/{model}"
            problem = TypeAdapter(Problem).json_schema(ref_template=template, mode="serialization")
            schemas.update(problem.pop("$defs"))
            schemas["Problem"] = {**problem, "examples": [_EXAMPLE]}
        assert self.openapi_schema is not None, "FastAPI keeps what it built"
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
