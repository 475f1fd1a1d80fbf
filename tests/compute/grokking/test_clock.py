"""The clock of a network with constructed weights, and of small trained networks."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from compute.ensembles.trainer import TrainConfig, Trainer
from compute.grokking.clock import clock_history, find_clock, network_activations, snapshot_indices
from compute.grokking.fourier import (
    clock_phases,
    clock_spectrum,
    cross_entropy,
    fold_by_frequency,
    fourier_basis,
    logit_energy,
    neuron_logit_gini,
    progress_measures,
)
from compute.grokking.modular_addition import (
    PARAM_NAMES,
    ModularAdditionNetworks,
    param_shapes,
    unflatten_params,
)
from compute.grokking.modular_setting import Architecture, Setting, n_train, pair_order

P, KEY, N_PHASES = 11, 3, 6
SHAPE = Architecture(P, d_model=12, heads=2, d_mlp=4 * N_PHASES)
TRAIN = pair_order(P, 0)[: n_train(P, 0.5)]


def written_clock(scale: float = 40.0) -> np.ndarray:
    """Return flat parameters that implement a clock of one frequency.

    Head 0 copies the first number's cosine and sine, head 1 the second's; neurons rectify sums
    and differences of both at several phases, whose second harmonic is cos w (a + b).
    """
    parts = {name: np.zeros(of) for name, of in zip(PARAM_NAMES, param_shapes(SHAPE), strict=True)}
    angle = 2 * np.pi * KEY * np.arange(P) / P
    parts["E"][:P, 0], parts["E"][:P, 1], parts["E"][P, 4] = np.cos(angle), np.sin(angle), 1
    parts["position"][0, 2] = parts["position"][1, 3] = 1
    parts["Q"][4, 0] = parts["Q"][4, 6] = parts["K"][2, 0] = parts["K"][3, 6] = 30
    for source, middle, target in ((0, 0, 5), (1, 1, 6), (0, 6, 7), (1, 7, 8)):
        parts["V"][source, middle] = parts["O"][middle, target] = 1
    neurons = product(np.pi * np.arange(N_PHASES) / N_PHASES, (1, -1), (1, -1))
    for n, (phase, sign, second) in enumerate(neurons):
        turned = sign * np.array([np.cos(phase), -np.sin(phase)])
        parts["W_in"][5:7, n], parts["W_in"][7:9, n] = turned, second * turned
        parts["W_out"][n, 9:11] = second * np.cos(2 * phase), -second * np.sin(2 * phase)
    parts["U"][9], parts["U"][10] = scale * np.cos(angle), scale * np.sin(angle)
    return np.concatenate([projection.ravel() for projection in parts.values()])


def random_logits(p: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(p * p, p))


def test_a_handwritten_clock_is_recognised() -> None:
    result, measures = clock_history(SHAPE, written_clock()[None], TRAIN, np.array([0]))
    assert result.key == result.planes == (KEY,)
    assert measures["explained"][0] > 0.98
    assert measures["logit_spectrum"][0, KEY - 1] == pytest.approx(measures["explained"][0])
    assert (
        measures["key_share"][0] == measures["embedding_spectrum"][0, KEY - 1] == pytest.approx(1)
    )
    assert measures["restricted_loss"][0] < 1e-3
    assert measures["excluded_loss"][0] > 1
    assert measures["fresh_accuracy"][0] == measures["mirrored_accuracy"][0] == 1
    assert (result.neurons.frequency == KEY).all()
    assert measures["neuron_maps"].shape == (1, 12, P, P)
    circle = measures["circle"][0, 0]
    assert np.linalg.norm(circle, axis=1) == pytest.approx(1)
    turn = np.diff(np.unwrap(np.arctan2(circle[:, 1], circle[:, 0])))
    assert np.abs(turn) == pytest.approx(2 * np.pi * KEY / P)


def test_heads_of_the_clock_attend_to_one_number_each() -> None:
    network = network_activations(SHAPE, written_clock())
    shares = np.exp(network.scores - network.scores.max(axis=1, keepdims=True))
    assert shares[0] / shares[0, 0] == pytest.approx([1] * P + [0] * (P + 1), abs=1e-12)
    assert shares[1] / shares[1, P] == pytest.approx([0] * P + [1] * P + [0], abs=1e-12)


def test_logits_of_the_clock_have_the_energy_of_its_frequency() -> None:
    energy = logit_energy(network_activations(SHAPE, written_clock()).logits)
    assert fold_by_frequency(energy)[KEY, KEY] / energy.sum() > 0.98
    mine = slice(2 * KEY - 1, 2 * KEY + 1)
    assert energy[mine, mine].sum() / energy.sum() > 0.98


def test_softmax_of_scores_is_the_attention() -> None:
    networks = ModularAdditionNetworks(SHAPE, [Setting(train_fraction=0.5)], dtype=torch.float64)
    networks.prepare(0)
    forward, p = networks._model, P
    scores, pairs = forward.scores[0], networks._train
    a, b = pairs.a[0], pairs.b[0]
    three = torch.stack([scores[a], scores[p + b], scores[2 * p].expand(len(a), -1)], dim=1)
    assert torch.allclose(three.softmax(dim=1), forward.attention[0])
    assert forward.attention.sum(dim=2).allclose(torch.ones((), dtype=torch.float64))


def test_restricted_and_excluded_loss_equal_plain_projections() -> None:
    p, keys = 7, (1, 3)
    logits, train = random_logits(p), np.arange(0, 49, 3)
    stored, excluded = np.zeros_like(logits), logits.copy()
    for c in range(p):
        column = logits[:, c]
        stored[:, c] = column.mean()
        for k, f in product(keys, (math.cos, math.sin)):
            wave = [f(2 * math.pi * k * (a + b) / p) for a in range(p) for b in range(p)]
            direction = np.array(wave) / np.linalg.norm(wave)
            projection = sum(u * v for u, v in zip(direction, column, strict=True)) * direction
            stored[:, c] += projection
            excluded[:, c] -= projection
    answers = np.array([(a + b) % p for a in range(p) for b in range(p)])
    result = progress_measures(logits, train, keys)
    assert result.restricted_loss == pytest.approx(cross_entropy(stored, answers))
    assert result.excluded_loss == pytest.approx(cross_entropy(excluded[train], answers[train]))


def test_the_spectrum_of_logits_equals_least_squares() -> None:
    p = 7
    logits = random_logits(p)
    centred = logits - logits.mean(axis=1, keepdims=True)
    for k, share in enumerate(clock_spectrum(logits), start=1):
        wave = np.array(
            [
                [math.cos(2 * math.pi * k * (a + b - c) / p) for c in range(p)]
                for a in range(p)
                for b in range(p)
            ]
        ).ravel()
        size, *_ = np.linalg.lstsq(wave[:, None], centred.ravel(), rcond=None)
        residual = centred.ravel() - size[0] * wave
        assert share == pytest.approx(1 - (residual**2).sum() / (centred**2).sum())
    assert clock_spectrum(np.ones((49, 7))).tolist() == [0, 0, 0]


def test_energies_of_logits_equal_the_discrete_fourier_transform() -> None:
    p = 7
    logits = random_logits(p)
    result = logit_energy(logits)
    transformed = np.abs(np.fft.fft2(logits.reshape(p, p, p), axes=(0, 1))) ** 2 / p**2
    expected = transformed.sum(axis=2)
    expected[0, 0] = 0  # every answer's mean
    blocks = fold_by_frequency(result)
    for k in range(1, 4):
        assert blocks[k, 0] == pytest.approx(expected[k, 0] + expected[-k, 0])
        assert blocks[k, k] == pytest.approx(expected[np.ix_([k, -k], [k, -k])].sum())
    assert result.sum() == pytest.approx(expected.sum())
    slow = np.einsum("ia,jb,abc->ijc", *[fourier_basis(p)] * 2, logits.reshape(p, p, p))
    assert result[2, 5] == pytest.approx((slow[2, 5] ** 2).sum())


def test_gini_of_an_even_map_to_logits_is_zero() -> None:
    assert neuron_logit_gini(fourier_basis(5)) == pytest.approx(0, abs=1e-9)
    assert neuron_logit_gini(fourier_basis(5)[:1]) == pytest.approx(0.8)


def test_recorded_parameters_are_exact_and_float32() -> None:
    networks = ModularAdditionNetworks(
        Architecture(5, 4, 2, 6), [Setting(train_fraction=0.5, seed=s) for s in (0, 1)]
    )
    config = TrainConfig(12, {}, ("parameters", "train_loss"), np.array([0, 5, 11]))
    trainer = Trainer(networks, networks.optimizer(), config)
    stored = trainer.train().curves["parameters"]
    assert stored.dtype == trainer.state()["curve.parameters"].numpy().dtype == np.float32
    rerun = ModularAdditionNetworks(Architecture(5, 4, 2, 6), [Setting(train_fraction=0.5, seed=1)])
    for param, first in zip(
        rerun.params, unflatten_params(rerun.shape, torch.from_numpy(stored[1, 0])), strict=True
    ):
        assert torch.equal(param, first)
    Trainer(rerun, rerun.optimizer(), config).train(until=11)
    rerun.prepare(11)
    assert np.array_equal(rerun.evaluate(11, ["parameters"])["parameters"][0].numpy(), stored[1, 2])


def test_float64_measures_are_recorded_as_float64() -> None:
    networks = ModularAdditionNetworks(
        Architecture(5, 4, 2, 6), [Setting(train_fraction=0.5)], dtype=torch.float64
    )
    config = TrainConfig(3, {}, ("train_loss",), np.array([0, 2]))
    curves = Trainer(networks, networks.optimizer(), config).train().curves
    assert curves["train_loss"].dtype == np.float64


def test_symmetric_memorisation_answers_mirrored_pairs_only() -> None:
    p = 5
    a, b = np.divmod(np.arange(p * p), p)
    train = np.flatnonzero((a < b) & (a + b < 6))
    existing = np.isin(np.arange(p * p), train) | np.isin(b * p + a, train)
    logits = np.zeros((p * p, p))
    logits[np.arange(p * p), (a + b + ~existing) % p] = 1  # all others are wrong
    from compute.grokking.clock import _test_accuracies

    assert _test_accuracies(logits, train) == (1.0, 0.0)
    mirrored, fresh = _test_accuracies(logits, np.flatnonzero(a == b))
    assert math.isnan(mirrored)
    assert 0 < fresh < 1


def test_snapshots_are_in_order() -> None:
    log = np.array([0, 1, 10, 100, 300, 1000, 2000, 3000])
    assert log[snapshot_indices(log, 100, 1000)].tolist() == [0, 100, 300, 1000, 3000]
    assert log[snapshot_indices(log, None, None)].tolist() == [0, 300, 1000, 3000]
    assert snapshot_indices(np.array([0]), None, None).tolist() == [0]


def test_clock_phases_end_by_their_rules() -> None:
    steps = np.array([0, 10, 100, 200, 300, 400])
    excluded = np.array([4.0, 2.0, 0.5, 0.4, 3.0, 6.0])
    test_loss = np.array([4.0, 8.0, 9.0, 7.0, 4.0, 0.05])
    result = clock_phases(steps, excluded, test_loss)
    assert (result.memorised, result.formed, result.cleaned) == (200, 300, 400)
    never = clock_phases(steps, excluded, np.arange(6) + 4.0)
    assert (never.memorised, never.formed, never.cleaned) == (None, None, None)


def test_top_neurons_take_turns_between_frequencies() -> None:
    rng, at = np.random.default_rng(0), 2 * np.pi * np.arange(P) / P
    waves = [np.add.outer(np.cos(k * at), np.cos(k * at)) for k in (2, 2, 2, 5)]
    noisy = [wave + rng.normal(size=wave.shape) * i / 10 for i, wave in enumerate(waves)]
    network = network_activations(SHAPE, written_clock())
    changed = replace(network, hidden=np.stack(noisy, axis=2), W_L=network.W_L[:4])
    result = find_clock(changed, 2)
    assert {int(result.neurons.frequency[n]) for n in result.top_neurons} == {2, 5}
    assert 0 in result.top_neurons
