"""The Python client has every route, every parameter and every field of the API, and no other."""

import inspect
import json
import types
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from fastapi import FastAPI

from app.client import Client, Job, Listing
from app.client.types import (
    CurveMap,
    JobView,
    LogPage,
    SearchFilters,
    SearchParams,
    UnitPage,
)

JsonObject = Mapping[str, Any]
CALLS = {
    "GET /api/v1/suites": "suites",
    "GET /api/v1/suites/{suite}": "suite",
    "GET /api/v1/scaling": "scaling",
    "GET /api/v1/corpora": "corpora",
    "GET /api/v1/corpora/{corpus}": "corpus",
    "GET /api/v1/corpora/{corpus}/documents": "documents",
    "GET /api/v1/corpora/{corpus}/documents/{document}": "document",
    "GET /api/v1/corpora/{corpus}/documents/{document}/heat": "heat",
    "GET /api/v1/corpora/{corpus}/predictions/{prediction}": "prediction",
    "GET /api/v1/corpora/{corpus}/losses": "losses",
    "GET /api/v1/predictions": "predictions",
    "POST /api/v1/predictions/search": "search",
    "GET /api/v1/predictions/map": "curve_map",
    "GET /api/v1/predictions/export": "predictions_table",
    "GET /api/v1/selections": "selections",
    "GET /api/v1/similarities/{similarity}": "similarity",
    "GET /api/v1/clusterings": "clusterings",
    "GET /api/v1/clusterings/{clustering}": "clustering",
    "GET /api/v1/clusterings/{clustering}/clusters": "clusters",
    "GET /api/v1/clusterings/{a}/compare/{b}": "compare",
    "GET /api/v1/clusters/{cluster}": "cluster",
    "GET /api/v1/clusters/{cluster}/contexts": "contexts",
    "GET /api/v1/clusters/{cluster}/similarity": "cluster_similarity",
    "PUT /api/v1/clusters/{cluster}/annotation": "annotate",
    "GET /api/v1/experiments": "experiments",
    "GET /api/v1/experiments/presets": "presets",
    "GET /api/v1/experiments/{experiment}": "experiment",
    "GET /api/v1/experiments/{experiment}/cells/{cell}": "experiment_cell",
    "GET /api/v1/experiments/{experiment}/cells/{cell}/arrays/{array}": "experiment_array",
    "GET /api/v1/phase-diagrams/{experiment}": "phase_diagram",
    "GET /api/v1/phase-diagrams/{experiment}/cells/{cell}": "phase_diagram_cell",
    "GET /api/v1/phase-diagrams/{experiment}/cells/{cell}/theory": "effective_theory",
    "GET /api/v1/phase-diagrams/{experiment}/compare/{other}": "compare_phase_diagrams",
    "GET /api/v1/theory/laws": "theory_laws",
    "GET /api/v1/theory/exponents": "theory_exponents",
    "GET /api/v1/parity/{run}": "parity_run",
    "GET /api/v1/parity/{run}/cells/{cell}": "parity_cell",
    "POST /api/v1/jobs": "submit",
    "GET /api/v1/jobs": "jobs",
    "GET /api/v1/jobs/{job}": "job",
    "GET /api/v1/jobs/kinds": "job_kinds",
    "POST /api/v1/jobs/estimate": "estimate",
    "GET /healthz": "health",
    "GET /readyz": "readiness",
    "GET /metrics": "metrics",
}
# `Job` has these.
OF_JOBS = {
    "POST /api/v1/jobs/{job}/cancel": "cancel",
    "POST /api/v1/jobs/{job}/resume": "resume",
    "GET /api/v1/jobs/{job}/events": "wait",
    "GET /api/v1/jobs/{job}/log": "log",
    "GET /api/v1/jobs/{job}/units": "units",
    "GET /api/v1/jobs/{job}/file": "download",
}
FORMER = {"theory_laws": {"threshold"}}  # names that calls still take, not documented
# What `similarity_rows` takes, and what does not count for a file of all that is found.
ELSEWHERE = {
    "similarity": {"first", "limit"},
    "predictions_table": {"limit"},
    "curve_map": {"limit"},
}
TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", dict: "object"}


@pytest.fixture(scope="module")
def document(app: FastAPI) -> JsonObject:
    return app.openapi()


def operations(document: JsonObject) -> dict[str, JsonObject]:
    """Every operation by its method and path."""
    return {
        f"{method.upper()} {path}": operation
        for path, result in document["paths"].items()
        for method, operation in result.items()
    }


def hints_of(name: str) -> dict[str, Any]:
    """A call's parameters, those of a search included, with what it returns."""
    method = getattr(Client, name)
    hints = get_type_hints(method)
    if "params" in inspect.signature(method).parameters:
        del hints["params"]
        hints |= get_type_hints(SearchParams)
    return hints


def resolved(schema: JsonObject, document: JsonObject) -> JsonObject:
    name = schema.get("$ref", "").rpartition("/")[2]
    return document["components"]["schemas"][name] if name else schema


def alternatives(hint: Any) -> list[Any]:
    union = get_origin(hint) in (Union, types.UnionType)
    return list(get_args(hint)) if union else [hint]


def differences(hint: Any, schema: JsonObject, document: JsonObject, where: str) -> list[str]:
    """How a type of the client differs from a schema of the API."""
    hints = alternatives(hint)
    schemas = [resolved(item, document) for item in schema.get("anyOf", [schema])]
    has_null = any(item.get("type") == "null" for item in schemas)
    if (types.NoneType in hints) != has_null:
        return [f"{where}: None is possible on one side only"]
    hints = [item for item in hints if item is not types.NoneType]
    schemas = [item for item in schemas if item.get("type") != "null"]
    if hints == [Any]:
        return []
    if len(hints) != len(schemas):
        return [f"{where}: {hints} against {schemas}"]
    if len(hints) == 1:
        return difference(hints[0], schemas[0], document, where)
    ours, theirs = {TYPES[item] for item in hints}, {item["type"] for item in schemas}
    return [] if ours == theirs else [f"{where}: {ours} against {theirs}"]


def difference(hint: Any, schema: JsonObject, document: JsonObject, where: str) -> list[str]:
    """The same for one alternative."""
    origin, arguments = get_origin(hint), get_args(hint)
    if is_dataclass(hint):
        return differences_of_fields(hint, schema, document, where)
    if origin is Literal:
        listed = set(schema.get("enum", [schema.get("const")]))
        return [] if listed == set(arguments) else [f"{where}: {arguments} against {listed}"]
    if origin is tuple and arguments[-1] is Ellipsis:
        return differences(arguments[0], schema.get("items", {}), document, f"{where}[]")
    if origin is tuple:
        pairs = zip(arguments, schema.get("prefixItems", ()), strict=True)
        return [item for a, b in pairs for item in differences(a, b, document, f"{where}[]")]
    if origin is dict and arguments[1] is not Any:
        inner = schema["additionalProperties"]
        return differences(arguments[1], inner, document, f"{where}{{}}")
    expected = TYPES[origin or hint]
    result = schema.get("type")
    return [] if result == expected else [f"{where}: {expected} against {result}"]


def differences_of_fields(
    kind: Any, schema: JsonObject, document: JsonObject, where: str
) -> list[str]:
    hints, properties = get_type_hints(kind), schema.get("properties", {})
    names = {field.name for field in fields(kind)}
    matches = [f"{where}.{name} is on one side only" for name in names ^ properties.keys()]
    for name in names & properties.keys():
        matches += differences(hints[name], properties[name], document, f"{where}.{name}")
    return matches


def test_the_client_has_every_route(document: JsonObject) -> None:
    assert operations(document).keys() == CALLS.keys() | OF_JOBS.keys()
    assert all(callable(getattr(Client, name)) for name in CALLS.values())
    assert all(callable(getattr(Job, name)) for name in OF_JOBS.values())


@pytest.mark.parametrize("route", CALLS)
def test_every_call_takes_what_its_route_takes(document: JsonObject, route: str) -> None:
    name = CALLS[route]
    hints = hints_of(name)
    if name in {"search", "submit", "estimate", "annotate"}:
        return  # bodies: below
    listed = {
        item["name"]: item["schema"] for item in operations(document)[route].get("parameters", ())
    }
    for gone in {"cursor", "format"} | ELSEWHERE.get(name, set()):
        listed.pop(gone, None)
    if get_origin(hints.pop("return")) is Listing:
        listed["page_size"] = listed.pop("limit")
    assert hints.keys() == listed.keys() | FORMER.get(name, set())
    for former in FORMER.get(name, ()):
        hints.pop(former)
    for parameter, hint in hints.items():
        assert_choices(hint, listed[parameter], parameter)


def assert_choices(hint: Any, schema: JsonObject, parameter: str) -> None:
    """Choices are the same on both sides."""
    kinds = [item for item in alternatives(hint) if item is not types.NoneType]
    if get_origin(kinds[0]) is Sequence and schema.get("type") == "array":
        kinds, schema = list(get_args(kinds[0])), schema["items"]
    schemas = schema.get("anyOf", [schema])
    listed = {value for item in schemas for value in item.get("enum", ())}
    ours = set(get_args(kinds[0])) if get_origin(kinds[0]) is Literal else set()
    assert ours == listed, parameter


def test_bodies_have_what_the_calls_take(document: JsonObject) -> None:
    schemas = document["components"]["schemas"]
    body = schemas["SearchBody"]["properties"].keys()
    shape = schemas["ShapeBody"]["properties"].keys()
    taken = (body | shape | {"page_size"}) - {"shape", "limit", "cursor"}
    assert hints_of("search").keys() - {"return"} == taken
    filters = get_type_hints(SearchFilters)
    assert filters.keys() == schemas["FiltersBody"]["properties"].keys()
    for name, hint in filters.items():
        assert_choices(hint, schemas["FiltersBody"]["properties"][name], name)
    annotation = schemas["AnnotationBody"]["properties"].keys()
    assert hints_of("annotate").keys() - {"return", "cluster"} == annotation
    assert {"kind", "parameters", "requires"} == schemas["EvaluateJob"]["properties"].keys()


def test_what_jobs_tell_of_themselves_has_the_fields_of_its_schema(document: JsonObject) -> None:
    for name, kind in (("log", LogPage), ("units", UnitPage)):
        schema = operations(document)[f"GET /api/v1/jobs/{{job}}/{name}"]["responses"]["200"]
        result = resolved(schema["content"]["application/json"]["schema"], document)
        assert differences(kind, result, document, name) == []


@pytest.mark.parametrize("route", CALLS)
def test_every_answer_has_the_fields_of_its_schema(document: JsonObject, route: str) -> None:
    hint = hints_of(CALLS[route])["return"]
    content = operations(document)[route]["responses"]
    answer = (content.get("200") or content["202"])["content"].get("application/json")
    if hint is Any or hint is str or hint is CurveMap:
        return  # tables and text: other tests
    schema = resolved(answer["schema"], document)
    if get_origin(hint) is tuple:
        (rows,) = schema["properties"].keys() - {"next_cursor"}
        result = differences(hint, schema["properties"][rows], document, rows)
    elif get_origin(hint) is Listing:
        row, page = get_args(hint)
        assert any(get_args(item)[:1] == (row,) for item in get_type_hints(page).values())
        result = differences(page, schema, document, page.__name__)
    else:
        kind = JobView if hint is Job else hint
        result = differences(kind, schema, document, kind.__name__)
    assert result == []


def test_the_map_has_the_fields_of_its_schema(document: JsonObject) -> None:
    columns = {"index", "x", "y", "curve_class", "matching"}
    schema = document["components"]["schemas"]["MapPoints"]
    rest = {name: item for name, item in schema["properties"].items() if name not in columns}
    result = differences_of_fields(CurveMap, {"properties": rest}, document, "map")
    assert result == ["map.points is on one side only"]


def plain(value: Any) -> Any:
    """A result as the JSON that it was made from."""
    value = value.view if isinstance(value, Job) else value
    value = value.first_page if isinstance(value, Listing) else value
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return json.loads(json.dumps(asdict(value)))


@pytest.mark.parametrize("route", [r for r in CALLS if r.startswith("GET") and "metrics" not in r])
def test_every_typed_answer_holds_what_was_sent(
    document: JsonObject, over_http: Client, names: dict[str, Any], route: str
) -> None:
    name, path = CALLS[route], route.removeprefix("GET ")
    if hints_of(name)["return"] in {Any, CurveMap}:
        return
    listed = operations(document)[route].get("parameters", ())
    required = {p["name"]: names[p["name"]] for p in listed if p.get("required")}
    in_path = {p["name"] for p in listed if p["in"] == "path"}
    result = getattr(over_http, name)(**required)
    query = {key: value for key, value in required.items() if key not in in_path}
    if isinstance(result, Listing):
        query["limit"] = inspect.signature(getattr(Client, name)).parameters["page_size"].default
    raw = over_http.get(path.format(**required), query)
    if isinstance(result, tuple):
        (rows,) = raw.keys() - {"next_cursor"}
        raw = raw[rows]
    assert raw
    assert plain(result) == raw
