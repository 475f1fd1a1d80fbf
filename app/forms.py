"""Fields of forms that pages send without scripts."""

from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends, Request

from app.security import FORM
from backend.errors import InvalidInputError

MAX_FIELDS = 20


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
    return dict(pairs)


# Empty fields are left out: they count as not given.
FormFields = Annotated[dict[str, str], Depends(_fields)]
