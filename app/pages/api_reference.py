"""The offline page of the HTTP API, made from the OpenAPI document."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.web.templating import PageContext, render

router = APIRouter(include_in_schema=False)

JsonObject = Mapping[str, Any]


@dataclass(frozen=True)
class Parameter:
    """One parameter of a route; `choices` is empty if any value of the type is valid."""

    name: str
    place: str
    is_required: bool
    type: str
    default: str
    choices: tuple[str, ...]
    description: str


@dataclass(frozen=True)
class Operation:
    """One route with its parameters."""

    method: str
    path: str
    summary: str
    description: str
    parameters: tuple[Parameter, ...]
    has_body: bool

    @property
    def anchor(self) -> str:
        """Id of its element on the page."""
        return f"{self.method}{self.path}".replace("/", "-").replace("{", "").replace("}", "")


@dataclass(frozen=True, kw_only=True)
class ReferencePage(PageContext):
    """Variables of the reference of the HTTP API."""

    template: ClassVar[str] = "api.html"

    title: str = "HTTP API"
    section: str = "api"
    operations: list[Operation]


def _alternatives(schema: JsonObject) -> list[JsonObject]:
    return [part for part in schema.get("anyOf", [schema]) if part.get("type") != "null"]


def _parameter(raw: JsonObject) -> Parameter:
    schema = raw.get("schema", {})
    first = next(iter(_alternatives(schema)), {})
    default = schema.get("default")
    return Parameter(
        name=raw["name"],
        place=raw["in"],
        is_required=raw.get("required", False),
        type=first.get("type", "string"),
        default="" if default is None else str(default).lower(),
        choices=tuple(str(value) for value in first.get("enum", ())),
        description=raw.get("description", ""),
    )


def operations(document: JsonObject) -> list[Operation]:
    """Return the routes of an OpenAPI document in its order."""
    return [
        Operation(
            method=method.upper(),
            path=path,
            summary=raw.get("summary", ""),
            description=raw.get("description", ""),
            parameters=tuple(_parameter(parameter) for parameter in raw.get("parameters", ())),
            has_body="requestBody" in raw,
        )
        for path, methods in document.get("paths", {}).items()
        for method, raw in methods.items()
    ]


@router.get("/api")
def reference(request: Request) -> Response:
    """List the routes of the HTTP API with a form to try each."""
    return render(request, ReferencePage(operations=operations(request.app.openapi())))
