"""An API call as a line of Python: the equivalent call of `app.client`."""

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
# People run these snippets: only numbers and strings of an address may become code.
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


def client_call(path: str) -> str:
    """Return the expression that calls a GET route of the API on a `client`.

    Without a method for the route it is `client.get(path)`.
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
    parameters = inspect.signature(method).parameters.values()
    has_keywords = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    return {**hints, **(get_type_hints(SearchParams) if has_keywords else {})}


def _call(name: str, places: Sequence[str], query: Sequence[tuple[str, str]]) -> str:
    """Return the call of one method.

    Raises:
        ValueError: the method does not accept one of the parameters or values.
    """
    hints = _hints(name)
    is_paged = get_origin(hints["return"]) is Listing
    positional = [name for name in hints if name not in {"return", "page_size"}][: len(places)]
    arguments = [_value(hints[name], [text]) for name, text in zip(positional, places, strict=True)]
    values: dict[str, list[str]] = {}
    for key, text in query:
        values.setdefault("page_size" if is_paged and key == "limit" else key, []).append(text)
    if not values.keys() <= hints.keys():
        raise ValueError(f"{name} does not accept all of {sorted(values)}")
    for key, texts in values.items():
        arguments.append(
            f"{key}={_points(texts[0]) if key in _POINTS else _value(hints[key], texts)}"
        )
    attribute = ".first_page" if is_paged else ".view" if hints["return"] is Job else ""
    return f"client.{name}({', '.join(arguments)}){attribute}"


def _points(text: str) -> str:
    pairs = [part.partition(":") for part in text.split(",")]
    return "[" + ", ".join(f"({_number(x)}, {_number(y)})" for x, _, y in pairs) + "]"


def _value(hint: Any, texts: Sequence[str]) -> str:
    kinds = {get_origin(kind) or kind for kind in (hint, *get_args(hint))}
    if Sequence in kinds:
        return "[" + ", ".join(_text(part) for text in texts for part in text.split(",")) + "]"
    (text,) = texts[-1:]
    if bool in kinds:
        return str(text.lower() in _TRUE)
    return _number(text) if kinds & {int, float} else _text(text)


def _number(text: str) -> str:
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{text!r} is not a number")
    return text
