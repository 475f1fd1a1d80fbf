"""The clock circuit of a modular addition network, over the steps of its training.

Source: arXiv:2301.05217, sections 4 and 5. The key frequencies of the final network's neurons
define the measures of every evaluated step: shares of embedding and logits, restricted and excluded
loss, Gini coefficients in the Fourier basis. Embeddings are projected on the final network's planes
at every step, so that the axes are the same.
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
# Size limit of all stored neuron maps of one network, in float16.
MAP_BYTES = 1_600_000


@dataclass(frozen=True)
class Activations:
    """Embedding and activations of one network on all pairs.

    Attributes:
        E: embedding of the numbers.
        W_L: map from neurons to logits.
        logits: logits of all pairs a p + b.
        hidden: activations of the neurons by a and b.
        scores: attention scores of every head before softmax: to every number as the first, to
            every number as the second, and to "=".
    """

    E: Float[np.ndarray, "p dim"]
    W_L: Float[np.ndarray, "neurons p"]
    logits: Float[np.ndarray, "pairs p"]
    hidden: Float[np.ndarray, "p p neurons"]
    scores: Float[np.ndarray, "heads rows"]


def network_activations(shape: Architecture, parameters: Float[np.ndarray, " all"]) -> Activations:
    """Return the activations of the network with these flat parameters."""
    params = unflatten_params(shape, torch.from_numpy(parameters))
    model = StackedTransformer(shape)
    logits = model.forward(params, all_pairs(shape.p))[0]
    E, W_out, U = params[0][0, : shape.p], params[8][0], params[10][0]
    return Activations(
        E.double().numpy(),
        (W_out @ U).double().numpy(),
        logits.double().numpy(),
        model.hidden[0].view(shape.p, shape.p, -1).double().numpy(),
        model.scores[0].T.double().numpy(),
    )


@dataclass(frozen=True)
class Clock:
    """The clock of a final network.

    Attributes:
        neurons: frequencies of its neurons.
        planes: up to `MAX_PLANES` key frequencies, by descending energy in the embedding.
        directions: orthonormal basis of each plane.
        top_neurons: neurons with the highest share of each key frequency.
    """

    neurons: NeuronFrequencies
    planes: tuple[int, ...]
    directions: Float[np.ndarray, "planes dim 2"]
    top_neurons: tuple[int, ...]

    @property
    def key(self) -> tuple[int, ...]:
        """Key frequencies, ascending."""
        return self.neurons.key


def find_clock(final: Activations, n_neurons: int = MAX_NEURONS) -> Clock:
    """Return the clock of a final network."""
    neurons = neuron_frequencies(final.hidden)
    energy = spectrum(final.E)
    strongest = sorted(neurons.key, key=lambda k: -energy[k])
    planes = tuple(strongest[:MAX_PLANES])
    directions = np.zeros((len(planes), final.E.shape[1], 2))
    for i, k in enumerate(planes):
        directions[i] = rotation_plane(final.E, k)
    return Clock(neurons, planes, directions, _top_neurons(neurons, strongest, n_neurons))


def _top_neurons(
    neurons: NeuronFrequencies, frequencies: Sequence[int], count: int
) -> tuple[int, ...]:
    """Pick the neurons of highest share from each frequency in turn; sort them by frequency."""
    order = np.argsort(-neurons.share, kind="stable")
    queues = [[int(n) for n in order if neurons.frequency[n] == k] for k in frequencies]
    longest = max((len(queue) for queue in queues), default=0)
    turns = [queue[i] for i in range(longest) for queue in queues if i < len(queue)]
    rank = {k: i for i, k in enumerate(frequencies)}
    return tuple(sorted(turns[:count], key=lambda n: rank[int(neurons.frequency[n])]))


def snapshot_indices(
    eval_steps: Int[np.ndarray, " evals"], train: int | None, test: int | None
) -> Int[np.ndarray, " snapshots"]:
    """Return the evaluations nearest to start, memorisation, a middle step, generalisation and end.

    Args:
        eval_steps: evaluated steps.
        train: first step at the train threshold, None if never.
        test: first step at the test threshold, None if never.
    """
    last = int(eval_steps[-1])
    memorised = train if train is not None else max(1, last // 10)
    generalised = test if test is not None else last
    middle = round((max(memorised, 1) * max(generalised, 1)) ** 0.5)
    steps = [0, memorised, middle, generalised, last]
    return np.unique([int(np.abs(eval_steps - step).argmin()) for step in steps])


def clock_history(
    shape: Architecture,
    parameters: Float[np.ndarray, "evals all"],
    train: Int[np.ndarray, " train"],
    snapshots: Int[np.ndarray, " snapshots"],
) -> tuple[Clock, dict[str, NDArray[np.float64]]]:
    """Return the clock of the final network, and measures of every evaluation by name.

    Args:
        shape: shape of the network.
        parameters: flat parameters at every evaluation; the last are the final ones.
        train: codes a p + b of the training set.
        snapshots: evaluations of which neuron maps are stored.
    """
    bytes_per_map = shape.p**2 * 2 * max(len(snapshots), 1)
    n_neurons = max(1, min(MAX_NEURONS, MAP_BYTES // bytes_per_map))
    clock = find_clock(network_activations(shape, parameters[-1]), n_neurons)
    history: dict[str, list[NDArray[np.float64]]] = {}
    for i, flat in enumerate(parameters):
        network = network_activations(shape, flat)
        measures = {**_scalars(network, train, clock), **_arrays(network, clock)}
        if i in snapshots:
            maps = network.hidden[:, :, list(clock.top_neurons)]
            measures["neuron_maps"] = np.moveaxis(maps, 2, 0)
        for name, value in measures.items():
            history.setdefault(name, []).append(np.asarray(value))
    return clock, {name: np.stack(values) for name, values in history.items()}


def _scalars(
    network: Activations, train: Int[np.ndarray, " train"], clock: Clock
) -> dict[str, NDArray[np.float64]]:
    progress = progress_measures(network.logits, train, clock.key)
    mirrored, fresh = _test_accuracies(network.logits, train)
    values = {
        "restricted_loss": progress.restricted_loss,
        "excluded_loss": progress.excluded_loss,
        "explained": progress.explained,
        "key_share": frequency_energy_share(network.E, clock.key),
        "gini_embedding": embedding_gini(network.E),
        "gini_neuron_logit": neuron_logit_gini(network.W_L),
        "mirrored_accuracy": mirrored,
        "fresh_accuracy": fresh,
    }
    return {name: np.asarray(value) for name, value in values.items()}


def _test_accuracies(
    logits: Float[np.ndarray, "pairs p"], train: Int[np.ndarray, " train"]
) -> tuple[float, float]:
    """Return the accuracies on test pairs (a, b) with and without (b, a) in the training set.

    A network that memorises symmetrically in a and b answers the first kind without a clock. NaN
    without such pairs.
    """
    p = logits.shape[1]
    a, b = np.divmod(np.arange(p * p), p)
    is_train = np.zeros(p * p, bool)
    is_train[train] = True
    is_mirrored = is_train[b * p + a]
    is_correct = logits.argmax(axis=1) == (a + b) % p
    kinds = (~is_train & is_mirrored, ~is_train & ~is_mirrored)
    mirrored, fresh = (float(is_correct[kind].mean()) if kind.any() else np.nan for kind in kinds)
    return mirrored, fresh


def _arrays(network: Activations, clock: Clock) -> dict[str, NDArray[np.float64]]:
    energy = spectrum(network.E)[1:]
    centred = network.E - network.E.mean(axis=0)
    products = fold_by_frequency(logit_energy(network.logits))
    return {
        "embedding_spectrum": energy / energy.sum() if energy.sum() > 0 else energy,
        "logit_spectrum": clock_spectrum(network.logits),
        "logit_energy": products / products.sum() if products.sum() > 0 else products,
        "circle": np.einsum("nd,kdx->knx", centred, clock.directions),
        "principal": principal_plane(network.E),
        "attention_scores": network.scores,
    }
