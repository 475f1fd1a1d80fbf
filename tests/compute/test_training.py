"""Training of small models: schedule, order, resuming, and learning to copy."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from compute.losses import document_losses
from compute.training import (
    Architecture,
    Schedule,
    _optimizer,
    _Run,
    checkpoint_steps,
    learning_rate,
    new_model,
    resolve_precision,
    train,
    window_order,
)

ARCHITECTURE = Architecture(hidden_size=32, layers=2, heads=2, vocabulary_size=40, context=24)
SCHEDULE = Schedule(
    steps=12,
    batch_windows=8,
    micro_windows=3,
    learning_rate=3e-3,
    warmup_steps=2,
    weight_decay=0.1,
    seed=0,
    order_seed=1,
    save_every=4,
    precision="float32",
)


def copying_windows(count: int, seed: int = 0) -> np.ndarray:
    """Windows whose second half repeats their first: half of them is predictable."""
    rng = np.random.default_rng(seed)
    half = rng.integers(1, 40, (count, 12))
    return np.concatenate([half, half], axis=1).astype(np.uint16)


def test_checkpoint_steps_are_powers_of_two_and_then_linear() -> None:
    published = (0, *(2**k for k in range(10)), *range(1000, 143_001, 1000))
    assert checkpoint_steps(143_000, 1000) == published
    assert len(published) == 154
    assert checkpoint_steps(10, 4) == (0, 1, 2, 4, 8, 10)


@given(st.integers(1, 5000), st.integers(1, 600))
def test_the_first_and_last_step_are_always_checkpointed(steps: int, save_every: int) -> None:
    steps_to_save = checkpoint_steps(steps, save_every)
    assert steps_to_save[0] == 0
    assert steps_to_save[-1] == steps
    assert list(steps_to_save) == sorted(set(steps_to_save))


def test_the_learning_rate_peaks_after_warmup_and_ends_at_a_tenth() -> None:
    rates = [learning_rate(SCHEDULE, step) for step in range(1, SCHEDULE.steps + 1)]
    assert rates[0] == pytest.approx(SCHEDULE.learning_rate / 2)
    assert max(rates) == rates[SCHEDULE.warmup_steps - 1] == SCHEDULE.learning_rate
    assert rates[-1] == pytest.approx(SCHEDULE.learning_rate / 10)


@given(st.integers(1, 30), st.integers(0, 3), st.lists(st.integers(1, 9), min_size=1, max_size=9))
def test_every_epoch_has_every_window_once(windows: int, seed: int, counts: list[int]) -> None:
    parts, first = [], 0
    for count in counts:
        parts.append(window_order(windows, seed, first, count))
        first += count
    whole = window_order(windows, seed, 0, first)
    assert np.array_equal(np.concatenate(parts), whole)
    for start in range(0, first - windows + 1, windows):
        assert sorted(whole[start : start + windows]) == list(range(windows))


def test_one_update_equals_plain_torch() -> None:
    """Slices of the head and micro-batches change rounding only."""
    windows = copying_windows(8)
    model = new_model(ARCHITECTURE, 0)
    run = _Run(model, _optimizer(model, SCHEDULE), SCHEDULE, torch.float32, "cpu")
    step_log = run.advance(windows)

    plain = new_model(ARCHITECTURE, 0)
    optimizer = _optimizer(plain, SCHEDULE)
    ids = torch.from_numpy(windows.astype(np.int64))
    logits = plain(input_ids=ids).logits[:, :-1]
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
    loss.backward()
    torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(SCHEDULE, 1)
    optimizer.step()

    assert step_log.loss_nats == pytest.approx(loss.item(), abs=1e-5)
    for (name, ours), theirs in zip(model.named_parameters(), plain.parameters(), strict=True):
        # Adam's first update is rate · sign(g): rounding matters only where g is about zero.
        close = torch.isclose(ours, theirs, atol=1e-5, rtol=0)
        assert close.float().mean() > 0.999, name


def test_training_learns_to_copy(tmp_path: Path) -> None:
    schedule = replace(SCHEDULE, steps=500, batch_windows=32, micro_windows=32, save_every=500)
    train(copying_windows(400), ARCHITECTURE, schedule, tmp_path)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert log[0]["loss_nats"] == pytest.approx(math.log(40), abs=0.3)
    from compute.checkpoints import load_model

    model = load_model(tmp_path / "step500", vocabulary_size=40)
    fresh = copying_windows(40, seed=9)
    losses = document_losses(model, list(fresh)).reshape(40, 23)
    assert losses[:, 13:].mean() < losses[:, :11].mean() - 1


def test_a_resumed_run_has_the_same_weights(tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    def stop(step_log: object) -> None:
        if getattr(step_log, "step", 0) == 9:
            raise StopError

    windows = copying_windows(40)
    train(windows, ARCHITECTURE, SCHEDULE, tmp_path / "whole", state_every=4)
    with pytest.raises(StopError):
        train(windows, ARCHITECTURE, SCHEDULE, tmp_path / "cut", state_every=4, on_step=stop)
    train(windows, ARCHITECTURE, SCHEDULE, tmp_path / "cut", state_every=4)
    for step in checkpoint_steps(SCHEDULE.steps, SCHEDULE.save_every):
        ours, theirs = (
            load_file(tmp_path / run / f"step{step}" / "model.safetensors")
            for run in ("whole", "cut")
        )
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    logs = [(tmp_path / run / "log.jsonl").read_text().splitlines() for run in ("whole", "cut")]
    steps = [[json.loads(line)["step"] for line in log] for log in logs]
    assert steps[0] == steps[1] == list(range(1, 13))


def test_sizes_see_the_same_windows_in_the_same_order() -> None:
    orders = [window_order(17, SCHEDULE.order_seed, 8 * step, 8) for step in range(3)]
    whole = window_order(17, SCHEDULE.order_seed, 0, 24)
    assert np.array_equal(np.concatenate(orders), whole)


def test_a_token_outside_the_vocabulary_is_named(tmp_path: Path) -> None:
    windows = copying_windows(4)
    windows[2, 3] = 77
    with pytest.raises(ValueError, match="token 77 is outside the vocabulary of 40"):
        train(windows, ARCHITECTURE, SCHEDULE, tmp_path)
    assert not list(tmp_path.iterdir())


def test_explicit_precision_is_kept() -> None:
    assert resolve_precision("float32", "cpu") == torch.float32
    assert resolve_precision("bfloat16", "cpu") == torch.bfloat16
    assert resolve_precision("auto", "cuda") == torch.bfloat16
