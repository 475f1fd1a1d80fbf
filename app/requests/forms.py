"""Fields of forms that pages send without scripts.

Four layers keep other sites from sending them in a visitor's name, and each stops what the others
may miss:

- `app.web.security` refuses a change whose Origin or Sec-Fetch-Site is not this server's own. It
  stops every other site, in every browser that sends one of these headers.
- JSON is another layer of the same door: other sites cannot send it without asking first, and are
  never told yes. Only forms need more, as any site may send those without asking.
- The cookie is SameSite=Lax: forms of other sites do not carry it. It does not stop another port
  of this host, which browsers take for the same site.
- The `csrf` field, checked here, is made from the session's secret and stands only in pages of
  that session. It stops what comes from an own origin without having read a page: a planted form
  in text that slipped through, or a browser whose headers an extension or proxy removed or forged.
"""

from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends, HTTPException, Request

from app.web.identity import current_identity, session_cookie
from app.web.security import FORM
from backend.access.sessions import is_valid_csrf_token
from backend.errors import InvalidInputError

MAX_FIELDS = 60
CSRF_FIELD = "csrf"


async def _fields(request: Request) -> dict[str, str]:
    sent = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if sent != FORM:
        raise InvalidInputError("this address takes a form", "Use the API to send JSON")
    body = await request.body()
    try:
        pairs = parse_qsl(
            body.decode("ascii"), max_num_fields=MAX_FIELDS, errors="strict", encoding="utf-8"
        )
    except ValueError as error:  # also what is not ASCII, or not UTF-8 once decoded
        raise InvalidInputError(
            f"the form cannot be read ({error})", "Send it from the page"
        ) from error
    fields = dict(pairs)
    sent_back = fields.pop(CSRF_FIELD, "")
    # A bearer token, or no credential at all: nothing that a browser would add by itself.
    is_session = current_identity(request).via == "session"
    if is_session and not is_valid_csrf_token(sent_back, session_cookie(request)):
        raise HTTPException(403, "The form does not belong to the session of this browser")
    return fields


# Empty fields are left out: they count as not given.
FormFields = Annotated[dict[str, str], Depends(_fields)]
