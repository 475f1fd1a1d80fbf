"""A server under attack, its routes, and what it weighs before."""

import json
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

from app.main import create_app
from app.web.scopes import SAFE_METHODS
from backend.access.sessions import csrf_token
from backend.store.database import Store
from tests.app.attack.targets import (
    FORM,
    JOBS,
    PROGRAM,
    SETTINGS_TOKEN,
    Endpoint,
    Target,
    attacked,
    endpoints,
)


@pytest.fixture(scope="module")
def target(mini_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with attacked(mini_store, tmp_path_factory.mktemp("attacked") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def routes(mini_store: Store) -> list[Endpoint]:
    return endpoints(create_app(mini_store))


@pytest.fixture(scope="module")
def mutations(routes: list[Endpoint]) -> list[Endpoint]:
    matches = [route for route in routes if route.method not in SAFE_METHODS]
    assert len(matches) >= 12
    return matches


@pytest.fixture(scope="module")
def known(target: Target) -> dict[str, str]:
    """A value for every path parameter that finds something."""
    corpus = json.loads(target.ask("GET", "/api/v1/corpora").body)["corpora"][0]["id"]
    clustering = json.loads(target.ask("GET", "/api/v1/clusterings").body)["clusterings"][0]
    listed = target.ask("GET", f"/api/v1/clusterings/{clustering['id']}/clusters")
    params = {"kind": "measure", "parameters": {"corpus": corpus, "document": 1, "target": "⏎"}}
    job = target.ask("POST", JOBS, PROGRAM | target.bearer("run"), json.dumps(params))
    view = json.loads(target.ask("GET", f"/api/v1/clusterings/{clustering['id']}").body)
    cluster = str(json.loads(listed.body)["clusters"][0]["id"])
    suite = json.loads(target.ask("GET", "/api/v1/suites").body)["suites"][0]["id"]
    item = str(clustering["id"])
    values = {
        "corpus": corpus,
        "suite": suite,
        "job": json.loads(job.body)["id"],
        "a": item,
        "b": item,
    }
    values |= {"cluster": cluster, "cluster_id": cluster, "file": "app.css"}
    run = json.loads(target.ask("GET", "/api/v1/experiments").body)["experiments"][0]
    values |= {"experiment": run["id"], "other": run["id"], "kind": run["kind"], "cell": "0"}
    values |= {"array": "representation", "run": "0" * 16}
    values |= {"clustering": item, "clustering_id": item, "similarity": str(view["similarity_id"])}
    return values | {name: "0" for name in ("document", "index", "prediction")}


@pytest.fixture(scope="module", autouse=True)
def idle_bytes(target: Target, routes: list[Endpoint], known: dict[str, str]) -> int:
    """The server's memory before any attack, after each page and route was asked for once.

    What they need is loaded then, such as the library that draws figures.
    """
    for route in routes:
        if route.method == "GET" and not route.path.endswith("/events"):
            assert target.ask("GET", route.filled(known)).status < 500
    assert target.ask("GET", "/api/v1/predictions?regex=a").status == 200
    return target.rss()


@pytest.fixture(scope="module")
def session(target: Target) -> dict[str, str]:
    """An administrator's browser: its cookie."""
    sent = {"Origin": target.url, "Content-Type": FORM}
    answer = target.ask("POST", "/login", sent, urlencode({"token": SETTINGS_TOKEN}))
    assert answer.status == 303
    cookie = (answer.header("set-cookie") or "").partition(";")[0]
    secret = cookie.partition("=")[2]
    target.secrets.extend([secret, csrf_token(secret.encode())])
    return {"Cookie": cookie}
