"""The lines of Python on pages: each gives what the API call beside it gives."""

import html
import inspect
import json
import re
from dataclasses import asdict
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.client import Client
from app.web.snippets import ROUTES, client_call

PAGES = (
    "/",
    "/clusterings/{clustering}?sort=size&descending=true&min_size=2",
    "/clusters/{cluster}",
    "/clusters/{cluster}?order=loss&context=8",
    "/documents/{corpus}",
    "/documents/{corpus}/1?measure=difference&lo=-1&hi=1.5&lock=0",
    "/documents/{corpus}/1?measure=p&log=1",
    "/predictions/{corpus}/5",
    "/predictions?cls=monogenic&cls=irregular&sketch=3e4:5,1e6:0.1&final_max=2.5&axis=N",
    "/predictions?regex=%22%5Cw%2B%20%C3%A9%3F&order=desc",
    "/scaling?axis=S&model=s3&fit=none&subset=monogenic",
    "/grokking",
    "/parity",
    "/modular-addition",
    "/theory",
    "/theory?alpha=0.85&capacity=1e6&m=30&a=1.5&n=4",
    "/jobs",
    "/jobs/{job}",
)
BOX = re.compile(r'data-api="(?P<path>[^"]*)".*?<pre data-python>(?P<python>.*?)</pre>', re.DOTALL)


def page_size(displayed: str) -> int:
    """How many rows the client asks for at once, where it is not told."""
    name = displayed.rpartition("client.")[2].partition("(")[0]
    size: int = inspect.signature(getattr(Client, name)).parameters["page_size"].default
    return size


def plain(value: Any) -> Any:
    """A result as JSON."""
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value if isinstance(value, dict) else json.loads(json.dumps(asdict(value)))


@pytest.mark.parametrize("page", PAGES)
def test_the_python_of_a_page_gives_its_api_call(
    client: TestClient, over_http: Client, names: dict[str, Any], page: str
) -> None:
    answer = client.get(page.format(**names))
    assert answer.status_code == 200
    boxes = list(BOX.finditer(answer.text))
    assert boxes
    url = over_http._transport.url
    for box in boxes:
        displayed = html.unescape(box["python"]).replace("http://127.0.0.1:8000", url)
        assert url in displayed
        assert "client.get(" not in displayed
        ran: dict[str, Any] = {}
        exec(displayed, ran)
        path = html.unescape(box["path"])
        if displayed.endswith(").first_page") and "page_size" not in displayed:
            path += f"{'&' if '?' in path else '?'}limit={page_size(displayed)}"
        raw = over_http.get(path)
        result = plain(ran["view"])
        if isinstance(result, list):
            (rows,) = raw.keys() - {"next_cursor"}
            raw = raw[rows]
        assert result == raw


def test_every_route_of_the_table_is_a_call() -> None:
    for path, name in ROUTES.items():
        assert client_call("/api/v1" + path.replace("{}", "1")).startswith(f"client.{name}(")


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/clusters/7/contexts?cursor=abc",
        "/api/v1/clusters/print(1)",
        "/api/v1/clusterings/1/clusters?min_size=2);print(1",
        "/api/v1/predictions?sketch=1:2,x:print()",
        "/api/v1/predictions?print(1)=2",
        '/api/v1/other?x="\\',
    ],
)
def test_what_is_no_call_is_asked_by_its_path(path: str) -> None:
    call = client_call(path)
    assert call.startswith('client.get("')
    paths: list[str] = []
    eval(call, {"client": type("C", (), {"get": staticmethod(paths.append)})})
    assert paths == [path]
