"""CSV downloads: streamed page by page, with spreadsheet formulas escaped."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO

from starlette.responses import StreamingResponse

from backend.exchange.spreadsheet import escape_formula
from backend.read.views import Token

Cell = str | int | float | bool | None
Row = Sequence[Cell]


def harmless(cell: Cell) -> Cell:
    """Return `cell` with a leading ' if a spreadsheet would evaluate it as a formula."""
    return escape_formula(cell) if isinstance(cell, str) else cell


def text_of(token: Token | None) -> str:
    """Return a token's text, empty for None."""
    return token.text if token else ""


def csv_lines(rows: Iterable[Row]) -> str:
    """Return rows as CSV text (RFC 4180)."""
    buffer = StringIO()
    csv.writer(buffer).writerows([harmless(cell) for cell in row] for row in rows)
    return buffer.getvalue()


def csv_response(
    header: Sequence[str], pages: Iterator[Iterable[Row]], filename: str, *, truncated: bool = False
) -> StreamingResponse:
    """Return a download of all pages.

    Args:
        header: column names.
        pages: rows in pages, each fetched once the client has read the previous one.
        filename: name of the download, of letters, digits, dots and dashes only.
        truncated: there are more rows; sent as the header X-Truncated.
    """

    def chunks() -> Iterator[str]:
        yield csv_lines([header])
        for page in pages:
            yield csv_lines(page)

    headers = {"Content-Disposition": f'attachment; filename="{filename}"'}
    if truncated:
        headers["X-Truncated"] = "true"
    return StreamingResponse(chunks(), media_type="text/csv; charset=utf-8", headers=headers)
