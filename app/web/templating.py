"""HTML pages: Jinja2 with autoescape, versioned static addresses and number formats.

Templates get text, never markup: there is no filter that switches escaping off.
"""

import hashlib
import math
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, ClassVar
from urllib.parse import urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from app.figures.labels import visible
from app.figures.numbers import MISSING, measured
from app.web.identity import current_identity
from app.web.login_redirect import login_url
from app.web.paths import static_dir, templates_dir
from app.web.snippets import client_call
from app.web.token_pieces import cells, is_plain, join_tokens, pieces

THEMES = ("auto", "light", "dark")


@cache
def _version() -> str:
    # One version for all files, because modules import each other without versions.
    digest = hashlib.sha256()
    for path in sorted(static_dir().rglob("*")):
        if path.suffix in {".js", ".css"}:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def static_url(path: str) -> str:
    """Return the address of a static file, versioned by content."""
    return f"/static/{path}?v={_version()}"


def si(value: float | None) -> str:
    """Return `value` with three significant digits and a k, M, G or T."""
    if value is None:
        return MISSING
    for factor, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:.3g}{suffix}"
    return f"{value:.3g}"


def number(value: float | None, digits: int = 2) -> str:
    """Return `value` with a fixed number of decimals, a dash for None."""
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{value:.{digits}f}".replace("-", "−")


def grouped(value: int | None) -> str:
    """Return an integer with thousands separated by narrow spaces."""
    return MISSING if value is None else f"{value:,}".replace(",", "\u202f")


def percent(share: float | None, digits: int = 0) -> str:
    """Return a share as per cent."""
    return MISSING if share is None else f"{100 * share:.{digits}f}\u202f%"


def moment(iso: str | None) -> str:
    """Return an ISO 8601 time to the minute."""
    return MISSING if not iso else iso[:16].replace("T", " ")


def query_string(**parameters: Any) -> str:
    """Return `?a=b…` without parameters that are None or empty; an empty string without any."""
    present = {name: value for name, value in parameters.items() if value not in (None, "")}
    return "?" + urlencode(present) if present else ""


def sparkline(values: tuple[float, ...], width: int = 72, height: int = 20) -> str:
    """Return the points of a small curve for an SVG polyline, low values at the bottom."""
    if len(values) < 2:
        return ""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    step = (width - 4) / (len(values) - 1)
    return " ".join(
        f"{2 + i * step:.1f},{height - 3 - (height - 6) * (value - low) / span:.1f}"
        for i, value in enumerate(values)
    )


@cache
def environment() -> Environment:
    """Return the Jinja2 environment of all pages."""
    jinja = Environment(
        loader=FileSystemLoader(templates_dir()),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    formats = (si, number, measured, grouped, percent, moment, sparkline, visible, client_call)
    jinja.filters.update({function.__name__: function for function in formats})
    jinja.globals.update(static_url=static_url, query_string=query_string)
    jinja.globals.update(pieces=pieces, plain=is_plain, cells=cells, join_tokens=join_tokens)
    return jinja


@dataclass(frozen=True, kw_only=True)
class PageContext:
    """Variables of a page; a subclass names its template and adds the fields that it uses.

    `section` is the current item of the navigation; `api` the address of the same view as JSON.
    """

    template: ClassVar[str]

    title: str
    section: str
    api: str = ""


def request_variables(request: Request) -> dict[str, Any]:
    """Return the variables that every template gets from its request."""
    return {
        "theme": theme(request),
        "path": request.url.path,
        "identity": current_identity(request),
        "login_address": login_url(request),
        "origin": str(request.base_url).rstrip("/"),
    }


def theme(request: Request) -> str:
    """Return the theme of the query or the cookie, `auto` by default."""
    name = request.query_params.get("theme") or request.cookies.get("theme", "auto")
    return name if name in THEMES else "auto"


def render(request: Request, context: PageContext, status: int = 200) -> Response:
    """Return the page of a context."""
    variables = {field.name: getattr(context, field.name) for field in fields(context)}
    template = environment().get_template(context.template)
    body = template.render(request_variables(request) | variables)
    return HTMLResponse(body, status, {"Vary": "Cookie"})


@dataclass(frozen=True, kw_only=True)
class ErrorPage(PageContext):
    """An error with its remedy; `login` is the address of the login form where that helps."""

    template: ClassVar[str] = "error.html"

    section: str = ""
    code: int
    problem: str
    remedy: str
    request_id: str
    login: str | None
    has_query: bool
    method: str
