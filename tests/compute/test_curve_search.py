"""Search by shape: distances by hand, laws of the invariances, exactness."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from compute.curve_block_search import nearest_in_blocks
from compute.curve_layout import BLOCK, block_shape, fill_blocks
from compute.curve_search import (
    FLAT_STD_NATS,
    log_axis_weights,
    nearest_by_brute_force,
    query_curve,
    shape_distances,
)
from compute.query_curves import PRESET_FORMULAS, PRESETS, preset_curve, sketched_curve

AXIS = np.array([1e7, 3e7, 1e8, 3e8, 1e9, 3e9, 1e10])
SUBSETS = [
    tuple(name for bit, name in enumerate(("level", "scale", "shift")) if number >> bit & 1)
    for number in range(8)
]


def blocks_of(curves: NDArray[np.float16]) -> NDArray[np.float16]:
    blocks = np.empty(block_shape(*curves.shape), np.float16)
    fill_blocks(curves, blocks)
    return blocks


def plain_float64(
    curves: NDArray[Any], curve: NDArray[Any], axis: NDArray[Any], invariances: tuple[str, ...]
) -> NDArray[np.float64]:
    """Evaluate the definition curve by curve and shift by shift."""
    u = np.log(axis)
    w = np.array(
        [(u[min(j + 1, len(u) - 1)] - u[max(j - 1, 0)]) / 2 / (u[-1] - u[0]) for j in range(len(u))]
    )
    largest = min(16, (len(axis) - 1) // 2) if "shift" in invariances else 0

    def normalized(values: NDArray[Any]) -> NDArray[Any] | None:
        values = values.astype(np.float64)
        if {"level", "scale"} & set(invariances):
            values = values - np.sum(w * values)
        if "scale" in invariances:
            std = np.sqrt(np.sum(w * values**2))
            return values / std if std >= FLAT_STD_NATS else None
        return values

    table = np.full((len(curves), len(axis) * 2), np.inf)  # by shift, negative ones from the end
    for row, curve_of_row in enumerate(curves):
        own = normalized(curve_of_row)
        for s in range(-largest, largest + 1):
            shifted = normalized(
                np.array([curve[min(max(j - s, 0), len(u) - 1)] for j in range(len(u))])
            )
            if own is not None and shifted is not None:
                table[row, s] = np.sum(w * (own - shifted) ** 2)
    return table


def test_weights_are_shares_of_the_log_axis() -> None:
    np.testing.assert_allclose(
        log_axis_weights(np.array([1.0, 10.0, 1000.0])), [1 / 6, 1 / 2, 1 / 3]
    )


def test_distances_by_hand() -> None:
    axis = np.array([1.0, 10.0, 100.0])  # weights 1/4, 1/2, 1/4
    curves = np.array([[4.0, 2.0, 0.0], [6.0, 4.0, 2.0], [8.0, 4.0, 0.0], [0.0, 2.0, 4.0]])
    target = np.array([4.0, 2.0, 0.0])
    plain, _ = shape_distances(curves, query_curve(target, axis))
    np.testing.assert_allclose(plain, [0, 4, 6, 8])
    level, _ = shape_distances(curves, query_curve(target, axis, ["level"]))
    np.testing.assert_allclose(level, [0, 0, 2, 8])
    scale, _ = shape_distances(curves, query_curve(target, axis, ["scale"]))
    np.testing.assert_allclose(scale, [0, 0, 0, 4], atol=1e-15)  # 2 - 2 x correlation


def test_a_shift_repeats_the_end_value_and_ties_go_to_the_shorter_shift() -> None:
    axis = 10.0 ** np.arange(5)
    query = query_curve(np.array([6.0, 6.0, 0.0, 0.0, 0.0]), axis, ["shift"])
    curves = np.array(
        [[6, 6, 6, 0, 0], [6, 0, 0, 0, 0], [0, 0, 0, 0, 0], [6, 6, 6, 6, 0], [6, 6, 0, 0, 0]],
        np.float64,
    )
    distances, shifts = shape_distances(curves, query)
    np.testing.assert_array_equal(distances, 0)
    np.testing.assert_array_equal(shifts, [1, -1, -2, 2, 0])
    constant = query_curve(np.full(5, 2.0), axis, ["shift"])
    assert shape_distances(curves, constant)[1].tolist() == [0] * 5


def test_flat_curves_do_not_compare_at_any_scale() -> None:
    axis = np.array([1.0, 10.0, 100.0])
    shape = np.array([1.0, 0.0, 1.0])  # standard deviation 1/2
    curves = np.stack([3 + shape * 2 * FLAT_STD_NATS * share for share in (0.99, 1.01, 0)])
    distances, _ = shape_distances(curves, query_curve(shape, axis, ["scale"]))
    np.testing.assert_allclose(distances, [np.inf, 0, np.inf], atol=1e-12)
    result = nearest_by_brute_force(curves, query_curve(shape, axis, ["scale"]), 5)
    assert result.indices.tolist() == [1]
    with pytest.raises(ValueError, match="flat"):
        query_curve(np.full(3, 2.0), axis, ["scale"])


losses = st.floats(0, 20, width=16)
curve_lists = st.integers(0, 60).flatmap(
    lambda n: st.lists(st.lists(losses, min_size=7, max_size=7), min_size=n, max_size=n)
)


@settings(max_examples=60, deadline=None)
@given(
    curve_lists,
    st.lists(st.floats(0, 20), min_size=7, max_size=7),
    st.sampled_from(SUBSETS),
    st.integers(1, 200),
    st.integers(0, 2**32 - 1),
    st.sampled_from(["few values", "as generated", "copies"]),
)
def test_every_search_equals_brute_force_in_float64(
    rows: list[list[float]],
    target_values: list[float],
    invariances: tuple[str, ...],
    limit: int,
    seed: int,
    kind: str,
) -> None:
    rng = np.random.default_rng(seed)
    curves = np.array(rows, np.float16).reshape(len(rows), 7)
    if kind == "few values":
        curves = np.round(curves / 5) * np.float16(5)  # many ties
    if kind == "copies" and len(curves):
        curves = curves[rng.integers(0, len(curves), 3 * len(curves))]
    target = np.array(target_values)
    if "scale" in invariances and np.std(target) < 1:
        target[0] += 10
    query = query_curve(target, AXIS, invariances)
    distances, shifts = shape_distances(curves, query)
    expected = plain_float64(curves, target, AXIS, invariances)
    np.testing.assert_allclose(distances, expected.min(axis=1), rtol=1e-9, atol=1e-9)
    at_shift = expected[np.arange(len(curves)), shifts]
    np.testing.assert_allclose(distances, at_shift, rtol=1e-9, atol=1e-9)
    mask = rng.random(len(curves)) < rng.choice([0.02, 0.5, 1]) if seed % 2 else None
    order = np.lexsort((np.arange(len(curves)), distances))
    order = order[np.isfinite(distances[order])]
    order = order if mask is None else order[mask[order]]
    at = int(rng.integers(0, len(order) + 1)) if seed % 3 else 0
    after = (float(distances[order[at - 1]]), int(order[at - 1])) if at else None
    expected_rows = order[at : at + limit]
    for result in (
        nearest_by_brute_force(curves, query, limit, mask, after),
        nearest_in_blocks(blocks_of(curves), len(curves), query, limit, mask, after),
    ):
        np.testing.assert_array_equal(result.indices, expected_rows)
        np.testing.assert_array_equal(result.distances, distances[expected_rows])
        np.testing.assert_array_equal(result.shifts, shifts[expected_rows])


@pytest.mark.parametrize("invariances", SUBSETS)
@pytest.mark.parametrize(
    "kind", ["generated", "near ties", "falling distance", "huge", "tiny", "flat"]
)
def test_threads_and_blocks_change_nothing(invariances: tuple[str, ...], kind: str) -> None:
    """More blocks than one task of a thread; some kinds are close to the float32 bounds."""
    rng = np.random.default_rng(1)
    n, target = 150_000, preset_curve("late", AXIS)
    if kind == "generated":
        curves = rng.gamma(1.0, 2.0, size=(n, 7))
    elif kind == "near ties":
        curves = target + rng.normal(0, 1e-3, size=(n, 7))
    elif kind == "falling distance":
        curves = target + np.linspace(3, 0, n)[:, None] * rng.random((n, 7))
    elif kind == "huge":
        curves = rng.random((n, 7)) * 60_000
    elif kind == "tiny":
        curves = rng.random((n, 7)) * 1e-6
    else:
        curves = rng.random((n, 1)) * 10 + rng.random((n, 7)) * 0.2
    stored = np.abs(curves).astype(np.float16)
    query = query_curve(target, AXIS, invariances)
    mask = rng.random(n) < 0.3
    blocks = blocks_of(stored)
    for threads, selected in ((1, None), (3, None), (2, mask)):
        result = nearest_in_blocks(blocks, n, query, 100, selected, n_threads=threads)
        expected = nearest_by_brute_force(stored, query, 100, selected)
        np.testing.assert_array_equal(result.indices, expected.indices)
        np.testing.assert_array_equal(result.distances, expected.distances)
        np.testing.assert_array_equal(result.shifts, expected.shifts)


finite = st.floats(0, 12, allow_nan=False)
any_curve = st.lists(finite, min_size=7, max_size=7).map(np.array)


@settings(max_examples=100, deadline=None)
@given(any_curve, any_curve, st.floats(-5, 5))
def test_a_constant_does_not_matter_under_level(
    curve: NDArray[np.float64], target: NDArray[np.float64], constant: float
) -> None:
    query = query_curve(target, AXIS, ["level"])
    moved = query_curve(target + constant, AXIS, ["level"])
    both = np.stack([curve, curve + constant])
    (d0, d1), (d2, _) = shape_distances(both, query)[0], shape_distances(both, moved)[0]
    assert d0 == pytest.approx(d1, abs=1e-9)
    assert d0 == pytest.approx(d2, abs=1e-9)
    assert d0 <= shape_distances(both, query_curve(target, AXIS))[0][0] + 1e-9


@settings(max_examples=100, deadline=None)
@given(any_curve, st.floats(0.5, 4), st.floats(-5, 5))
def test_height_and_level_do_not_matter_under_scale(
    curve: NDArray[np.float64], factor: float, constant: float
) -> None:
    curve[0] += 8  # never flat
    curve[3] -= 8
    target = preset_curve("smooth", AXIS)
    narrow = query_curve(target, AXIS, ["scale"])
    tall = query_curve(target * factor + constant, AXIS, ["scale"])
    both = np.stack([curve, curve * factor + constant])
    distances = [*shape_distances(both, narrow)[0], *shape_distances(both, tall)[0]]
    assert distances == pytest.approx([distances[0]] * 4, abs=1e-9)
    assert 0 <= distances[0] <= 4 + 1e-9


@settings(max_examples=100, deadline=None)
@given(any_curve, st.integers(-3, 3), st.sampled_from([s for s in SUBSETS if "shift" in s]))
def test_a_shifted_curve_is_found_at_distance_zero(
    target: NDArray[np.float64], shift: int, invariances: tuple[str, ...]
) -> None:
    target[3] += 9  # never flat, however shifted
    moved = target[np.clip(np.arange(7) - shift, 0, 6)]
    distance, result = shape_distances(moved[None], query_curve(target, AXIS, invariances))
    assert distance[0] == pytest.approx(0, abs=1e-20)
    assert abs(result[0]) <= abs(shift)


@pytest.mark.parametrize("n_points", [3, 4, 40, 154])
def test_axes_of_any_length_give_the_brute_force_result(n_points: int) -> None:
    rng = np.random.default_rng(n_points)
    axis = np.cumsum(rng.random(n_points) + 0.1)
    curves = rng.gamma(1.0, 2.0, size=(130, n_points)).astype(np.float16)
    for invariances in SUBSETS:
        query = query_curve(curves[7].astype(np.float64), axis, invariances)
        assert np.abs(query.shifts).max() == (
            min(16, (n_points - 1) // 2) if "shift" in invariances else 0
        )
        result = nearest_in_blocks(blocks_of(curves), 130, query, 10)
        expected = nearest_by_brute_force(curves, query, 10)
        np.testing.assert_array_equal(result.indices, expected.indices)
        np.testing.assert_array_equal(result.distances, expected.distances)
        assert result.indices[0] == 7
        assert result.distances[0] == 0


def test_empty_and_partial_blocks_and_limits() -> None:
    query = query_curve(preset_curve("step", AXIS), AXIS, ["level", "scale", "shift"])
    for n in (0, 1, BLOCK, BLOCK + 1):
        curves = np.tile(preset_curve("step", AXIS), (n, 1)).astype(np.float16)
        for limit in (0, 1, 200):
            result = nearest_in_blocks(blocks_of(curves), n, query, limit)
            assert result.indices.tolist() == list(range(min(n, limit)))
            assert nearest_by_brute_force(curves, query, limit).indices.tolist() == (
                result.indices.tolist()
            )


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_blocks_hold_losses_only(bad: float) -> None:
    curves = np.ones((3, 7), np.float16)
    curves[1, 2] = bad
    with pytest.raises(ValueError, match="want finite losses >= 0"):
        blocks_of(curves)


def test_a_zero_with_a_sign_is_a_loss_of_zero() -> None:
    curves = np.array([[1.0] * 7, [0.0] * 7], np.float16)
    signed = np.array([[1.0] * 7, [-0.0] * 7], np.float16)
    np.testing.assert_array_equal(
        blocks_of(signed).view(np.uint16), blocks_of(curves).view(np.uint16)
    )
    assert np.signbit(signed[1]).all()  # the input is not modified


def test_presets_by_hand() -> None:
    axis = 10.0 ** np.arange(11)
    curves = {name: preset_curve(name, axis) for name in PRESETS}
    assert PRESET_FORMULAS.keys() == set(PRESETS)
    assert curves["step"].tolist() == [6.0] * 5 + [0.1] * 6
    assert preset_curve("step", axis, at=1).tolist() == [0.1] * 11
    assert preset_curve("step", axis, at=11).tolist() == [6.0] * 10 + [0.1]
    np.testing.assert_allclose(curves["smooth"][[0, 5, 10]], [6, 3.05, 0.1])
    np.testing.assert_allclose(curves["inverse"], curves["smooth"][::-1])
    np.testing.assert_allclose(curves["u"][[0, 5, 10]], [6, 0.1, 6])
    np.testing.assert_allclose(curves["hump"], 6.1 - curves["u"])
    np.testing.assert_allclose(curves["late"][[0, 7, 10]], [6, 6, 0.1])
    np.testing.assert_allclose(curves["early"][[0, 3, 10]], [6, 0.1, 0.1])
    np.testing.assert_allclose(curves["flat"], 3.05)


@pytest.mark.parametrize("at", [0, 12])
def test_a_step_outside_the_axis_is_refused(at: int) -> None:
    with pytest.raises(ValueError, match="choose 1 to 11"):
        preset_curve("step", 10.0 ** np.arange(11), at=at)


def test_a_sketch_is_straight_in_log_axis_and_constant_beyond_its_ends() -> None:
    axis = 10.0 ** np.arange(6)
    sketch = sketched_curve([(1e4, 0.0), (1e2, 4.0)], axis)
    np.testing.assert_allclose(sketch, [4, 4, 4, 2, 0, 0])


@pytest.mark.parametrize(
    "knots",
    [
        [(1.0, 1.0)],
        [(1.0, 1.0)] * 17,
        [(1.0, 1.0), (1.0, 2.0)],
        [(0.0, 1.0), (1.0, 2.0)],
        [(1.0, np.nan), (2.0, 1.0)],
    ],
)
def test_an_invalid_sketch_is_refused(knots: list[tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match="knot"):
        sketched_curve(knots, AXIS)
