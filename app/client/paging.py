"""Lists that come in pages: iterating follows cursors to the end."""

from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import islice
from typing import Any, Generic, TypeVar

Row = TypeVar("Row")
Page = TypeVar("Page")


class Listing(Generic[Row, Page]):
    """Rows of a list, fetched page by page while they are iterated.

    Nothing is asked for before the first row is. Each iteration begins at the first page, which is
    fetched once.

    Attributes:
        first_page: the first page, with totals beside its rows.
    """

    def __init__(self, fetch: Callable[[str | None], Page], rows: str) -> None:
        """Make a list of the pages that `fetch` gives for cursors; `rows` names their field."""
        self._fetch = fetch
        self._rows = rows

    @cached_property
    def first_page(self) -> Page:
        """Return the first page, with totals beside its rows."""
        return self._fetch(None)

    def pages(self) -> Iterator[Page]:
        """Yield whole pages, to the last."""
        page: Any = self.first_page
        yield page
        while page.next_cursor is not None:
            page = self._fetch(page.next_cursor)
            yield page

    def __iter__(self) -> Iterator[Row]:
        for page in self.pages():
            yield from getattr(page, self._rows)

    def first(self, n: int) -> list[Row]:
        """Return the first `n` rows, or all if there are fewer."""
        return list(islice(self, n))
