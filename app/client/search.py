"""Token search by the shape of curves, text and scores; the map of curves; exports."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from typing import Any, Unpack

from app.client import types
from app.client.calls import path_of
from app.client.decoding import decode
from app.client.files import FileCalls
from app.client.paging import Listing
from app.client.tables import FILE, STREAM, file_table, streamed_table, table_metadata


def _pairs(points: types.Points) -> str:
    return ",".join(f"{x!r}:{y!r}" for x, y in points)


def _query_params(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a search as query parameters."""
    return {
        name: _pairs(value) if name in {"sketch", "lasso"} and value is not None else value
        for name, value in fields.items()
    }


class SearchCalls(FileCalls):
    """Calls that search predictions."""

    def predictions(
        self, *, page_size: int = 50, **params: Unpack[types.SearchParams]
    ) -> Listing[types.Match, types.SearchResult]:
        """Search predictions by curve, text and scores; with a curve, the nearest come first.

        The first page has the points of the axis and the number of matches.

        Args:
            page_size: rows in a page.
            params: see `SearchParams`.
        """
        query = {**_query_params(params), "limit": page_size}
        return self._listing(
            types.Match, types.SearchResult, path_of("/predictions"), "matches", query
        )

    def search(
        self,
        *,
        sketch: types.Points | None = None,
        preset: types.Preset | None = None,
        at: int | None = None,
        example: int | None = None,
        invariances: Sequence[types.Invariance] | None = None,
        filters: types.SearchFilters | None = None,
        corpus: str | None = None,
        suite: str | None = None,
        axis: types.Axis = "N",
        model: str | None = None,
        sort: types.SearchSort | None = None,
        order: types.Order = "asc",
        page_size: int = 50,
    ) -> Listing[types.Match, types.SearchResult]:
        """Search predictions by the shape of their curve, the nearest first.

        Args:
            sketch: 2 to 16 points (axis value, nats).
            preset: name of a preset curve.
            at: the first low point of preset "step", from 1.
            example: index of a prediction; its curve is searched for.
            invariances: differences that the distance ignores; default: level for a preset.
            filters: conditions on a prediction.
            corpus: default: the first with curves.
            suite: default: the first with curves.
            axis: "N": model size, "S": training step of `model`.
            model: default: the largest.
            sort: default: by distance with a curve, else by index.
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

    def _fetch_page(self, body: dict[str, Any], cursor: str | None) -> types.SearchResult:
        # This POST stores nothing: it is a read with a long query, so it may be repeated.
        page = {**body, "cursor": cursor}
        return self._send(
            types.SearchResult, "POST", path_of("/predictions/search"), page, is_repeatable=True
        )

    def curve_map(self, **params: Unpack[types.SearchParams]) -> types.CurveMap:
        """Return the map of at most 20,000 sampled curves, with the matches."""
        query = {**_query_params(params), "format": "arrow"}
        answer = self._transport.read(path_of("/predictions/map"), query, accept=STREAM)
        points = streamed_table(answer.content)
        about = json.loads(table_metadata(points)["about"])
        return replace(decode(types.CurveMap, {**about, "points": None}), points=points)

    def predictions_table(self, *, context: int = 32, **params: Unpack[types.SearchParams]) -> Any:
        """Return all matches of a search, at most 20,000 rows, as a `pyarrow.Table`.

        The metadata of its schema names the corpus, the suite and the units; its `is_whole` is
        "false" if there are more rows, or if a text filter reached its time limit.

        Args:
            context: tokens before each answer; 0 omits all text.
            params: see `SearchParams`.
        """
        query = {**_query_params(params), "format": "arrow", "context": context}
        answer = self._transport.read(path_of("/predictions/export"), query, accept=FILE)
        table = file_table(answer.content)
        is_whole = str("x-truncated" not in answer.headers).lower()
        return table.replace_schema_metadata({**table_metadata(table), "is_whole": is_whole})

    def download_predictions(
        self,
        path: str | PathLike[str],
        *,
        format: types.TableFormat = "parquet",
        context: int = 32,
        **params: Unpack[types.SearchParams],
    ) -> types.Download:
        """Write all matches of a search, at most 20,000 rows, to a file.

        Args:
            path: of the file; replaced only by a complete download.
            format: of the file.
            context: tokens before each answer; 0 omits all text.
            params: see `SearchParams`.
        """
        query = {**_query_params(params), "format": format, "context": context}
        return self._download(path_of("/predictions/export"), query, path)
