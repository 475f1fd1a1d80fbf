"""Form fields and CSRF protection of pages that send forms without scripts.

Four layers stop cross-site request forgery; each covers cases that another may miss:

- `app.web.access_control` refuses a change with another site's Origin or Sec-Fetch-Site. It stops
  every other site, in every browser that sends one of these headers.
- JSON needs a CORS preflight, which this server never allows. Forms need more layers, because any
  site may send them without a preflight.
- The cookie is SameSite=Lax: other sites' forms do not carry it. It does not stop another port of
  this host, which browsers treat as the same site.
- The `csrf` field, checked here, is derived from the session's secret and appears only in pages of
  that session. It stops requests from the own origin that have not read a page: a form injected
  through unescaped text, or headers that a browser extension or proxy removed or forged.
"""

from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends, HTTPException, Request

from app.web.access_control import FORM
from app.web.identity import current_identity, session_cookie
from backend.access.sessions import is_valid_csrf_token
from backend.errors import InvalidInputError

MAX_FIELDS = 60
CSRF_FIELD = "csrf"


async def _fields(request: Request) -> dict[str, str]:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != FORM:
        raise InvalidInputError("this address takes a form", "Use the API to send JSON")
    body = await request.body()
    try:
        pairs = parse_qsl(
            body.decode("ascii"), max_num_fields=MAX_FIELDS, errors="strict", encoding="utf-8"
        )
    except ValueError as error:  # includes bytes that are not ASCII, or not UTF-8
        raise InvalidInputError(
            f"the form cannot be read ({error})", "Send it from the page"
        ) from error
    fields = dict(pairs)
    csrf_field = fields.pop(CSRF_FIELD, "")
    # Only a session cookie is sent by the browser itself; bearer tokens need no check.
    is_session = current_identity(request).via == "session"
    if is_session and not is_valid_csrf_token(csrf_field, session_cookie(request)):
        raise HTTPException(403, "The form does not belong to the session of this browser")
    return fields


# Empty fields are left out.
FormFields = Annotated[dict[str, str], Depends(_fields)]
