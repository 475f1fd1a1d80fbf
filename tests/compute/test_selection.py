"""Selection of predictions against a literal implementation of its definition."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from compute.selection import induction_mask, select_predictions
from tests.compute.induction import reference_induction_mask

FEW_TOKENS = hnp.arrays(np.int64, st.integers(0, 30), elements=st.integers(0, 2))


def explained(tokens: list[int], position: int) -> bool:
    """The trigram that ends at p also ends at some p' < p of the same document."""

    def trigram(end: int) -> list[int] | None:
        return tokens[end - 2 : end + 1] if end >= 2 else None

    own = trigram(position)
    return own is not None and any(trigram(p) == own for p in range(position))


def explained_predictions(tokens: NDArray[Any]) -> list[bool]:
    """Apply `explained` to every prediction of a document."""
    return [explained(tokens.tolist(), p) for p in range(1, len(tokens))]


@given(tokens=FEW_TOKENS)
def test_the_induction_mask_follows_its_definition(tokens: NDArray[np.int64]) -> None:
    expected = explained_predictions(tokens)
    assert induction_mask([tokens]).tolist() == expected
    assert reference_induction_mask(tokens).tolist() == expected


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.uint32, np.int64])
def test_a_repeated_trigram_is_explained_for_every_id_type(dtype: type) -> None:
    tokens = np.array([5, 6, 7, 9, 5, 6, 7], dtype)
    # Predictions are positions 1 to 6; only position 6, the second end of 5 6 7, is explained.
    assert np.flatnonzero(induction_mask([tokens])).tolist() == [5]


@given(documents=st.lists(FEW_TOKENS, max_size=6))
def test_masks_of_documents_are_concatenated_like_predictions(
    documents: list[NDArray[np.int64]],
) -> None:
    """The published index drifted by one per document; each mask starts at its own prediction."""
    mask = induction_mask(documents)
    assert mask.tolist() == [is_true for d in documents for is_true in explained_predictions(d)]


def test_ids_too_large_to_pack_are_compared_too() -> None:
    large = 2**31 + np.array([5, 6, 7, 9, 5, 6, 7, 2, 5, 6, 7])
    documents = [large, large[:3], large[2:]]
    expected = np.concatenate([reference_induction_mask(document) for document in documents])
    np.testing.assert_array_equal(induction_mask(documents), expected)
    assert expected.sum() == 3


def test_a_trigram_of_another_document_explains_nothing() -> None:
    document = np.array([1, 2, 3])
    assert not induction_mask([document, document]).any()


LOSSES = hnp.arrays(np.float32, st.integers(0, 60), elements=st.floats(0, 1, width=32))


@given(data=st.data(), losses=LOSSES, stride=st.integers(1, 5), limit=st.none() | st.integers(2, 9))
def test_every_strideth_prediction_under_the_threshold_is_selected_up_to_the_limit(
    data: st.DataObject, losses: NDArray[np.float32], stride: int, limit: int | None
) -> None:
    mask = data.draw(st.none() | hnp.arrays(np.bool_, len(losses)))
    candidates = [
        i for i, loss in enumerate(losses) if loss < 0.5 and (mask is None or not mask[i])
    ]
    expected = candidates[::stride][:limit]
    if len(expected) < 2:
        with pytest.raises(ValueError, match=f"{len(expected)} predictions remain"):
            select_predictions(losses, mask, max_loss_nats=0.5, stride=stride, limit=limit)
        return
    selection = select_predictions(losses, mask, max_loss_nats=0.5, stride=stride, limit=limit)
    assert selection.indexes.tolist() == expected
    assert selection.n_under_threshold == int((losses < 0.5).sum())
    assert selection.n_under_threshold - selection.n_induction == len(candidates)


@pytest.mark.parametrize(
    "wrong",
    [{"max_loss_nats": 0.0}, {"stride": 0}, {"limit": 1}, {"max_loss_nats": float("nan")}],
)
def test_parameters_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    losses = np.zeros(9, np.float32)
    with pytest.raises(ValueError, match="max_loss_nats"):
        select_predictions(losses, None, **{"max_loss_nats": 0.5, **wrong})


def test_the_threshold_is_not_rounded_to_the_dtype_of_the_losses() -> None:
    # float16 has no 0.1: the nearest below is 0.09998, which is under it.
    losses = np.array([0.0999755859375, 0.0999755859375, 0.10003662109375], np.float16)
    selection = select_predictions(losses, None, max_loss_nats=0.1)
    assert selection.indexes.tolist() == [0, 1]
