"""Parts of token search: the sample on the map, cached results of filters, brute force."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from backend.read import curve_index as indexes
from backend.search import filters as search_filters
from backend.search import order as search_order
from backend.search.filters import FilterResult
from backend.search.plane import sample_predictions
from backend.search.request import SearchFilters, SearchRequest
from backend.search.search import search
from backend.search.text_filters import TextFilter, TextMatches
from backend.store.database import Store


def test_the_sample_of_a_large_corpus_is_fixed() -> None:
    sample = sample_predictions(10**6)
    assert len(sample) == len(set(sample.tolist())) == 20_000
    assert sample.tolist() == sorted(sample.tolist())
    assert sample.tolist() == sample_predictions(10**6).tolist()


@pytest.mark.parametrize("is_descending", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.03, 0.5, None])
def test_pages_by_index_are_those_of_a_plain_listing(
    share: float | None, is_descending: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_order, "ROWS_PER_BATCH", 7)
    rng = np.random.default_rng(0)
    mask = None if share is None else rng.random(100) < share
    listed = np.arange(100) if mask is None else np.flatnonzero(mask)
    if is_descending:
        listed = listed[::-1]
    for limit in (1, 3, 1000):
        listed_rows: list[int] = []
        after = None
        while True:
            rows = search_order.rows_by_index(
                100, mask, limit, after, is_descending=is_descending
            ).indices.tolist()
            if not rows:
                break
            assert len(rows) <= limit
            listed_rows += rows
            after = (0.0, listed_rows[-1])
        assert listed_rows == listed.tolist()


def test_the_result_of_filters_serves_the_next_page(
    mini_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[TextFilter] = []
    results = [TextMatches(np.ones(1, np.bool_), "cut off"), TextMatches(None)]

    def fake_text_mask(
        _store: Any, _session: Any, corpus: Any, request: TextFilter, _s: float
    ) -> TextMatches:
        calls.append(request)
        result = results[min(len(calls) - 1, 1)]
        mask = np.zeros(corpus.n_predictions, np.bool_)
        mask[: len(calls)] = True
        return replace(result, mask=mask)

    monkeypatch.setattr(search_filters, "text_mask", fake_text_mask)
    request = SearchRequest(
        filters=SearchFilters(text=TextFilter(text="asked for in this test only"))
    )
    first = search(mini_store, request)
    assert (first.truncated, first.n_matching) == ("cut off", 1)
    repeated = [search(mini_store, replace(request, limit=limit)).n_matching for limit in (1, 2, 3)]
    assert repeated == [2, 2, 2]  # what was cut off is calls anew, what was whole is not
    assert len(calls) == 2


def test_the_cache_of_filters_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_filters, "CACHE_BYTES", 250)
    cache = search_filters.FilterCache()
    for number in range(4):
        cache.put(str(number), FilterResult(np.ones(100, np.bool_), 100))
    cache.put("large", FilterResult(np.ones(251, np.bool_), 251))
    cached = [key for key in ("0", "1", "2", "3", "large") if cache.get(key)]
    assert cached == ["2", "3"]


def test_without_compiled_code_everything_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise RuntimeError("no place for compiled code")

    monkeypatch.setattr("compute.curve_block_search.load_compiled_search", missing)
    assert indexes.load_search() is None


def test_half_floats_are_compared_as_numbers() -> None:
    halves = np.arange(0x7C01, dtype=np.uint16).view(np.float16)
    for value in (-1.0, 0.0, 1e-9, 0.3, 0.30004, 5.0, 65504.0, 65519.0, 1e9):
        expected = int(np.searchsorted(halves.astype(np.float64), value))
        assert indexes.half_bits(value) == min(expected, 0x7C00)
