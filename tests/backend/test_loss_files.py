"""Readers of imported losses: every file is read as it is meant, or refused by name."""

import json
import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.errors import InvalidInputError
from backend.exchange.loss_files import convert_block, open_losses, read_models
from backend.store.arrays import MAX_LOSS_NATS
from tests.backend.importing import MODELS, tolerance

BAD_MODELS: list[tuple[Any, str]] = [
    ([], "not contain a list of models"),
    ({"name": "a"}, "not contain a list of models"),
    ([1], "model 0 is 1"),
    ([{"name": 3, "nonembedding_parameters": 5, "step": 1}], "model 0 is"),
    ([{"name": "a", "step": 1}], "nonembedding_parameters is None"),
    ([{"name": "a", "nonembedding_parameters": 0, "step": 1}], "nonembedding_parameters is 0"),
    ([{"name": "a", "nonembedding_parameters": 1.5, "step": 1}], "is 1.5"),
    ([{"name": "a", "nonembedding_parameters": True, "step": 1}], "is True"),
    ([{"name": "a", "nonembedding_parameters": 5, "step": -1}], "step is -1"),
    ([{"name": "a", "nonembedding_parameters": 5, "step": 2**31}], "step is 2147483648"),
    ([{"name": "a/b", "nonembedding_parameters": 5, "step": 1}], "'a/b' is not usable"),
    ([MODELS[0], MODELS[1], MODELS[0]], "models 0 and 2 are both m70 step 1000"),
    ([MODELS[0], {**MODELS[0], "nonembedding_parameters": 7, "step": 2}], "m70 has 7"),
]


@pytest.mark.parametrize(("models", "words"), BAD_MODELS)
def test_a_list_of_models_that_cannot_be_used_says_why(
    tmp_path: Path, models: Any, words: str
) -> None:
    path = tmp_path / "models.json"
    path.write_text(json.dumps(models))
    with pytest.raises(InvalidInputError, match=words):
        read_models(path)


@pytest.mark.parametrize(
    "text", ["", "[", "nul", "[" * 100_000, '[{"name": 1, "name": 2}]', "9" * 5000, "\ud800"]
)
def test_what_is_not_json_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "models.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InvalidInputError, match=r"models\.json"):
        read_models(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["name", "nonembedding_parameters", "step"]), inner, max_size=3
        )
    ),
    max_leaves=12,
)


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(JSON)
def test_no_json_makes_the_reader_of_models_fail_otherwise(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "models.json"
    path.write_text(json.dumps(value))
    with suppress(InvalidInputError):
        entries = read_models(path)
        assert len({(e.name, e.step) for e in entries}) == len(entries) == len(value)


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.binary(max_size=300), st.booleans())
def test_no_bytes_make_the_reader_of_arrays_fail_otherwise(
    tmp_path: Path, data: bytes, with_magic: bool
) -> None:
    path = tmp_path / "losses.npy"
    path.write_bytes((b"\x93NUMPY\x01\x00v\x00" if with_magic else b"") + data)
    with pytest.raises(InvalidInputError, match=r"losses\.npy"):
        open_losses(path, 5)


finite = st.floats(0, MAX_LOSS_NATS * 0.999, width=64)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(finite, finite, finite), min_size=1, max_size=20),
    st.sampled_from(["<f4", ">f4", "<f8", ">f8"]),
    st.sampled_from([1.0, math.log(2)]),
)
def test_every_finite_loss_keeps_the_stores_precision(
    rows: list[tuple[float, float, float]], kind: str, factor: float
) -> None:
    block = np.array(rows).astype(kind)
    result = convert_block(block, factor)
    assert result is not None
    stored, wide = result
    np.testing.assert_array_equal(stored, wide)
    nats = block.astype(np.float64) * factor
    assert stored.shape == nats.T.shape
    assert (np.abs(stored.T.astype(np.float64) - nats) <= tolerance(nats)).all()
    assert not np.signbit(stored).any()
