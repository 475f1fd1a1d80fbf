"""Checks that the tests of all pages of experiments share."""

import gzip
import math
import re
from typing import Any

from fastapi.testclient import TestClient

MAX_PAGE_BYTES = 30_000


def gzipped_page(client: TestClient, path: str, **params: Any) -> bytes:
    """The body of a page as the server compresses it, checked against the plain page."""
    plain = client.get(path, params=params, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    request = client.stream("GET", path, params=params, headers={"Accept-Encoding": "gzip"})
    with request as packed:
        assert packed.headers["content-encoding"] == "gzip"
        body = b"".join(packed.iter_raw())
    assert gzip.decompress(body) == plain.content
    return body


def linked_terms(client: TestClient, page: str) -> set[str]:
    """The glossary terms that a page links to, each checked to exist."""
    glossary = client.get("/glossary").raise_for_status().text
    terms = set(re.findall(r'href="/glossary#([^"]+)"', page))
    for term in terms:
        assert f'id="{term}"' in glossary, term
    return terms


def count_labels_inside_axes(figure: dict[str, Any]) -> int:
    """The number of labels of a figure, each checked to be inside the ranges of its axes."""
    n_labels = 0
    for trace in figure["data"]:
        if not trace.get("meta", {}).get("label"):
            continue
        n_labels += 1
        for name in "xy":
            axis = figure["layout"][f"{name}axis"]
            (value,) = trace[name]
            position = math.log10(value) if axis.get("type") == "log" else value
            low, high = axis.get("range", (-math.inf, math.inf))
            assert low <= position <= high, trace["text"]
    return n_labels
