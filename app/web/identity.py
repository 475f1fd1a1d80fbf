"""Identity of a request: anonymous, a bearer token, or a session cookie."""

import re
from dataclasses import dataclass
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response

from backend.access import sessions as login_sessions
from backend.access import tokens as access_tokens
from backend.access.tokens import Holder
from backend.store.database import Store

_COOKIE = "quanta_session"
_PORT = re.compile(r"[0-9]{1,5}")


@dataclass(frozen=True)
class Identity:
    """Token behind a request, and how it was sent.

    Attributes:
        holder: name and scope of the token; None for an anonymous request.
        via: how the token was sent.
        csrf: value of the forms' CSRF field; empty without a session.
        is_protected: whether the server uses tokens.
    """

    holder: Holder | None = None
    via: Literal["bearer", "session"] | None = None
    csrf: str = ""
    is_protected: bool = False


ANONYMOUS = Identity()


def cookie_name(request: Request) -> str:
    """Return the name of the session's cookie on this server.

    It contains the port, which cookies ignore: two servers on one host would otherwise overwrite
    each other's session.
    """
    port = request.headers.get("host", "").rpartition(":")[2]
    return f"{_COOKIE}_{port}" if _PORT.fullmatch(port) else _COOKIE


def session_cookie(request: Request) -> bytes:
    """Return the value of the session cookie, empty if there is none."""
    return request.cookies.get(cookie_name(request), "").encode("latin-1", "replace")


def bearer_token(request: Request) -> bytes | None:
    """Return the token of the Authorization header, None if it has none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    # Starlette decodes headers as Latin-1: encode them to get the bytes back.
    return token.strip().encode("latin-1") if scheme.lower() == "bearer" else None


def identify(store: Store, request: Request) -> Identity:
    """Return the identity of a request; a bearer token takes precedence over a cookie."""
    is_protected = access_tokens.is_protected(store)
    bearer = bearer_token(request)
    if bearer is not None:
        holder = access_tokens.authenticate(store, bearer)
        return Identity(holder, "bearer" if holder else None, is_protected=is_protected)
    cookie = session_cookie(request)
    holder = login_sessions.authenticate_session(store, cookie) if cookie else None
    if holder is None:
        return Identity(is_protected=is_protected)
    return Identity(holder, "session", login_sessions.csrf_token(cookie), is_protected)


def current_identity(request: Request) -> Identity:
    """Return the identity that `AccessControl` set, anonymous if it set none."""
    identity: Identity = getattr(request.state, "identity", ANONYMOUS)
    return identity


def set_session_cookie(request: Request, response: Response, value: str) -> None:
    """Set the session cookie.

    HttpOnly: scripts cannot read it. SameSite=Lax: other sites' forms and images do not send it.
    Secure over https: it is never sent unencrypted.
    """
    response.set_cookie(
        cookie_name(request),
        value,
        max_age=int(login_sessions.SESSION_LIFE.total_seconds()),
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )


def delete_session_cookie(request: Request, response: Response) -> None:
    """Delete the session cookie."""
    response.delete_cookie(
        cookie_name(request),
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )
