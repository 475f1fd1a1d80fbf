"""Predictions by the shape of their curve, their text and their scores; the map; files."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from typing import Any, Unpack

from app.client.calls import path_of
from app.client.decoding import decode
from app.client.files import FileCalls
from app.client.paging import Listing
from app.client.tables import FILE, STREAM, file_table, streamed_table, table_metadata
from app.client.types import (
    Axis,
    CurveMap,
    Download,
    Invariance,
    Match,
    Order,
    Points,
    Preset,
    SearchFilters,
    SearchParams,
    SearchResult,
    SearchSort,
    TableFormat,
)


def _pairs(points: Points) -> str:
    return ",".join(f"{x!r}:{y!r}" for x, y in points)


def _query_params(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return a search as the query of an address has it."""
    return {
        name: _pairs(value) if name in {"sketch", "lasso"} and value is not None else value
        for name, value in wanted.items()
    }


class SearchCalls(FileCalls):
    """Calls that find predictions."""

    def predictions(
        self, *, page_size: int = 50, **asked: Unpack[SearchParams]
    ) -> Listing[Match, SearchResult]:
        """Return predictions with the curve, text and scores asked for, the nearest first.

        Their first page has what all of them share: the points of the curves, and how many match.

        Args:
            page_size: rows in a page.
            asked: see `SearchParams`.
        """
        query = {**_query_params(asked), "limit": page_size}
        return self._listing(Match, SearchResult, path_of("/predictions"), "matches", query)

    def search(
        self,
        *,
        sketch: Points | None = None,
        preset: Preset | None = None,
        at: int | None = None,
        example: int | None = None,
        invariances: Sequence[Invariance] | None = None,
        filters: SearchFilters | None = None,
        corpus: str | None = None,
        suite: str | None = None,
        axis: Axis = "N",
        model: str | None = None,
        sort: SearchSort | None = None,
        order: Order = "asc",
        page_size: int = 50,
    ) -> Listing[Match, SearchResult]:
        """Return predictions by the shape of their curve, the nearest first.

        Args:
            sketch: 2 to 16 points (axis value, nats).
            preset: a named curve.
            at: the first low point of preset "step", from 1.
            example: index of a prediction whose curve is looked for.
            invariances: what the distance ignores; default: level for a preset, else nothing.
            filters: what a prediction must have besides.
            corpus: default: the first with curves.
            suite: default: the first with curves.
            axis: "N": model size, "S": training step of `model`.
            model: default: the largest.
            sort: default: by distance if a curve is searched for, else by index.
            order: ascending or descending.
            page_size: rows in a page.
        """
        curve = {"sketch": sketch, "preset": preset, "at": at, "example": example}
        shape = {name: value for name, value in curve.items() if value is not None}
        body = {
            "corpus": corpus,
            "suite": suite,
            "axis": axis,
            "model": model,
            "shape": shape or None,
            "invariances": None if invariances is None else list(invariances),
            "filters": _query_params(filters or {}),
            "sort": sort,
            "order": order,
            "limit": page_size,
        }
        return Listing(partial(self._fetch_page, body), "matches")

    def _fetch_page(self, body: dict[str, Any], cursor: str | None) -> SearchResult:
        # Nothing is stored by this POST: it is a read with a long question.
        sent = {**body, "cursor": cursor}
        return self._send(
            SearchResult, "POST", path_of("/predictions/search"), sent, is_repeatable=True
        )

    def curve_map(self, **asked: Unpack[SearchParams]) -> CurveMap:
        """Return the map of at most 20,000 sampled curves, with those that match."""
        query = {**_query_params(asked), "format": "arrow"}
        answer = self._transport.read(path_of("/predictions/map"), query, accept=STREAM)
        points = streamed_table(answer.content)
        about = json.loads(table_metadata(points)["about"])
        return replace(decode(CurveMap, {**about, "points": None}), points=points)

    def predictions_table(self, *, context: int = 32, **asked: Unpack[SearchParams]) -> Any:
        """Return all that a search finds, at most 20,000 rows, as a `pyarrow.Table`.

        Its schema's metadata says of what the rows are; `is_whole` there is "false" if there are
        more, or if a text filter did not come to the end.

        Args:
            context: tokens before each answer; 0 leaves text out.
            asked: see `SearchParams`.
        """
        query = {**_query_params(asked), "format": "arrow", "context": context}
        answer = self._transport.read(path_of("/predictions/export"), query, accept=FILE)
        table = file_table(answer.content)
        is_whole = str("x-truncated" not in answer.headers).lower()
        return table.replace_schema_metadata({**table_metadata(table), "is_whole": is_whole})

    def download_predictions(
        self,
        path: str | PathLike[str],
        *,
        format: TableFormat = "parquet",
        context: int = 32,
        **asked: Unpack[SearchParams],
    ) -> Download:
        """Write all that a search finds, at most 20,000 rows, to a file.

        Args:
            path: of the file; replaced once the new one is whole.
            format: of the file.
            context: tokens before each answer; 0 leaves text out.
            asked: see `SearchParams`.
        """
        query = {**_query_params(asked), "format": format, "context": context}
        return self._download(path_of("/predictions/export"), query, path)
