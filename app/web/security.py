"""Who may ask for what: host names, tokens, same-origin mutations, headers and body size.

Plain ASGI: responses pass unbuffered, and of a request no more is kept than `MAX_BODY_BYTES`.
"""

import re

from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.web.errors import Refusal, database_refusal, error_response, is_api
from app.web.identity import ANONYMOUS, Identity, bearer_token, identify
from app.web.login_attempts import LoginAttempts
from app.web.scopes import SAFE_METHODS, STATIC, needed_scope
from backend.access.binding import LOOPBACK_NAMES, check_bind, is_loopback
from backend.access.tokens import Holder, covers
from backend.access.tokens import Scope as AccessScope
from backend.settings import Settings
from backend.store.database import Store

__all__ = ["MAX_BODY_BYTES", "AccessControl", "BodyLimit", "SecurityHeaders", "check_bind"]

MAX_BODY_BYTES = 1 << 20
# More than all characters of the longest text that may be pasted.
MAX_BODY_PARTS = 25_000
MAX_ADDRESS_BYTES = MAX_HEADER_BYTES = 32 << 10
FORM = "application/x-www-form-urlencoded"
_HOST = re.compile(r"(\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(:[0-9]{0,5})?")
CSP = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; "
    "base-uri 'none'; frame-ancestors 'self'"
)
HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    # For browsers that do not know frame-ancestors.
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


def host_name(host: str) -> str:
    """Return the name in a Host header, without its port and brackets, in lower case.

    What is no name with a port has none: addresses are built from this header, and with a slash
    in it their path would be another one than the route's.
    """
    match = _HOST.fullmatch(host.strip().lower())
    return (match["address"] or match["name"]) if match else ""


def allowed_hosts(settings: Settings) -> frozenset[str]:
    """Return the names under which the server may be addressed."""
    named = (host_name(host) for host in settings.allowed_hosts.split(","))
    return LOOPBACK_NAMES | {name for name in named if name}


class AccessControl:
    """Middleware that refuses what must not reach any route."""

    def __init__(self, app: ASGIApp, store: Store) -> None:
        self.app = app
        self.store = store
        self.hosts = allowed_hosts(store.settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the refusal, or hand the request on."""
        if scope["type"] == "http":
            request = Request(scope)
            refusal = await self.refusal(request)
            if refusal is not None:
                await error_response(request, refusal)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    async def refusal(self, request: Request) -> Refusal | None:
        """Return why the request is refused, None if it is not; note who sends it."""
        refusal = _size(request) or self._host(request.headers) or _too_many_guesses(request)
        if refusal is not None:
            return refusal
        try:
            identity = request.state.identity = await self._identity(request)
        except (OperationalError, PoolTimeoutError) as error:
            return database_refusal(request, error)
        _judge_guess(request, identity)
        refusal = _access(request, identity)
        if refusal is None and request.method not in SAFE_METHODS:
            refusal = _origin(request.headers) or _media_type(request)
        return refusal

    def _host(self, headers: Headers) -> Refusal | None:
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

    async def _identity(self, request: Request) -> Identity:
        if not _needs_identity(request):
            return ANONYMOUS
        # The store is asked each time: a token that was revoked a moment ago opens nothing.
        return await run_in_threadpool(identify, self.store, request)


def is_still_allowed(store: Store, request: Request) -> bool:
    """Return whether a request that was let in before would be let in now."""
    identity = identify(store, request) if _needs_identity(request) else ANONYMOUS
    return _access(request, identity) is None


def _size(request: Request) -> Refusal | None:
    scope = request.scope
    if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_ADDRESS_BYTES:
        return Refusal(
            414, f"The address is longer than {MAX_ADDRESS_BYTES:,} bytes", "Ask for less at once"
        )
    if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADER_BYTES:
        return Refusal(
            431,
            f"The headers are longer than {MAX_HEADER_BYTES:,} bytes",
            "Send fewer or shorter ones; in a browser, delete the cookies of this host",
        )
    return None


def _sender(request: Request) -> tuple[LoginAttempts, str]:
    return request.app.state.attempts, request.client.host if request.client else ""


def _too_many_guesses(request: Request) -> Refusal | None:
    token = bearer_token(request)
    if token is None:
        return None
    attempts, host = _sender(request)
    seconds = attempts.register(host, token)
    if not seconds:
        return None
    return Refusal(
        429,
        "Too many requests with a wrong token came from this address",
        f"Correct the token, and try again in {seconds} seconds",
        headers={"Retry-After": str(seconds)},
    )


def _judge_guess(request: Request, identity: Identity) -> None:
    token = bearer_token(request)
    if token is None:
        return
    attempts, host = _sender(request)
    if identity.holder is not None:
        attempts.record_success(host, token)
    elif identity.is_protected:
        attempts.record_failure(token)
    else:  # nothing to guess
        attempts.record_success(host)


def _is_local(request: Request) -> bool:
    return request.client is not None and is_loopback(request.client.host)


def _needs_identity(request: Request) -> bool:
    path, is_read = request.scope["path"], request.method in SAFE_METHODS
    if is_read and path.startswith(STATIC):
        return False
    # A page shows who is logged in; data that this machine reads is the same for everybody.
    is_open_read = _is_local(request) and is_read and is_api(path)
    return not is_open_read or bearer_token(request) is not None


def _access(request: Request, identity: Identity) -> Refusal | None:
    """Return why the identity may not do this, None if they may."""
    # The scope's path is what the router sees; `request.url` is built from a header as well.
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


def _origin(headers: Headers) -> Refusal | None:
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


def _media_type(request: Request) -> Refusal | None:
    sent = request.headers.get("content-type", "")
    kind = sent.partition(";")[0].strip().lower()
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding != "identity":
        # A small compressed body can be a large one, and none of ours is worth compressing.
        return Refusal(
            415, f"The content encoding {coding[:100]!r} is not accepted", "Send it uncompressed"
        )
    # Forms are for pages without scripts; that they come from this server's own pages, the
    # origin has shown already.
    if kind == "application/json" or (kind == FORM and not is_api(request.scope["path"])):
        return None
    return Refusal(
        415,
        f"The content type {sent[:100]!r} is not accepted",
        "Send JSON, with the header `Content-Type: application/json`",
    )


class SecurityHeaders:
    """Middleware that puts the security headers and a caching default on every response."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, with headers added to its response."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                default = "no-cache" if message["status"] < 400 else "no-store"
                headers.setdefault("Cache-Control", default)
            await send(message)

        await self.app(scope, receive, send_with_headers)


class BodyLimit:
    """Middleware that reads the body of a change: at most `max_bytes`, whatever its headers claim.

    It does so before any route runs, so that one that needs no body refuses a large one as well.
    """

    def __init__(self, app: ASGIApp, max_bytes: int = MAX_BODY_BYTES) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on with its whole body, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        announced = request.headers.get("content-length", "0")
        if announced.isdecimal() and int(announced[:20]) > self.max_bytes:
            await error_response(request, self._too_large())(scope, receive, send)
        elif scope["method"] in SAFE_METHODS:
            await self.app(scope, receive, send)
        else:
            await self._with_body(request, receive, send)

    async def _with_body(self, request: Request, receive: Receive, send: Send) -> None:
        body = bytearray()
        message: Message = {"more_body": True}
        while message.get("more_body", False):
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            if len(body) > self.max_bytes:
                await error_response(request, self._too_large())(request.scope, receive, send)
                return
        # Values take hundreds of times their length once they are read, and each that is wrong
        # has a message of its own.
        if sum(body.count(mark) for mark in b",[{") > MAX_BODY_PARTS:
            refusal = Refusal(
                413, f"The body has more than {MAX_BODY_PARTS:,} values", "Send less in one request"
            )
            await error_response(request, refusal)(request.scope, receive, send)
            return
        await self.app(request.scope, _replayed(bytes(body), receive), send)

    def _too_large(self) -> Refusal:
        return Refusal(
            413, f"The body is larger than {self.max_bytes:,} bytes", "Send less in one request"
        )


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return what gives a whole body, then whatever comes after it."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return messages.pop() if messages else await receive()

    return next_message
