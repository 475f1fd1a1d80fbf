"""What a modular adder became, and how: its clock over training, measured with its last weights.

Source: arXiv:2301.05217, sections 4 and 5. The key frequencies are those of the final network's
neurons; with them every look at the training is measured: how much of the embedding and of the
logits they hold, restricted and excluded loss, Gini coefficients in the Fourier basis. The circle
is seen in the final network's planes throughout, so that numbers move and the frame does not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray

from compute.grokking.fourier import (
    NeuronFrequencies,
    clock_spectrum,
    embedding_gini,
    fold_by_frequency,
    frequency_energy_share,
    logit_energy,
    neuron_frequencies,
    neuron_logit_gini,
    principal_plane,
    progress_measures,
    rotation_plane,
    spectrum,
)
from compute.grokking.modular_addition import unflatten_params
from compute.grokking.modular_setting import Architecture
from compute.grokking.transformer import StackedTransformer, all_pairs

MAX_PLANES = 8
MAX_NEURONS = 12
# Of all maps of neurons of one network, in float16.
MAP_BYTES = 1_600_000


@dataclass(frozen=True)
class Activations:
    """One network on all pairs.

    Attributes:
        E: embedding of the numbers.
        W_L: from neurons to logits.
        logits: of all pairs a p + b.
        hidden: activations of the neurons over a and b.
        scores: attention of every head before softmax, to numbers as first, as second, to "=".
    """

    E: Float[np.ndarray, "p dim"]
    W_L: Float[np.ndarray, "neurons p"]
    logits: Float[np.ndarray, "pairs p"]
    hidden: Float[np.ndarray, "p p neurons"]
    scores: Float[np.ndarray, "heads places"]


def network_activations(shape: Architecture, parameters: Float[np.ndarray, " all"]) -> Activations:
    """Return what a network with these flat parameters is and does."""
    params = unflatten_params(shape, torch.from_numpy(parameters))
    forward = StackedTransformer(shape)
    logits = forward.forward(params, all_pairs(shape.p))[0]
    E, W_out, U = params[0][0, : shape.p], params[8][0], params[10][0]
    return Activations(
        E.double().numpy(),
        (W_out @ U).double().numpy(),
        logits.double().numpy(),
        forward.hidden[0].view(shape.p, shape.p, -1).double().numpy(),
        forward.scores[0].T.double().numpy(),
    )


@dataclass(frozen=True)
class Clock:
    """The clock of a final network.

    Attributes:
        neurons: what its neurons compute.
        planes: key frequencies that are drawn, the strongest in its embedding first.
        directions: of their planes, [planes, dim, 2].
        drawn: neurons that are drawn, each key frequency's most periodic in turn.
    """

    neurons: NeuronFrequencies
    planes: tuple[int, ...]
    directions: Float[np.ndarray, "planes dim 2"]
    drawn: tuple[int, ...]

    @property
    def key(self) -> tuple[int, ...]:
        """Key frequencies, rising."""
        return self.neurons.key


def find_clock(final: Activations, n_drawn: int = MAX_NEURONS) -> Clock:
    """Return the clock of a final network."""
    neurons = neuron_frequencies(final.hidden)
    energy = spectrum(final.E)
    strongest = sorted(neurons.key, key=lambda k: -energy[k])
    planes = tuple(strongest[:MAX_PLANES])
    directions = np.zeros((len(planes), final.E.shape[1], 2))
    for i, k in enumerate(planes):
        directions[i] = rotation_plane(final.E, k)
    return Clock(neurons, planes, directions, _most_periodic(neurons, strongest, n_drawn))


def _most_periodic(
    neurons: NeuronFrequencies, frequencies: Sequence[int], count: int
) -> tuple[int, ...]:
    """Return neurons of each frequency in turn, those with the most of it first."""
    order = np.argsort(-neurons.share, kind="stable")
    queues = [[int(n) for n in order if neurons.frequency[n] == k] for k in frequencies]
    longest = max((len(queue) for queue in queues), default=0)
    turns = [queue[i] for i in range(longest) for queue in queues if i < len(queue)]
    chosen = turns[:count]
    rank = {k: i for i, k in enumerate(frequencies)}
    return tuple(sorted(chosen, key=lambda n: rank[int(neurons.frequency[n])]))


def snapshot_indices(
    log: Int[np.ndarray, " looks"], train: int | None, test: int | None
) -> Int[np.ndarray, " moments"]:
    """Return a few looks that tell the story: start, memorised, on the way, generalised, end.

    Args:
        log: steps of the looks.
        train: step at which the training set was known, None if never.
        test: step at which the test set was.
    """
    last = int(log[-1])
    known = train if train is not None else max(1, last // 10)
    end = test if test is not None else last
    steps = [0, known, round((max(known, 1) * max(end, 1)) ** 0.5), end, last]
    return np.unique([int(np.abs(log - step).argmin()) for step in steps])


def clock_history(
    shape: Architecture,
    parameters: Float[np.ndarray, "looks all"],
    train: Int[np.ndarray, " train"],
    chosen: Int[np.ndarray, " moments"],
) -> tuple[Clock, dict[str, NDArray[np.float64]]]:
    """Return the clock of the last look, and all looks measured with it, by name.

    Args:
        shape: of the network.
        parameters: flat, at every look; the last are the final ones.
        train: codes a p + b of the training set.
        chosen: looks of which maps over a and b are kept.
    """
    per_map = shape.p**2 * 2 * max(len(chosen), 1)
    room = max(1, min(MAX_NEURONS, MAP_BYTES // per_map))
    clock = find_clock(network_activations(shape, parameters[-1]), room)
    evaluate: dict[str, list[NDArray[np.float64]]] = {}
    for i, flat in enumerate(parameters):
        seen = network_activations(shape, flat)
        shown = {**_measures(seen, train, clock), **_shapes(seen, clock)}
        if i in chosen:
            maps = seen.hidden[:, :, list(clock.drawn)]
            shown["neuron_maps"] = np.moveaxis(maps, 2, 0)
        for name, value in shown.items():
            evaluate.setdefault(name, []).append(np.asarray(value))
    return clock, {name: np.stack(values) for name, values in evaluate.items()}


def _measures(
    seen: Activations, train: Int[np.ndarray, " train"], clock: Clock
) -> dict[str, NDArray[np.float64]]:
    found = progress_measures(seen.logits, train, clock.key)
    values = {
        "restricted_loss": found.restricted_loss,
        "excluded_loss": found.excluded_loss,
        "explained": found.explained,
        "key_share": frequency_energy_share(seen.E, clock.key),
        "gini_embedding": embedding_gini(seen.E),
        "gini_neuron_logit": neuron_logit_gini(seen.W_L),
    }
    mirrored, fresh = _test_accuracies(seen.logits, train)
    values |= {"mirrored_accuracy": mirrored, "fresh_accuracy": fresh}
    return {name: np.asarray(value) for name, value in values.items()}


def _test_accuracies(
    logits: Float[np.ndarray, "pairs p"], train: Int[np.ndarray, " train"]
) -> tuple[float, float]:
    """Return accuracies on test pairs (a, b) by whether (b, a) was trained on.

    Memory that takes a and b alike answers the first kind: it generalises without any clock. NaN
    where there are no such pairs.
    """
    p = logits.shape[1]
    a, b = np.divmod(np.arange(p * p), p)
    is_train = np.zeros(p * p, bool)
    is_train[train] = True
    is_mirrored = is_train[b * p + a]
    is_right = logits.argmax(axis=1) == (a + b) % p
    kinds = (~is_train & is_mirrored, ~is_train & ~is_mirrored)
    mirrored, fresh = (float(is_right[kind].mean()) if kind.any() else np.nan for kind in kinds)
    return mirrored, fresh


def _shapes(seen: Activations, clock: Clock) -> dict[str, NDArray[np.float64]]:
    energy = spectrum(seen.E)[1:]
    centred = seen.E - seen.E.mean(axis=0)
    products = fold_by_frequency(logit_energy(seen.logits))
    return {
        "embedding_spectrum": energy / energy.sum() if energy.sum() > 0 else energy,
        "logit_spectrum": clock_spectrum(seen.logits),
        "logit_energy": products / products.sum() if products.sum() > 0 else products,
        "circle": np.einsum("nd,kdx->knx", centred, clock.directions),
        "principal": principal_plane(seen.E),
        "attention_scores": seen.scores,
    }
