"""An API call as a line of Python: the call of `app.client` that gives the same."""

import inspect
import json
import re
from collections.abc import Sequence
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints
from urllib.parse import parse_qsl, urlsplit

from app.client import Client, Job
from app.client.paging import Listing
from app.client.transport import API
from app.client.types import SearchParams

ROUTES = {
    "/suites": "suites",
    "/suites/{}": "suite",
    "/scaling": "scaling",
    "/corpora": "corpora",
    "/corpora/{}": "corpus",
    "/corpora/{}/documents": "documents",
    "/corpora/{}/documents/{}": "document",
    "/corpora/{}/documents/{}/heat": "heat",
    "/corpora/{}/predictions/{}": "prediction",
    "/predictions": "predictions",
    "/selections": "selections",
    "/similarities/{}": "similarity",
    "/clusterings": "clusterings",
    "/clusterings/{}": "clustering",
    "/clusterings/{}/clusters": "clusters",
    "/clusterings/{}/compare/{}": "compare",
    "/clusters/{}": "cluster",
    "/clusters/{}/contexts": "contexts",
    "/clusters/{}/similarity": "cluster_similarity",
    "/experiments": "experiments",
    "/experiments/{}": "experiment",
    "/experiments/{}/cells/{}": "experiment_cell",
    "/phase-diagrams/{}": "phase_diagram",
    "/theory/laws": "theory_laws",
    "/theory/exponents": "theory_exponents",
    "/parity/{}": "parity_run",
    "/parity/{}/cells/{}": "parity_cell",
    "/jobs": "jobs",
    "/jobs/{}": "job",
}
_PATTERNS = {
    name: re.compile(re.escape(API + path).replace(r"\{\}", "([^/]+)"))
    for path, name in ROUTES.items()
}
_POINTS = {"sketch", "lasso"}
_TRUE = {"1", "true", "on", "yes"}
# What is shown may be run: nothing of an address becomes code that is no number or string.
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


def client_call(path: str) -> str:
    """Return the expression that asks a `client` for a GET route of the API.

    Where the client has no call for just this, it is the one that takes any path.
    """
    parts = urlsplit(path)
    query = [(name, value) for name, value in parse_qsl(parts.query) if value != ""]
    for name, pattern in _PATTERNS.items():
        match = pattern.fullmatch(parts.path)
        if match:
            try:
                return _call(name, match.groups(), query)
            except ValueError:
                break
    return _any_path(path)


def _any_path(path: str) -> str:
    return f"client.get({_text(path)})"


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


@cache
def _hints(name: str) -> dict[str, Any]:
    method = getattr(Client, name)
    hints = get_type_hints(method)
    takes_more = "asked" in inspect.signature(method).parameters
    return {**hints, **(get_type_hints(SearchParams) if takes_more else {})}


def _call(name: str, places: Sequence[str], query: Sequence[tuple[str, str]]) -> str:
    """Return the call of one method.

    Raises:
        ValueError: the method does not take one of these parameters, or not this value.
    """
    hints = _hints(name)
    is_paged = get_origin(hints["return"]) is Listing
    positional = [one for one in hints if one not in {"return", "page_size"}][: len(places)]
    words = [_value(hints[one], [text]) for one, text in zip(positional, places, strict=True)]
    values: dict[str, list[str]] = {}
    for key, text in query:
        values.setdefault("page_size" if is_paged and key == "limit" else key, []).append(text)
    if not values.keys() <= hints.keys():
        raise ValueError(f"{name} takes none of {sorted(values)}")
    for key, texts in values.items():
        words.append(f"{key}={_points(texts[0]) if key in _POINTS else _value(hints[key], texts)}")
    what = ".first_page" if is_paged else ".view" if hints["return"] is Job else ""
    return f"client.{name}({', '.join(words)}){what}"


def _points(text: str) -> str:
    pairs = [part.partition(":") for part in text.split(",")]
    return "[" + ", ".join(f"({_number(x)}, {_number(y)})" for x, _, y in pairs) + "]"


def _value(hint: Any, texts: Sequence[str]) -> str:
    kinds = {get_origin(one) or one for one in (hint, *get_args(hint))}
    if Sequence in kinds:
        return "[" + ", ".join(_text(one) for text in texts for one in text.split(",")) + "]"
    (text,) = texts[-1:]
    if bool in kinds:
        return str(text.lower() in _TRUE)
    return _number(text) if kinds & {int, float} else _text(text)


def _number(text: str) -> str:
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{text!r} is no number")
    return text
