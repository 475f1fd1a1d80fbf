"""Paged lists: iteration follows cursors to the last page."""

from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import islice
from typing import Any, Generic, TypeVar

Row = TypeVar("Row")
Page = TypeVar("Page")


class Listing(Generic[Row, Page]):
    """Rows of a list, fetched page by page while they are iterated.

    No request is sent before the first row is needed. Each iteration starts at the first page,
    which is cached.

    Attributes:
        first_page: first page, with the totals of the list.
    """

    def __init__(self, fetch: Callable[[str | None], Page], rows: str) -> None:
        """Create a list from a function of cursors; `rows` is the name of the rows in a page."""
        self._fetch = fetch
        self._rows = rows

    @cached_property
    def first_page(self) -> Page:
        """Return the first page, with the totals of the list."""
        return self._fetch(None)

    def pages(self) -> Iterator[Page]:
        """Yield all pages."""
        page: Any = self.first_page
        yield page
        while page.next_cursor is not None:
            page = self._fetch(page.next_cursor)
            yield page

    def __iter__(self) -> Iterator[Row]:
        for page in self.pages():
            yield from getattr(page, self._rows)

    def first(self, n: int) -> list[Row]:
        """Return the first `n` rows, or all rows if there are fewer."""
        return list(islice(self, n))
