"""The clock circuit in a modular adder: Fourier spectra, key frequencies, progress measures.

Source: arXiv:2301.05217, sections 4 and 5. Numbers 0 to p - 1 (p odd) are expanded in the
orthonormal basis 1, cos w, sin w, cos 2w, sin 2w, ... with w = 2 pi / p; frequency k has two of
its rows. A network that has learned the clock computes cos(w_k (a + b - c)) for a few key
frequencies k.

Key frequencies are those claimed by at least `MIN_NEURONS` of the neurons: a neuron claims the
frequency whose 3 x 3 block {1, cos, sin} x {1, cos, sin} holds most of its centred activations'
energy. The published code keeps every frequency that any one neuron claims, which before grokking
is nearly all of them.

Restricted loss keeps of the logits only their directions cos, sin of w_k (a + b), over key
frequencies, and every class's mean: low once the circuit works. Excluded loss takes those
directions away, on the training set: it rises as memorisation is cleaned up. Both take all key
frequencies jointly, as the paper does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

MIN_NEURON_SHARE = 0.01


def fourier_basis(p: int) -> Float[np.ndarray, "p p"]:
    """Return the orthonormal basis, a row a function: constant, then cos and sin of each frequency.

    Raises:
        ValueError: p is even or under 3: its highest frequency would have no sine.
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
    energy = ((fourier_basis(len(E)) @ E) ** 2).sum(axis=1)
    return np.concatenate([energy[:1], energy[1::2] + energy[2::2]])


def frequency_energy_share(E: Float[np.ndarray, "p dim"], frequencies: Sequence[int]) -> float:
    """Return how much of an embedding's non-constant energy some frequencies hold."""
    energy = spectrum(E)
    return float(energy[list(frequencies)].sum() / energy[1:].sum()) if len(frequencies) else 0.0


@dataclass(frozen=True)
class NeuronFrequencies:
    """What the neurons compute.

    Attributes:
        frequency: claimed by each neuron; 0 for one that never varies.
        share: of its centred energy in that frequency's block.
        key: frequencies claimed by enough neurons, rising.
    """

    frequency: Int[np.ndarray, " neurons"]
    share: Float[np.ndarray, " neurons"]
    key: tuple[int, ...]


def neuron_frequencies(
    activations: Float[np.ndarray, "p p neurons"], at_least: float = MIN_NEURON_SHARE
) -> NeuronFrequencies:
    """Return each neuron's frequency and the key frequencies.

    Args:
        activations: over all pairs (a, b).
        at_least: share of all neurons that must claim a key frequency.
    """
    p = len(activations)
    basis = fourier_basis(p)
    centred = activations - activations.mean(axis=(0, 1))
    # On both numbers: [basis of a, basis of b, neuron].
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
    found, counts = np.unique(frequency[frequency > 0], return_counts=True)
    enough = counts >= max(1.0, at_least * len(frequency))
    return NeuronFrequencies(frequency, share, tuple(int(k) for k in found[enough]))


def sum_directions(p: int, frequencies: Sequence[int]) -> Float[np.ndarray, "directions pairs"]:
    """Return orthonormal functions cos, sin of w_k (a + b) of all pairs a p + b."""
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
        explained: share of the centred logits' variance that cos w_k (a + b - c) explains.
    """

    restricted_loss: float
    excluded_loss: float
    explained: float


def progress_measures(
    logits: Float[np.ndarray, "pairs p"],
    train: Int[np.ndarray, " train"],
    frequencies: Sequence[int],
) -> ProgressMeasures:
    """Return restricted and excluded loss, and how much of the logits is the clock's.

    Args:
        logits: of all pairs a p + b.
        train: codes a p + b of the training set.
        frequencies: key frequencies, of the final network.
    """
    p = logits.shape[1]
    a, b = np.divmod(np.arange(p * p), p)
    answers = (a + b) % p
    values = logits.astype(np.float64)
    directions = sum_directions(p, frequencies)
    part = directions.T @ (directions @ values)
    mean = values.mean(axis=0)
    return ProgressMeasures(
        cross_entropy(part + mean, answers),
        cross_entropy((values - part)[train], answers[train]),
        float(clock_spectrum(values)[[k - 1 for k in frequencies]].sum()),
    )


def clock_spectrum(logits: Float[np.ndarray, "pairs p"]) -> Float[np.ndarray, " frequencies"]:
    """Return how much of the centred logits' variance cos w_k (a + b - c) explains, by k from 1.

    Args:
        logits: of all pairs a p + b.
    """
    p = logits.shape[1]
    # A logit matters against the others of its pair.
    centred = logits.astype(np.float64)
    centred -= centred.mean(axis=1, keepdims=True)
    a, b = np.divmod(np.arange(p * p), p)
    off = (a + b)[:, None] - np.arange(p)
    sums = np.bincount((off % p).ravel(), centred.ravel(), p)
    found: NDArray[np.float64] = np.fft.rfft(sums)[1:].real ** 2 / (p**3 / 2)
    total = (centred**2).sum()
    return found / total if total > 0 else np.zeros_like(found)


def logit_energy(logits: Float[np.ndarray, "pairs p"]) -> Float[np.ndarray, "p p"]:
    """Return the energy of the centred logits at every pair of functions of a and of b.

    Args:
        logits: of all pairs a p + b.

    Returns:
        Rows are functions of a, columns of b, in the order of `fourier_basis`; summed over the
        answers c, from each of which its mean over all pairs is taken.
    """
    p = logits.shape[1]
    basis = fourier_basis(p)
    values = logits.astype(np.float64).reshape(p, p, p)
    values -= values.mean(axis=(0, 1))
    parts = np.einsum("ia,jb,abc->ijc", basis, basis, values, optimize=True)
    energy: NDArray[np.float64] = (parts**2).sum(axis=2)
    return energy


def fold_by_frequency(
    energy: Float[np.ndarray, "p p"],
) -> Float[np.ndarray, "frequencies frequencies"]:
    """Return energies by frequency of a and of b, from 0, cosines and sines of each together."""

    def rows(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.concatenate([values[:1], values[1::2] + values[2::2]])

    return rows(rows(energy).T).T


@dataclass(frozen=True)
class ClockPhases:
    """Where the three phases of section 5 end; None where one does not.

    Attributes:
        memorised: step of the lowest excluded loss: from here on the clock's part is relied on.
        formed: first step after the highest test loss at which it has halved.
        cleaned: first step at which it is a hundredth.
    """

    memorised: int | None
    formed: int | None
    cleaned: int | None


def clock_phases(
    steps: Int[np.ndarray, " looks"],
    excluded: Float[np.ndarray, " looks"],
    test_loss: Float[np.ndarray, " looks"],
) -> ClockPhases:
    """Return the phases of a training whose test loss falls; else none of them ends.

    The source tells phases apart by eye; these are rules that agree with it.
    """
    top = int(test_loss.argmax())
    ends = []
    for share in (0.5, 0.01):
        under = np.flatnonzero(test_loss[top:] <= share * test_loss[top])
        ends.append(int(steps[top + under[0]]) if len(under) else None)
    formed, cleaned = ends
    if formed is None:
        return ClockPhases(None, None, None)
    before = excluded[: int(np.searchsorted(steps, formed)) + 1]
    return ClockPhases(int(steps[before.argmin()]), formed, cleaned)


def gini(values: Float[np.ndarray, " n"]) -> float:
    """Return the Gini coefficient of values >= 0: 0 all equal, towards 1 one holds everything."""
    ordered = np.sort(values)
    total = ordered.sum()
    if not total > 0:
        return 0.0
    n = len(ordered)
    rank = np.arange(1, n + 1)
    return float((2 * rank - n - 1) @ ordered / (n * total))


def embedding_gini(E: Float[np.ndarray, "p dim"]) -> float:
    """Return the Gini coefficient of the norms of an embedding's Fourier rows (section 5)."""
    return gini(np.linalg.norm(fourier_basis(len(E)) @ E, axis=1))


def neuron_logit_gini(W_L: Float[np.ndarray, "neurons p"]) -> float:
    """Return the same of the map from neurons to logits, whose columns are numbers."""
    return embedding_gini(W_L.T)


def principal_plane(E: Float[np.ndarray, "p dim"]) -> Float[np.ndarray, "p 2"]:
    """Return the numbers in the plane of the embedding's two first principal components."""
    centred = E - E.mean(axis=0)
    U, S, _ = np.linalg.svd(centred, full_matrices=False)
    plane: NDArray[np.float64] = U[:, :2] * S[:2]
    return plane


def rotation_plane(E: Float[np.ndarray, "p dim"], frequency: int) -> Float[np.ndarray, "dim 2"]:
    """Return orthonormal directions of the plane in which an embedding turns at a frequency.

    The span of its cos and sin coefficients.

    Raises:
        ValueError: a frequency that p numbers do not have.
    """
    p = len(E)
    if not 1 <= frequency <= p // 2:
        raise ValueError(f"frequency {frequency}: {p} numbers have 1 to {p // 2}")
    rows = fourier_basis(p)[2 * frequency - 1 : 2 * frequency + 1] @ E
    plane: NDArray[np.float64] = np.linalg.qr(rows.T)[0]
    return plane


def frequency_plane(E: Float[np.ndarray, "p dim"], frequency: int) -> Float[np.ndarray, "p 2"]:
    """Return the numbers in the plane where an embedding turns at a frequency.

    A circle once the clock is learned.

    Raises:
        ValueError: a frequency that p numbers do not have.
    """
    turned: NDArray[np.float64] = (E - E.mean(axis=0)) @ rotation_plane(E, frequency)
    return turned
