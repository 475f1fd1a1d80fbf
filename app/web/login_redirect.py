"""Redirects after a login, only to pages of this server."""

from urllib.parse import quote, urlsplit

from starlette.requests import Request

MAX_LENGTH = 2000
HOME = "/"
LOGIN = "/login"
_NOT_AFTER_LOGIN = frozenset({LOGIN, "/logout"})


def safe_next_page(target: str | None) -> str:
    """Return `target` if it is a path of this server, else the overview.

    Browsers treat `//host` and `/\\host`, also with tabs or line ends in between, as other hosts.
    """
    if not target or len(target) > MAX_LENGTH or not target.startswith("/"):
        return HOME
    if "\\" in target or not target.isprintable() or target.startswith("//"):
        return HOME
    try:
        parts = urlsplit(target)
    except ValueError:
        return HOME
    if parts.scheme or parts.netloc or parts.path in _NOT_AFTER_LOGIN:
        return HOME
    return target


def login_url(request: Request) -> str:
    """Return the URL of the login page that returns to the page of a request."""
    if request.method in {"GET", "HEAD"}:
        query = request.url.query
        page = request.url.path + (f"?{query}" if query else "")
    else:  # a form cannot be sent again: return to its page
        referer = urlsplit(request.headers.get("referer", ""))
        page = referer.path if referer.netloc == request.headers.get("host") else HOME
    back = safe_next_page(page)
    return LOGIN if back == HOME else f"{LOGIN}?next={quote(back, safe='/')}"
