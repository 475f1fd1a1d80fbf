"""The bundled suite's published figures: 827 windows of 256 tokens, <|endoftext|> first."""

from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from compute.checkpoints import load_model
from compute.losses import document_losses
from compute.selection import document_masks, select_predictions
from tests.bundled import MAX_TOKENS, documents, final_checkpoint

# Measured by those who trained the models, to three decimals.
MEAN_LOSS_NATS = {"s1": 4.886, "s2": 4.450, "s3": 4.334, "s4": 4.149, "s5": 4.077}
N_PREDICTIONS = 210_885
SELECTED_UNDER_S3 = {0.1: 1_565, 0.2: 3_016}


def full_windows() -> list[NDArray[Any]]:
    return [d for d in documents() if len(d) == MAX_TOKENS]


@cache
def losses(model: str) -> NDArray[np.float32]:
    return document_losses(
        load_model(final_checkpoint(model), vocabulary_size=4096), full_windows()
    )


@pytest.mark.slow
@pytest.mark.parametrize("model", MEAN_LOSS_NATS)
def test_mean_losses_equal_the_published_ones(model: str) -> None:
    assert losses(model).shape == (N_PREDICTIONS,)
    assert round(float(losses(model).mean(dtype=np.float64)), 3) == MEAN_LOSS_NATS[model]


@pytest.mark.slow
@pytest.mark.parametrize(("threshold", "size"), SELECTED_UNDER_S3.items())
def test_selections_have_the_published_sizes(threshold: float, size: int) -> None:
    masks = document_masks(full_windows())
    chosen = select_predictions(losses("s3"), masks, threshold_nats=threshold)
    assert len(chosen.indexes) == size
