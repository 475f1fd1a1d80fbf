"""The documented routes as a list of cases, read from the OpenAPI document."""

from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

MAX_INTEGER = 2**31 - 1


@dataclass(frozen=True)
class Route:
    """One documented GET route."""

    path: str
    parameters: tuple[dict[str, Any], ...]

    def url(self, names: dict[str, Any], **changes: Any) -> str:
        """The route's address with known values, some of them changed."""
        values = {**names, **changes}
        return self.path.format(
            **{p["name"]: values[p["name"]] for p in self.parameters if p["in"] == "path"}
        )

    def query(self, names: dict[str, Any], **changes: Any) -> dict[str, Any]:
        """The required query parameters with known values, some of them changed or added."""
        required = [p["name"] for p in self.parameters if p["in"] == "query" and p["required"]]
        existing = {p["name"] for p in self.parameters if p["in"] == "query"}
        values = {name: names[name] for name in required}
        return values | {name: value for name, value in changes.items() if name in existing}


def documented(app: FastAPI) -> list[Route]:
    """Every GET route of the OpenAPI document but events, which last, and files of exports."""
    paths = app.openapi()["paths"]
    return [
        Route(path, tuple(operations["get"].get("parameters", ())))
        for path, operations in paths.items()
        if "get" in operations and not path.endswith(("/events", "/file"))
    ]


def impossible(schema: dict[str, Any]) -> str | None:
    """A value that the schema does not allow, None if it allows every string."""
    kinds = [s for s in schema.get("anyOf", [schema]) if s.get("type") != "null"]
    # An empty field may count as not given.
    (kind,) = [s for s in kinds if s.get("maxLength") != 0]
    if "enum" in kind:
        return "no-such-choice"
    if kind["type"] == "integer":
        return str(kind["maximum"] + 1)
    if kind["type"] == "number":
        return "nan"
    if kind["type"] == "boolean":
        return "perhaps"
    return "\x00" if "pattern" in kind else None
