"""The same results on every device: stated tolerances, checked on CUDA where there is one.

Without a GPU the second side runs on the CPU with a GPU's batch sizes, which is what then differs.
"""

import numpy as np
import pytest
import torch

from compute.checkpoints import load_model
from compute.gradients import GRADIENT_TOKENS, prediction_contexts, prediction_gradients
from compute.losses import BATCH_SIZES, document_losses
from compute.spectral_clustering import angular_affinity, spectral_embedding
from tests.bundled import documents, final_checkpoint
from tests.compute.cosine_matrix import cosine_matrix

OTHER = "cuda" if torch.cuda.is_available() else "cpu"
LOSS_TOLERANCE_NATS = 1e-4
COSINE_TOLERANCE = 1e-5
EIGENVALUE_TOLERANCE = 1e-6


@pytest.mark.parametrize("model", ["s1", "s3"])
def test_losses_agree_between_devices(model: str) -> None:
    texts = documents()[:24]
    sides = [
        document_losses(
            load_model(final_checkpoint(model), vocabulary_size=2048, device=device),
            texts,
            sizes=BATCH_SIZES[sizes],
        )
        for device, sizes in (("cpu", "cpu"), (OTHER, "cuda"))
    ]
    assert np.abs(sides[0] - sides[1]).max() <= LOSS_TOLERANCE_NATS


def test_cosines_and_eigenvalues_agree_between_devices() -> None:
    texts = documents()[:24]
    indexes = np.arange(0, sum(len(t) - 1 for t in texts), 97)
    contexts, targets = prediction_contexts(texts, indexes)
    matrices = []
    for device, sizes in (("cpu", "cpu"), (OTHER, "cuda")):
        model = load_model(final_checkpoint("s2"), vocabulary_size=2048, device=device)
        rows = prediction_gradients(
            model, contexts, targets, tokens_per_batch=GRADIENT_TOKENS[sizes]
        )
        matrices.append(cosine_matrix(rows))
    assert np.abs(matrices[0] - matrices[1]).max() <= COSINE_TOLERANCE
    spectra = [
        spectral_embedding(angular_affinity(cosine), 8, device=device).eigenvalues
        for cosine, device in zip(matrices, ("cpu", OTHER), strict=True)
    ]
    assert np.abs(spectra[0] - spectra[1]).max() <= EIGENVALUE_TOLERANCE
