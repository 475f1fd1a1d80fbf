"""Where a login leads: only to pages of this server."""

from urllib.parse import quote, urlsplit

from starlette.requests import Request

MAX_LENGTH = 2000
HOME = "/"
LOGIN = "/login"
_NOT_AFTER_LOGIN = frozenset({LOGIN, "/logout"})


def safe_next_page(wanted: str | None) -> str:
    """Return `wanted` if it is a path of this server, the overview otherwise.

    Browsers read `//host`, `/\\host` and these with tabs or line ends between as other hosts.
    """
    if not wanted or len(wanted) > MAX_LENGTH or not wanted.startswith("/"):
        return HOME
    if "\\" in wanted or not wanted.isprintable() or wanted.startswith("//"):
        return HOME
    try:
        parts = urlsplit(wanted)
    except ValueError:
        return HOME
    if parts.scheme or parts.netloc or parts.path in _NOT_AFTER_LOGIN:
        return HOME
    return wanted


def login_url(request: Request) -> str:
    """Return the address of the login that leads back to where a request came from."""
    if request.method in {"GET", "HEAD"}:
        query = request.url.query
        here = request.url.path + (f"?{query}" if query else "")
    else:  # a form cannot be sent again: back to the page that it stands on
        page = urlsplit(request.headers.get("referer", ""))
        here = page.path if page.netloc == request.headers.get("host") else HOME
    back = safe_next_page(here)
    return LOGIN if back == HOME else f"{LOGIN}?next={quote(back, safe='/')}"
