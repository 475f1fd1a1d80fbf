"""Login and logout: a token, or a one-time link, for a session's cookie."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from app.requests.dependencies import StoreDep
from app.requests.forms import FormFields
from app.web.identity import delete_session_cookie, session_cookie, set_session_cookie
from app.web.login_attempts import LoginAttempts
from app.web.login_redirect import HOME, safe_next_page
from app.web.templating import PageContext, render
from backend.access import sessions as login_sessions
from backend.access import tokens as access_tokens
from backend.access.tokens import Holder

router = APIRouter(include_in_schema=False)
# Browsers must not cache a response to a secret.
NO_STORE = {"Cache-Control": "no-store"}


@dataclass(frozen=True, kw_only=True)
class LoginPage(PageContext):
    """Variables of the login form; `back` is the page to return to."""

    template: ClassVar[str] = "login.html"

    title: str = "Log in"
    section: str = "login"
    back: str
    problem: str


def _form(request: Request, back: str, status: int = 200, problem: str = "") -> Response:
    response = render(request, LoginPage(back=safe_next_page(back), problem=problem), status)
    response.headers.update(NO_STORE)
    return response


@router.get("/login")
def login_form(request: Request, back: Annotated[str, Query(alias="next")] = HOME) -> Response:
    """Show the login form."""
    return _form(request, back)


def _holder(store: StoreDep, sent: bytes) -> Holder | None:
    return access_tokens.authenticate(store, sent) or login_sessions.redeem_login_link(store, sent)


@router.post("/login")
def login(request: Request, store: StoreDep, fields: FormFields) -> Response:
    """Exchange a token or a one-time code for a session, and redirect to the page in `next`."""
    attempts: LoginAttempts = request.app.state.attempts
    host = request.client.host if request.client else ""
    back = safe_next_page(fields.get("next"))
    seconds = attempts.register(host)
    if seconds:
        page = _form(request, back, 429, f"Too many attempts: try again in {seconds} seconds.")
        page.headers["Retry-After"] = str(seconds)
        return page
    holder = _holder(store, fields.get("token", "").strip().encode())
    if holder is None:
        words = "Invalid token: it is unknown, used, expired or revoked."
        return _form(request, back, 401, words)
    attempts.record_success(host)
    # Start a new session for every login, against session fixation.
    login_sessions.delete_session(store, session_cookie(request))
    answer = RedirectResponse(back, 303, NO_STORE)
    set_session_cookie(request, answer, login_sessions.create_session(store, holder))
    return answer


@router.post("/logout")
def logout(request: Request, store: StoreDep, fields: FormFields) -> Response:
    """End the session in the browser and in the store, so that a copied cookie is invalid."""
    login_sessions.delete_session(store, session_cookie(request))
    answer = RedirectResponse(HOME, 303, NO_STORE)
    delete_session_cookie(request, answer)
    return answer
