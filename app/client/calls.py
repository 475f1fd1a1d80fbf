"""Base of all groups of calls: a transport, paths, and typed responses."""

from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import quote

from app.client.decoding import decode
from app.client.errors import UnexpectedAnswerError
from app.client.paging import Listing
from app.client.transport import API, Transport, document_of

Value = TypeVar("Value")
Query = Mapping[str, Any]


def path_of(template: str, *parts: str | int) -> str:
    """Return a path of the API with its `{}` replaced by the quoted parts.

    Raises:
        ValueError: a part is empty, "." or "..", which would change the path.
    """
    for part in parts:
        if str(part) in {"", ".", ".."}:
            raise ValueError(f"{part!r} is not a valid name")
    return API + template.format(*(quote(str(part), safe="") for part in parts))


class Calls:
    """A group of calls over one transport."""

    _transport: Transport

    def _json(self, path: str, query: Query | None = None) -> Any:
        return document_of(self._transport.read(path, query))

    def _get(self, kind: type[Value], path: str, query: Query | None = None) -> Value:
        return decode(kind, self._json(path, query))

    def _rows(self, kind: type[Value], path: str, name: str, query: Query) -> tuple[Value, ...]:
        """Return the rows of a list that is not paged."""
        document = self._json(path, query)
        if not isinstance(document, dict) or name not in document:
            raise UnexpectedAnswerError(f"the response to {path} has no {name}")
        return tuple(decode(kind, row) for row in document[name])

    def _send(
        self,
        kind: type[Value],
        method: str,
        path: str,
        body: Any,
        headers: Mapping[str, str] | None = None,
        *,
        is_repeatable: bool = False,
    ) -> Value:
        response = self._transport.send(method, path, body, headers, is_repeatable=is_repeatable)
        return decode(kind, document_of(response))

    def _listing(
        self, row: type[Any], page: type[Any], path: str, rows: str, query: Query
    ) -> Listing[Any, Any]:
        """Return a list that follows cursors; `rows` is the name of the rows in a page."""

        def fetch(cursor: str | None) -> Any:
            return self._get(page, path, {**query, "cursor": cursor})

        return Listing(fetch, rows)
