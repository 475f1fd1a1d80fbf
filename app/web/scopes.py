"""Scopes of routes.

Reads need the scope `read`. Every other route is listed here; an unlisted one needs `admin`, and a
test fails for it.
"""

from starlette.routing import compile_path

from backend.access.tokens import Scope

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# None: no token is needed, to log in and out.
MUTATIONS: dict[tuple[str, str], Scope | None] = {
    ("POST", "/login"): None,
    ("POST", "/logout"): None,
    ("POST", "/api/v1/predictions/search"): "read",  # a search too long for a URL
    ("POST", "/api/v1/jobs"): "run",
    ("POST", "/api/v1/jobs/estimate"): "read",  # queues nothing
    ("POST", "/api/v1/jobs/{job}/cancel"): "run",
    ("POST", "/api/v1/jobs/{job}/resume"): "run",
    ("POST", "/jobs"): "run",
    ("POST", "/jobs/{job}/cancel"): "run",
    ("POST", "/jobs/{job}/resume"): "run",
    ("POST", "/documents/{corpus}/{index}/measure"): "run",
    ("POST", "/documents/{corpus}/paste"): "run",
    ("POST", "/experiments/{kind}"): "run",
    ("POST", "/grokking/{experiment}/finer"): "run",
    ("PUT", "/api/v1/clusters/{cluster}/annotation"): "admin",
}
STATIC = "/static/"
_OPEN_PAGES = frozenset({"/login"})
_PATTERNS = tuple(
    (method, compile_path(path)[0], scope) for (method, path), scope in MUTATIONS.items()
)


def is_open(path: str) -> bool:
    """Return whether a read needs no token: the login page and static files."""
    return path in _OPEN_PAGES or path.startswith(STATIC)


def needed_scope(method: str, path: str) -> Scope | None:
    """Return the scope that a request needs, None if it needs none."""
    if method in SAFE_METHODS:
        return None if is_open(path) else "read"
    for route_method, pattern, scope in _PATTERNS:
        if route_method == method and pattern.match(path):
            return scope
    return "admin"
