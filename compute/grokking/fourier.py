"""The clock circuit of modular addition: Fourier spectra, key frequencies, progress measures.

Source: arXiv:2301.05217, sections 4 and 5. Functions of the numbers 0 to p - 1 (p odd) are expanded
in the orthonormal basis 1, cos w, sin w, cos 2w, sin 2w, ... with w = 2 pi / p; frequency k has two
rows. A network with a clock computes cos(w_k (a + b - c)) for a few key frequencies k.

A neuron is assigned the frequency whose 3 x 3 block {1, cos, sin} x {1, cos, sin} has most of the
energy of its centred activations. Key frequencies are those of at least a share `MIN_NEURON_SHARE`
of the neurons. The published code takes the frequencies of all neurons, which before grokking are
nearly all frequencies.

Restricted loss is the loss of the logits' projection on cos, sin of w_k (a + b) over the key
frequencies, plus the mean of every class: low once the circuit works. Excluded loss is the loss on
the training set without that projection: it rises as memorisation is cleaned up. Both take all key
frequencies jointly, as the paper does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

MIN_NEURON_SHARE = 0.01


def fourier_basis(p: int) -> Float[np.ndarray, "p p"]:
    """Return the orthonormal basis as rows: constant, then cos and sin of each frequency.

    Raises:
        ValueError: p is even, which has no sine of the highest frequency, or < 3.
    """
    if p < 3 or p % 2 == 0:
        raise ValueError(f"p = {p}: want an odd number >= 3")
    angle = 2 * np.pi * np.arange(p) / p
    rows = [np.full(p, 1 / np.sqrt(p))]
    for k in range(1, p // 2 + 1):
        rows += [np.cos(k * angle) * np.sqrt(2 / p), np.sin(k * angle) * np.sqrt(2 / p)]
    return np.stack(rows)


def spectrum(E: Float[np.ndarray, "p dim"]) -> Float[np.ndarray, " frequencies"]:
    """Return the energy of an embedding at frequencies 0 (constant) to (p - 1) / 2."""
    return _sum_cos_sin(((fourier_basis(len(E)) @ E) ** 2).sum(axis=1))


def _sum_cos_sin(energy: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([energy[:1], energy[1::2] + energy[2::2]])


def frequency_energy_share(E: Float[np.ndarray, "p dim"], frequencies: Sequence[int]) -> float:
    """Return the share of an embedding's non-constant energy at some frequencies."""
    energy = spectrum(E)
    return float(energy[list(frequencies)].sum() / energy[1:].sum()) if len(frequencies) else 0.0


@dataclass(frozen=True)
class NeuronFrequencies:
    """Frequencies of the neurons.

    Attributes:
        frequency: frequency of each neuron; 0 for a constant neuron.
        share: share of its centred energy in the block of its frequency.
        key: key frequencies, ascending.
    """

    frequency: Int[np.ndarray, " neurons"]
    share: Float[np.ndarray, " neurons"]
    key: tuple[int, ...]


def neuron_frequencies(
    activations: Float[np.ndarray, "p p neurons"], min_share: float = MIN_NEURON_SHARE
) -> NeuronFrequencies:
    """Return each neuron's frequency and the key frequencies.

    Args:
        activations: activations on all pairs (a, b).
        min_share: minimum share of the neurons of a key frequency.
    """
    p = len(activations)
    basis = fourier_basis(p)
    centred = activations - activations.mean(axis=(0, 1))
    # [basis of a, basis of b, neuron]
    energy = np.einsum("ia,jb,abn->ijn", basis, basis, centred, optimize=True) ** 2
    total = energy.sum(axis=(0, 1))
    blocks = np.stack(
        [
            energy[np.ix_([0, 2 * k - 1, 2 * k], [0, 2 * k - 1, 2 * k])].sum(axis=(0, 1))
            for k in range(1, p // 2 + 1)
        ]
    )
    best = blocks.argmax(axis=0)
    share = np.divide(blocks.max(axis=0), total, out=np.zeros_like(total), where=total > 0)
    frequency = np.where(total > 0, best + 1, 0)
    unique, counts = np.unique(frequency[frequency > 0], return_counts=True)
    is_key = counts >= max(1.0, min_share * len(frequency))
    return NeuronFrequencies(frequency, share, tuple(int(k) for k in unique[is_key]))


def sum_directions(p: int, frequencies: Sequence[int]) -> Float[np.ndarray, "directions pairs"]:
    """Return cos and sin of w_k (a + b) on all pairs a p + b, as orthonormal rows."""
    a, b = np.divmod(np.arange(p * p), p)
    angle = 2 * np.pi * (a + b) / p
    rows = [f(k * angle) * np.sqrt(2) / p for k in frequencies for f in (np.cos, np.sin)]
    return np.stack(rows) if rows else np.zeros((0, p * p))


def cross_entropy(
    logits: Float[np.ndarray, "pairs p"], answers: Int[np.ndarray, " pairs"]
) -> float:
    """Return the mean cross-entropy in nats, in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return float(-log_p[np.arange(len(answers)), answers].mean())


@dataclass(frozen=True)
class ProgressMeasures:
    """Progress measures of one network at one step.

    Attributes:
        restricted_loss: nats over all pairs.
        excluded_loss: nats over the training set.
        explained: share of the variance of the centred logits that cos w_k (a + b - c) explains.
    """

    restricted_loss: float
    excluded_loss: float
    explained: float


def progress_measures(
    logits: Float[np.ndarray, "pairs p"],
    train: Int[np.ndarray, " train"],
    frequencies: Sequence[int],
) -> ProgressMeasures:
    """Return restricted loss, excluded loss and the variance explained by the clock.

    Args:
        logits: logits of all pairs a p + b.
        train: codes a p + b of the training set.
        frequencies: key frequencies of the final network.
    """
    p = logits.shape[1]
    a, b = np.divmod(np.arange(p * p), p)
    answers = (a + b) % p
    values = logits.astype(np.float64)
    directions = sum_directions(p, frequencies)
    projection = directions.T @ (directions @ values)
    mean = values.mean(axis=0)
    return ProgressMeasures(
        cross_entropy(projection + mean, answers),
        cross_entropy((values - projection)[train], answers[train]),
        float(clock_spectrum(values)[[k - 1 for k in frequencies]].sum()),
    )


def clock_spectrum(logits: Float[np.ndarray, "pairs p"]) -> Float[np.ndarray, " frequencies"]:
    """Return the share of the logits' variance that cos w_k (a + b - c) explains, for k >= 1.

    Args:
        logits: logits of all pairs a p + b; centred over the answers c of a pair.
    """
    p = logits.shape[1]
    centred = logits.astype(np.float64)
    centred -= centred.mean(axis=1, keepdims=True)
    a, b = np.divmod(np.arange(p * p), p)
    differences = (a + b)[:, None] - np.arange(p)
    sums = np.bincount((differences % p).ravel(), centred.ravel(), p)
    energy: NDArray[np.float64] = np.fft.rfft(sums)[1:].real ** 2 / (p**3 / 2)
    total = (centred**2).sum()
    return energy / total if total > 0 else np.zeros_like(energy)


def logit_energy(logits: Float[np.ndarray, "pairs p"]) -> Float[np.ndarray, "p p"]:
    """Return the energy of the logits at every product of basis functions of a and b.

    Args:
        logits: logits of all pairs a p + b; centred over all pairs of an answer c.

    Returns:
        Energy summed over c; rows are functions of a, columns of b, as in `fourier_basis`.
    """
    p = logits.shape[1]
    basis = fourier_basis(p)
    values = logits.astype(np.float64).reshape(p, p, p)
    values -= values.mean(axis=(0, 1))
    coefficients = np.einsum("ia,jb,abc->ijc", basis, basis, values, optimize=True)
    energy: NDArray[np.float64] = (coefficients**2).sum(axis=2)
    return energy


def fold_by_frequency(
    energy: Float[np.ndarray, "p p"],
) -> Float[np.ndarray, "frequencies frequencies"]:
    """Sum energies over cosine and sine, by frequency of a and b from 0."""
    return _sum_cos_sin(_sum_cos_sin(energy).T).T


@dataclass(frozen=True)
class ClockPhases:
    """Last steps of the three phases of section 5; None for a phase that does not end.

    Attributes:
        memorised: step of the lowest excluded loss, after which the network relies on the clock.
        formed: first step at which the test loss is half its maximum.
        cleaned: first step at which the test loss is a hundredth of its maximum.
    """

    memorised: int | None
    formed: int | None
    cleaned: int | None


def clock_phases(
    steps: Int[np.ndarray, " evals"],
    excluded: Float[np.ndarray, " evals"],
    test_loss: Float[np.ndarray, " evals"],
) -> ClockPhases:
    """Return the ends of the phases, all None if the test loss does not halve.

    The source separates the phases by eye; these rules agree with it.
    """
    peak = int(test_loss.argmax())
    ends = []
    for share in (0.5, 0.01):
        below = np.flatnonzero(test_loss[peak:] <= share * test_loss[peak])
        ends.append(int(steps[peak + below[0]]) if len(below) else None)
    formed, cleaned = ends
    if formed is None:
        return ClockPhases(None, None, None)
    before = excluded[: int(np.searchsorted(steps, formed)) + 1]
    return ClockPhases(int(steps[before.argmin()]), formed, cleaned)


def gini(values: Float[np.ndarray, " n"]) -> float:
    """Return the Gini coefficient of values >= 0: 0 if all are equal, near 1 if one dominates."""
    ordered = np.sort(values)
    total = ordered.sum()
    if not total > 0:
        return 0.0
    n = len(ordered)
    rank = np.arange(1, n + 1)
    return float((2 * rank - n - 1) @ ordered / (n * total))


def embedding_gini(E: Float[np.ndarray, "p dim"]) -> float:
    """Return the Gini coefficient of the norms of an embedding's Fourier coefficients."""
    return gini(np.linalg.norm(fourier_basis(len(E)) @ E, axis=1))


def neuron_logit_gini(W_L: Float[np.ndarray, "neurons p"]) -> float:
    """Return the same for the map from neurons to logits."""
    return embedding_gini(W_L.T)


def principal_plane(E: Float[np.ndarray, "p dim"]) -> Float[np.ndarray, "p 2"]:
    """Return the embedding of the numbers projected on its first two principal components."""
    centred = E - E.mean(axis=0)
    U, S, _ = np.linalg.svd(centred, full_matrices=False)
    plane: NDArray[np.float64] = U[:, :2] * S[:2]
    return plane


def rotation_plane(E: Float[np.ndarray, "p dim"], frequency: int) -> Float[np.ndarray, "dim 2"]:
    """Return an orthonormal basis of the span of an embedding's cos and sin coefficients.

    Raises:
        ValueError: the frequency is not within 1 to p // 2.
    """
    p = len(E)
    if not 1 <= frequency <= p // 2:
        raise ValueError(f"frequency {frequency}: {p} numbers have 1 to {p // 2}")
    rows = fourier_basis(p)[2 * frequency - 1 : 2 * frequency + 1] @ E
    plane: NDArray[np.float64] = np.linalg.qr(rows.T)[0]
    return plane
