"""HTML pages: Jinja2 with autoescape, versioned static addresses and number formats.

Templates get text, never markup: there is no filter that switches escaping off.
"""

import hashlib
import math
from functools import cache
from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from app.figures.labels import visible
from app.figures.numbers import MISSING, measured
from app.web.login_redirect import login_address
from app.web.paths import static_dir, templates_dir
from app.web.snippets import client_call
from app.web.token_pieces import cells, is_plain, joined, pieces
from app.web.visitors import current

THEMES = ("auto", "light", "dark")


@cache
def _version() -> str:
    # One version for all files: modules import each other by plain relative names.
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
    """Return `value` with a fixed number of decimals, a dash where there is none."""
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


def query(**parameters: Any) -> str:
    """Return `?a=b…` without the parameters that are None or empty, or nothing at all."""
    kept = {name: value for name, value in parameters.items() if value not in (None, "")}
    return "?" + urlencode(kept) if kept else ""


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
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(templates_dir()),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    formats = (si, number, measured, grouped, percent, moment, sparkline, visible, client_call)
    environment.filters.update({function.__name__: function for function in formats})
    environment.globals.update(static_url=static_url, query=query)
    environment.globals.update(pieces=pieces, plain=is_plain, cells=cells, joined=joined)
    return environment


def theme(request: Request) -> str:
    """Return the theme that the address or the cookie asks for, `auto` otherwise."""
    wanted = request.query_params.get("theme") or request.cookies.get("theme", "auto")
    return wanted if wanted in THEMES else "auto"


def render(request: Request, template: str, status: int = 200, **context: Any) -> Response:
    """Return a page.

    Args:
        request: the request it answers; gives theme and address.
        template: path below `templates/`.
        status: HTTP status.
        context: what the template names.
    """
    page = _environment().get_template(template)
    body = page.render(
        theme=theme(request),
        path=request.url.path,
        visitor=current(request),
        login_address=login_address(request),
        origin=str(request.base_url).rstrip("/"),
        **context,
    )
    return HTMLResponse(body, status, {"Vary": "Cookie"})


def render_error(
    request: Request,
    status: int,
    title: str,
    problem: str,
    remedy: str,
    request_id: str,
    login: str | None,
) -> Response:
    """Return the page that says what went wrong and what to do next."""
    return render(
        request,
        "error.html",
        status,
        code=status,
        title=title,
        problem=problem,
        remedy=remedy,
        request_id=request_id,
        login=login,
        has_query=bool(request.url.query),
        method=request.method,
    )
