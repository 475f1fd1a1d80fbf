"""The OpenAPI document and the routes agree."""

from typing import Any

import jsonschema_rs
from fastapi import FastAPI
from fastapi.testclient import TestClient
from openapi_spec_validator import validate
from sqlalchemy import event

from app.web import scopes
from backend.store.database import Store
from tests.app.routes import documented

WRITES = ("INSERT", "UPDATE", "DELETE", "REPLACE", "CREATE", "DROP", "ALTER")


def test_the_document_is_valid_openapi_3_1(client: TestClient) -> None:
    document = client.get("/api/v1/openapi.json").json()
    validate(document)
    assert document["openapi"].startswith("3.1")
    assert document["info"]["title"] == "Quanta Explorer"
    assert document["info"]["version"]
    assert document["info"]["summary"]


def test_every_route_is_described_and_has_the_problem_schema(app: FastAPI) -> None:
    for path, operations in app.openapi()["paths"].items():
        for operation in operations.values():
            assert operation["tags"], path
            assert operation["description"], path
            for status, response in operation["responses"].items():
                if status >= "4":
                    assert "429" in operation["responses"], path
                    (media,) = response["content"].items()
                    reference = {"$ref": "#/components/schemas/Problem"}
                    assert media == ("application/problem+json", {"schema": reference})


def test_every_documented_route_answers_with_what_it_documents(
    app: FastAPI, client: TestClient, names: dict[str, Any]
) -> None:
    document = app.openapi()
    for route in documented(app):
        response = client.get(route.url(names), params=route.query(names))
        assert response.status_code == 200, (route.path, response.text)
        media = response.headers["content-type"].partition(";")[0]
        content = document["paths"][route.path]["get"]["responses"]["200"]["content"]
        assert media in content, route.path
        if media == "application/json":
            name = content[media]["schema"]["$ref"].rpartition("/")[2]
            required = document["components"]["schemas"][name]["required"]
            assert set(required) <= set(response.json()), route.path


def test_no_get_writes_to_the_store(
    app: FastAPI, client: TestClient, names: dict[str, Any], app_store: Store
) -> None:
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        statements.append(statement.lstrip().upper())

    event.listen(app_store.engine, "before_cursor_execute", note)
    try:
        for route in documented(app):
            client.get(route.url(names), params=route.query(names))
    finally:
        event.remove(app_store.engine, "before_cursor_execute", note)
    assert statements
    assert not [statement for statement in statements if statement.startswith(WRITES)]


def test_documentation_pages_of_the_framework_are_off(client: TestClient) -> None:
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert client.get(path).status_code == 404


def test_every_operation_names_the_scope_that_it_needs(app: FastAPI) -> None:
    document = app.openapi()
    assert set(document["components"]["securitySchemes"]) == {"token", "session"}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            needed = scopes.needed_scope(method.upper(), path)
            assert {"token": [needed]} in operation["security"], path
            assert {"session": [needed]} in operation["security"], path
            assert ({} in operation["security"]) == (method == "get"), path


def test_whatever_must_be_sent_has_an_example_that_may_be_sent(app: FastAPI) -> None:
    document = app.openapi()
    schemas = document["components"]["schemas"]
    n_checked = 0
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            needed = [p["schema"] for p in operation.get("parameters", ()) if p["required"]]
            for content in operation.get("requestBody", {}).get("content", {}).values():
                parts = content["schema"].get("oneOf", [content["schema"]])
                needed += [schemas[part["$ref"].rpartition("/")[2]] for part in parts]
            for schema in needed:
                assert schema.get("examples"), (method, path, schema.get("title"))
                for example in schema["examples"]:
                    whole = {**schema, "components": {"schemas": schemas}}
                    jsonschema_rs.validate(whole, example)
                    n_checked += 1
    assert n_checked > 40
