"""Access control: host names, tokens and scopes, same-origin changes, lengths of headers."""

import re

from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.web.errors import Refusal, database_refusal, error_response, is_api
from app.web.identity import ANONYMOUS, Identity, bearer_token, identify
from app.web.login_attempts import LoginAttempts
from app.web.scopes import SAFE_METHODS, STATIC, needed_scope
from backend.access.binding import LOOPBACK_NAMES, is_loopback
from backend.access.tokens import Holder, covers
from backend.access.tokens import Scope as AccessScope
from backend.settings import Settings
from backend.store.database import Store

MAX_ADDRESS_BYTES = MAX_HEADER_BYTES = 32 << 10
FORM = "application/x-www-form-urlencoded"
_HOST = re.compile(r"(\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(:[0-9]{0,5})?")


def host_name(host: str) -> str:
    """Return the name in a Host header, without its port and brackets, in lower case.

    A malformed header gives an empty name: URLs are built from it, and a slash in it would change
    their path.
    """
    match = _HOST.fullmatch(host.strip().lower())
    return (match["address"] or match["name"]) if match else ""


def allowed_hosts(settings: Settings) -> frozenset[str]:
    """Return the host names that the server accepts."""
    named = (host_name(host) for host in settings.allowed_hosts.split(","))
    return LOOPBACK_NAMES | {name for name in named if name}


class AccessControl:
    """Middleware that refuses requests before they reach a route."""

    def __init__(self, app: ASGIApp, store: Store) -> None:
        self.app = app
        self.store = store
        self.hosts = allowed_hosts(store.settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the refusal, or call the application."""
        if scope["type"] == "http":
            request = Request(scope)
            refusal = await self._check(request)
            if refusal is not None:
                await error_response(request, refusal)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    async def _check(self, request: Request) -> Refusal | None:
        """Return why the request is refused, None if it is not; set `request.state.identity`."""
        refusal = (
            _check_size(request) or self._check_host(request.headers) or _check_attempts(request)
        )
        if refusal is not None:
            return refusal
        try:
            identity = request.state.identity = await self._identify(request)
        except (OperationalError, PoolTimeoutError) as error:
            return database_refusal(request, error)
        _record_attempt(request, identity)
        refusal = _check_scope(request, identity)
        if refusal is None and request.method not in SAFE_METHODS:
            refusal = _check_origin(request.headers) or _check_media_type(request)
        return refusal

    def _check_host(self, headers: Headers) -> Refusal | None:
        hosts = headers.getlist("host")
        if len(hosts) != 1:
            return Refusal(400, "The request has no single Host header", "Send exactly one")
        if host_name(hosts[0]) in self.hosts:
            return None
        return Refusal(
            421,
            f"This server does not answer for the host {hosts[0][:100]!r}",
            "Use http://127.0.0.1, or add the name to QUANTA_ALLOWED_HOSTS and restart",
        )

    async def _identify(self, request: Request) -> Identity:
        if not _needs_identity(request):
            return ANONYMOUS
        # Not cached: a revoked token must stop working at once.
        return await run_in_threadpool(identify, self.store, request)


def is_still_allowed(store: Store, request: Request) -> bool:
    """Return whether an accepted request would still be accepted now."""
    identity = identify(store, request) if _needs_identity(request) else ANONYMOUS
    return _check_scope(request, identity) is None


def _check_size(request: Request) -> Refusal | None:
    scope = request.scope
    if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_ADDRESS_BYTES:
        return Refusal(
            414, f"The address is longer than {MAX_ADDRESS_BYTES:,} bytes", "Request less at once"
        )
    if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADER_BYTES:
        return Refusal(
            431,
            f"The headers are longer than {MAX_HEADER_BYTES:,} bytes",
            "Send fewer or shorter ones; in a browser, delete the cookies of this host",
        )
    return None


def _attempts_and_host(request: Request) -> tuple[LoginAttempts, str]:
    return request.app.state.attempts, request.client.host if request.client else ""


def _check_attempts(request: Request) -> Refusal | None:
    token = bearer_token(request)
    if token is None:
        return None
    attempts, host = _attempts_and_host(request)
    seconds = attempts.register(host, token)
    if not seconds:
        return None
    return Refusal(
        429,
        "Too many requests with a wrong token came from this address",
        f"Correct the token, and try again in {seconds} seconds",
        headers={"Retry-After": str(seconds)},
    )


def _record_attempt(request: Request, identity: Identity) -> None:
    token = bearer_token(request)
    if token is None:
        return
    attempts, host = _attempts_and_host(request)
    if identity.holder is not None:
        attempts.record_success(host, token)
    elif identity.is_protected:
        attempts.record_failure(token)
    else:  # without tokens there is nothing to guess
        attempts.record_success(host)


def _is_local(request: Request) -> bool:
    return request.client is not None and is_loopback(request.client.host)


def _needs_identity(request: Request) -> bool:
    path, is_read = request.scope["path"], request.method in SAFE_METHODS
    if is_read and path.startswith(STATIC):
        return False
    # Pages show the identity; API reads from this machine need no token.
    is_open_read = _is_local(request) and is_read and is_api(path)
    return not is_open_read or bearer_token(request) is not None


def _check_scope(request: Request, identity: Identity) -> Refusal | None:
    """Return why the identity may not do this, None if it may."""
    # The router uses the scope's path; `request.url` is also built from the Host header.
    path = request.scope["path"]
    needed = needed_scope(request.method, path)
    is_local = _is_local(request)
    if path.startswith(STATIC) and needed is None:
        return None
    if is_local and (needed in {None, "read"} or not identity.is_protected):
        return None
    if identity.holder is None and not identity.is_protected:
        return Refusal(
            403,
            "Without a token this server answers only its own machine",
            "Make one with `quanta token create`, or set QUANTA_TOKEN on the server, and send it",
        )
    if needed is None or (identity.holder and covers(identity.holder.scope, needed)):
        return None
    return _wrong_scope(identity.holder, needed) if identity.holder else _no_token()


def _no_token() -> Refusal:
    return Refusal(
        401,
        "This request needs a token of this server",
        "Log in at /login, or send the header `Authorization: Bearer <token>`",
        headers={"WWW-Authenticate": 'Bearer realm="quanta"'},
    )


def _wrong_scope(holder: Holder, needed: AccessScope) -> Refusal:
    return Refusal(
        403,
        f"This needs the scope {needed}, and the token {holder.name!r} has {holder.scope}",
        f"Use a token made with `quanta token create NAME --scope {needed}`",
    )


def _check_origin(headers: Headers) -> Refusal | None:
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    has_own_origin = origin is not None and origin.partition("://")[2] == headers["host"]
    is_own_site = site in {"same-origin", "none"}
    if (origin is None or has_own_origin) and (site is None or is_own_site) and (origin or site):
        return None
    return Refusal(
        403,
        "A change must come from this server's own pages or from a program that says so",
        "From a program, send the header `Sec-Fetch-Site: none`",
    )


def _check_media_type(request: Request) -> Refusal | None:
    content_type = request.headers.get("content-type", "")
    media_type = content_type.partition(";")[0].strip().lower()
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding != "identity":
        # A small compressed body can expand to a large one.
        return Refusal(
            415, f"The content encoding {coding[:100]!r} is not accepted", "Send it uncompressed"
        )
    # Pages send forms without scripts; `_check_origin` accepts only this server's own pages.
    is_page = not is_api(request.scope["path"])
    if media_type == "application/json" or (media_type == FORM and is_page):
        return None
    return Refusal(
        415,
        f"The content type {content_type[:100]!r} is not accepted",
        "Send JSON, with the header `Content-Type: application/json`",
    )
