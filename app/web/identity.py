"""Who sends a request: nobody known, the holder of a bearer token, or of a session's cookie."""

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
    """Who sends a request.

    `csrf` is what the forms of a session must carry; it is empty without a session, as then
    nothing is sent that a browser adds by itself. `is_protected`: the server has tokens at all.
    """

    holder: Holder | None = None
    via: Literal["bearer", "session"] | None = None
    csrf: str = ""
    is_protected: bool = False


ANONYMOUS = Identity()


def cookie_name(request: Request) -> str:
    """Return the name of the session's cookie on this server.

    Cookies do not tell ports apart: without the port in it, two servers on one machine would
    log their users out of each other.
    """
    port = request.headers.get("host", "").rpartition(":")[2]
    return f"{_COOKIE}_{port}" if _PORT.fullmatch(port) else _COOKIE


def session_cookie(request: Request) -> bytes:
    """Return what the session's cookie carries, nothing if there is none."""
    return request.cookies.get(cookie_name(request), "").encode("latin-1", "replace")


def bearer_token(request: Request) -> bytes | None:
    """Return the token of the Authorization header, None if it has none."""
    scheme, _, sent = request.headers.get("authorization", "").partition(" ")
    # Headers are decoded as Latin-1: encoded again, they are the bytes that were sent.
    return sent.strip().encode("latin-1") if scheme.lower() == "bearer" else None


def identify(store: Store, request: Request) -> Identity:
    """Return who sends a request.

    A token that is sent counts before a cookie, which the browser adds by itself.
    """
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
    """Return the visitor that was found when the request came in."""
    found: Identity = getattr(request.state, "identity", ANONYMOUS)
    return found


def set_session_cookie(request: Request, response: Response, value: str) -> None:
    """Give a browser the cookie of its session.

    HttpOnly: no script reads it. SameSite=Lax: other sites' forms and images do not carry it.
    Secure over https: it is never sent in the clear.
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
    """Make a browser forget its session."""
    response.delete_cookie(
        cookie_name(request),
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )
