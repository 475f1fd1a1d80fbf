"""Offsets of documents: every prediction has one place, whatever lengths documents have."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import NotFoundError
from backend.read.document_offsets import DocumentOffsets, Place
from backend.read.reader import open_reader
from backend.store.database import Store
from backend.store.lookup import corpus_named


@given(st.lists(st.integers(0, 5), max_size=20))
def test_predictions_are_the_positions_after_the_first_in_order(lengths: list[int]) -> None:
    offsets = DocumentOffsets.from_lengths(lengths)
    expected = [(d, p) for d, n_tokens in enumerate(lengths) for p in range(1, n_tokens)]
    places = offsets.locate(np.arange(len(expected)))
    assert list(zip(places.documents.tolist(), places.positions.tolist(), strict=True)) == expected
    firsts = np.cumsum([0, *lengths])
    assert places.tokens.tolist() == [firsts[d] + p for d, p in expected]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20))
def test_ranges_of_documents_follow_each_other(lengths: list[int]) -> None:
    offsets = DocumentOffsets.from_lengths(lengths)
    tokens = [offsets.token_range(d) for d in range(len(lengths))]
    predictions = [offsets.prediction_range(d) for d in range(len(lengths))]
    assert [r.stop - r.start for r in tokens] == lengths
    assert [r.stop - r.start for r in predictions] == [max(n - 1, 0) for n in lengths]
    assert tokens[0].start == predictions[0].start == 0
    for ranges in (tokens, predictions):
        assert all(a.stop == b.start for a, b in pairwise(ranges))


def test_a_window_is_cut_at_the_ends_of_the_document(mini_store: Store) -> None:
    with mini_store.session() as session:
        reader = open_reader(mini_store, session, corpus_named(session, "mini-held-out-60"))
    first = reader.first_prediction(1)
    assert first is not None
    ids = reader.token_ids(1)
    window = reader.window(first + 2, n_before=2, n_after=10_000)
    assert window.place == Place(1, 3)
    assert [value.token.id for value in window.tokens] == ids[1:]
    assert window.tokens[window.answer].prediction == first + 2
    assert window.tokens[window.answer].token.id == ids[3]
    assert len(reader.window(first + 2, n_before=10_000).tokens) == 4
    with pytest.raises(NotFoundError, match="has no prediction"):
        reader.window(-1, 1)
