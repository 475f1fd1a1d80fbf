"""Who may ask for what: host names, tokens, same-origin mutations, headers and body size.

Plain ASGI: nothing here reads more of a request than its headers, or buffers a body.
"""

import hmac

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import Refusal, error_response, is_api
from backend.binding import LOOPBACK_NAMES, check_bind, is_loopback
from backend.settings import Settings

__all__ = ["MAX_BODY_BYTES", "BodyLimit", "Guard", "SecurityHeaders", "check_bind"]

MAX_BODY_BYTES = 1 << 20
FORM = "application/x-www-form-urlencoded"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
CSP = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; "
    "base-uri 'none'; frame-ancestors 'self'"
)
HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


def host_name(host: str) -> str:
    """Return the name in a Host header, without its port and brackets, in lower case."""
    host = host.strip().lower()
    if host.startswith("["):
        address, closing, _ = host[1:].partition("]")
        return address if closing else ""
    return host.partition(":")[0]


def allowed_hosts(settings: Settings) -> frozenset[str]:
    """Return the names under which the server may be addressed."""
    named = (host_name(host) for host in settings.allowed_hosts.split(","))
    return LOOPBACK_NAMES | {name for name in named if name}


class Guard:
    """Middleware that refuses what must not reach any route."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.hosts = allowed_hosts(settings)
        self.token = settings.token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the refusal, or hand the request on."""
        if scope["type"] == "http":
            request = Request(scope)
            refusal = self.refusal(request)
            if refusal is not None:
                await error_response(request, refusal)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def refusal(self, request: Request) -> Refusal | None:
        """Return why the request is refused, None if it is not."""
        mutates = request.method not in SAFE_METHODS
        refusal = self._host(request.headers) or self._client(request, mutates)
        if refusal is None and mutates:
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

    def _client(self, request: Request, mutates: bool) -> Refusal | None:
        is_local = request.client is not None and is_loopback(request.client.host)
        if not self.token:
            if is_local:
                return None
            return Refusal(
                403,
                "Without a token this server answers only its own machine",
                "Set QUANTA_TOKEN on the server, restart it, and send the token",
            )
        if is_local and not mutates:
            return None
        scheme, _, sent = request.headers.get("authorization", "").partition(" ")
        # compare_digest takes as long for a wrong first character as for a wrong last one.
        if scheme.lower() == "bearer" and hmac.compare_digest(
            sent.strip().encode("latin-1"), self.token
        ):
            return None
        return Refusal(
            401,
            "This request needs the server's token",
            "Send the header `Authorization: Bearer <token>` with the value of QUANTA_TOKEN",
            headers={"WWW-Authenticate": 'Bearer realm="quanta"'},
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
    # Forms are for pages without scripts; that they come from this server's own pages, the
    # origin has shown already.
    if kind == "application/json" or (kind == FORM and not is_api(request.url.path)):
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
    """Middleware that stops reading a body at `max_bytes`, whatever its headers claim."""

    def __init__(self, app: ASGIApp, max_bytes: int = MAX_BODY_BYTES) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on with a counted body."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        announced = request.headers.get("content-length", "0")
        if announced.isdecimal() and int(announced[:20]) > self.max_bytes:
            await error_response(request, self._refusal())(scope, receive, send)
            return
        await self.app(scope, self._counted(receive), send)

    def _refusal(self) -> Refusal:
        return Refusal(
            413, f"The body is larger than {self.max_bytes:,} bytes", "Send less in one request"
        )

    def _counted(self, receive: Receive) -> Receive:
        total = 0

        async def counted() -> Message:
            nonlocal total
            message = await receive()
            total += len(message.get("body", b""))
            if total > self.max_bytes:
                raise HTTPException(413, self._refusal().detail)
            return message

        return counted
