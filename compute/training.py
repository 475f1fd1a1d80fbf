"""Resumable training of one small GPT-NeoX language model, a size of a suite.

Every size sees the same windows in the same order; checkpoints follow Pythia's schedule: 0, 1, 2,
4, ... and then linear (arXiv:2304.01373, section 2). AdamW with betas (0.9, 0.95), warm-up and a
cosine decay to a tenth, gradients clipped to norm 1. The state is safetensors and JSON, no pickle.
"""

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Int, UInt16
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

Precision = Literal["auto", "float32", "bfloat16"]
# Positions per slice of the head; the logits of one slice fit into a CPU's cache.
HEAD_SLICE = {"cpu": 1_024, "cuda": 16_384}
FINAL_RATE = 0.1


@dataclass(frozen=True)
class Architecture:
    """Shape of one size: a GPT-NeoX with tied embeddings."""

    hidden_size: int
    layers: int
    heads: int
    vocabulary_size: int
    context: int


@dataclass(frozen=True)
class Schedule:
    """Training settings of a size.

    Attributes:
        steps: optimizer steps.
        batch_windows: windows of `context` tokens per step.
        micro_windows: windows per forward pass; changes rounding only.
        learning_rate: peak learning rate.
        warmup_steps: steps of linear warm-up from zero.
        weight_decay: weight decay of matrices; biases and norms have none.
        seed: seed of the initial weights.
        order_seed: seed of the order of windows, the same for every size.
        save_every: interval of the linear part of the checkpoint schedule.
        precision: "auto" takes bfloat16 where the hardware multiplies it faster.
    """

    steps: int
    batch_windows: int
    micro_windows: int
    learning_rate: float
    warmup_steps: int
    weight_decay: float
    seed: int
    order_seed: int
    save_every: int
    precision: Precision = "auto"


@dataclass(frozen=True)
class StepLog:
    """One step of the loss log; the loss is the mean over the batch, in nats per token."""

    step: int
    loss_nats: float
    learning_rate: float
    seconds: float


def checkpoint_steps(steps: int, save_every: int) -> tuple[int, ...]:
    """Return the steps to checkpoint: 0, 1, 2, 4, ... below save_every, then linear.

    Raises:
        ValueError: a number that is not positive.
    """
    if steps < 1 or save_every < 1:
        raise ValueError(f"steps {steps}, save_every {save_every}; want both at least 1")
    powers = [1 << k for k in range(save_every.bit_length()) if 1 << k <= min(steps, save_every)]
    return tuple(sorted({0, steps, *powers, *range(save_every, steps + 1, save_every)}))


def learning_rate(schedule: Schedule, step: int) -> float:
    """Return the learning rate of a step from 1: linear warm-up, then cosine decay to a tenth."""
    if step <= schedule.warmup_steps:
        return schedule.learning_rate * step / schedule.warmup_steps
    decay_steps = max(1, schedule.steps - schedule.warmup_steps)
    cosine = (1 + math.cos(math.pi * (step - schedule.warmup_steps) / decay_steps)) / 2
    return schedule.learning_rate * (FINAL_RATE + (1 - FINAL_RATE) * cosine)


def window_order(windows: int, seed: int, first: int, count: int) -> Int[np.ndarray, " count"]:
    """Return `count` windows from position `first` of an endless order, shuffled per epoch."""
    positions = np.arange(first, first + count)
    order = np.empty(count, np.int64)
    for epoch in np.unique(positions // windows):
        in_epoch = positions // windows == epoch
        permutation = np.random.default_rng([seed, int(epoch)]).permutation(windows)
        order[in_epoch] = permutation[positions[in_epoch] % windows]
    return order


def new_model(architecture: Architecture, seed: int) -> Any:
    """Return a newly initialised model in float32."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    config = GPTNeoXConfig(
        vocab_size=architecture.vocabulary_size,
        hidden_size=architecture.hidden_size,
        num_hidden_layers=architecture.layers,
        num_attention_heads=architecture.heads,
        intermediate_size=4 * architecture.hidden_size,
        max_position_embeddings=architecture.context,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )
    # On a CPU the flash kernel's backward pass takes longer than all matrix products.
    config._attn_implementation = "eager" if not torch.cuda.is_available() else "sdpa"
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: Any = GPTNeoXForCausalLM(config)
        return model.float().train()


def resolve_precision(precision: Precision, device: str) -> torch.dtype:
    """Return the dtype of matrix products; "auto" measures which is faster on a CPU."""
    if precision != "auto":
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    if device.startswith("cuda"):
        return torch.bfloat16
    seconds = {dtype: _product_seconds(dtype) for dtype in (torch.float32, torch.bfloat16)}
    faster = seconds[torch.bfloat16] < 0.5 * seconds[torch.float32]
    return torch.bfloat16 if faster else torch.float32


def _product_seconds(dtype: torch.dtype) -> float:
    matrix = torch.ones(512, 512, dtype=dtype)
    best = math.inf
    for _ in range(8):
        start = time.perf_counter()
        matrix @ matrix
        best = min(best, time.perf_counter() - start)
    return best


def _optimizer(model: nn.Module, schedule: Schedule) -> torch.optim.AdamW:
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    groups = [
        {"params": matrices, "weight_decay": schedule.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=schedule.learning_rate, betas=(0.9, 0.95), fused=True)


def _micro_loss(model: Any, windows: Int[Tensor, "rows context"], dtype: torch.dtype) -> float:
    """Add the gradient of the summed loss of some windows; return the sum, in nats."""
    kind = windows.device.type
    mixed = torch.autocast(kind, dtype) if dtype != torch.float32 else nullcontext()
    with mixed:
        hidden = model.base_model(input_ids=windows[:, :-1], use_cache=False).last_hidden_state
    # Backpropagate through the head in slices: the logits of a whole batch would not fit.
    states = hidden.detach().flatten(0, 1).requires_grad_()
    targets = windows[:, 1:].reshape(-1)
    total = torch.zeros((), device=windows.device)
    size = HEAD_SLICE[kind]
    for part, target in zip(torch.split(states, size), torch.split(targets, size), strict=True):
        with torch.autocast(kind, dtype) if dtype != torch.float32 else nullcontext():
            logits = model.get_output_embeddings()(part)
        loss = nn.functional.cross_entropy(logits.float(), target, reduction="sum")
        torch.autograd.backward(loss)
        total += loss.detach()
    assert states.grad is not None
    torch.autograd.backward(hidden, states.grad.view_as(hidden))
    return float(total)


@dataclass
class _Run:
    model: Any
    optimizer: torch.optim.AdamW
    schedule: Schedule
    dtype: torch.dtype
    device: str
    step: int = 0

    def advance(self, windows: UInt16[np.ndarray, "rows context"]) -> StepLog:
        """Update the model on a batch of windows."""
        start = time.perf_counter()
        batch = torch.from_numpy(windows.astype(np.int64)).to(self.device)
        parts = torch.split(batch, self.schedule.micro_windows)
        total = math.fsum(_micro_loss(self.model, part, self.dtype) for part in parts)
        count = batch.shape[0] * (batch.shape[1] - 1)
        for parameter in self.model.parameters():
            parameter.grad /= count
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0, error_if_nonfinite=True)
        self.step += 1
        rate = learning_rate(self.schedule, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        return StepLog(self.step, total / count, rate, time.perf_counter() - start)


def train(
    windows: UInt16[np.ndarray, "windows context"],
    architecture: Architecture,
    schedule: Schedule,
    folder: Path,
    *,
    device: str = "cpu",
    state_every: int = 50,
    on_step: Callable[[StepLog], None] = lambda _: None,
) -> None:
    """Train one size, or resume an interrupted run.

    Writes float16 checkpoints as `save_pretrained` to `folder/stepS`, one line per step to
    `folder/log.jsonl`, and the state to resume from to `folder/state.safetensors`.

    Args:
        windows: token ids, memory-mapped; every window is a separate context.
        architecture: shape of the model.
        schedule: training settings.
        folder: output folder of this size.
        device: "cpu" or "cuda".
        state_every: steps between two writes of the state.
        on_step: called after every step.

    Raises:
        ValueError: a window is too short, or a token is outside the vocabulary.
        RuntimeError: gradients or weights are not finite; the last state remains.
    """
    _check(windows, architecture)
    folder.mkdir(parents=True, exist_ok=True)
    run = _resume(folder, architecture, schedule, device)
    steps = set(checkpoint_steps(schedule.steps, schedule.save_every))
    if run.step == 0:
        _save_checkpoint(run, folder)
    with (folder / "log.jsonl").open("a", encoding="utf-8") as log:
        for rows in _batches(windows, schedule, run.step):
            step_log = run.advance(rows)
            log.write(json.dumps(step_log.__dict__) + "\n")
            if run.step in steps:
                _save_checkpoint(run, folder)
            if run.step % state_every == 0 or run.step == schedule.steps:
                log.flush()
                _write_state(run, folder)
            on_step(step_log)


def _check(windows: UInt16[np.ndarray, "windows context"], architecture: Architecture) -> None:
    if windows.shape[1] != architecture.context or windows.shape[1] < 2:
        raise ValueError(
            f"windows have {windows.shape[1]} tokens, the architecture {architecture.context}; "
            "want equal numbers, at least 2"
        )
    largest = max((int(part.max()) for part in np.array_split(windows, 64) if len(part)), default=0)
    if largest >= architecture.vocabulary_size:
        raise ValueError(
            f"token {largest} is outside the vocabulary of {architecture.vocabulary_size}; "
            "tokenise the windows with the suite's tokenizer"
        )


def _batches(
    windows: UInt16[np.ndarray, "windows context"], schedule: Schedule, first_step: int
) -> Iterator[UInt16[np.ndarray, "rows context"]]:
    for step in range(first_step, schedule.steps):
        order = window_order(
            len(windows), schedule.order_seed, step * schedule.batch_windows, schedule.batch_windows
        )
        yield np.array(windows[order])


def _save_checkpoint(run: _Run, folder: Path) -> None:
    target, part = folder / f"step{run.step}", folder / f"step{run.step}.part"
    if target.is_dir():
        return
    state: dict[str, Tensor] = {}
    pointers = set()
    for name, value in run.model.state_dict().items():
        if value.data_ptr() not in pointers:  # store tied weights once
            state[name] = value.half()
        pointers.add(value.data_ptr())
    if not all(value.isfinite().all() for value in state.values()):
        raise RuntimeError(f"step {run.step}: weights do not fit float16; lower the learning rate")
    run.model.save_pretrained(part, state_dict=state, safe_serialization=True)
    config = json.loads((part / "config.json").read_text(encoding="utf-8"))
    config["dtype"] = "float16"
    (part / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    os.replace(part, target)


def _write_state(run: _Run, folder: Path) -> None:
    tensors = {f"model.{n}": p.detach().clone() for n, p in run.model.named_parameters()}
    for name, parameter in run.model.named_parameters():
        for kind, value in run.optimizer.state[parameter].items():
            tensors[f"{kind}.{name}"] = value.detach().clone()
    part = folder / "state.part"
    save_file(tensors, part, metadata={"step": str(run.step)})
    os.replace(part, folder / "state.safetensors")


def _resume(folder: Path, architecture: Architecture, schedule: Schedule, device: str) -> _Run:
    model = new_model(architecture, schedule.seed).to(device)
    run = _Run(
        model,
        _optimizer(model, schedule),
        schedule,
        resolve_precision(schedule.precision, device),
        device,
    )
    path = folder / "state.safetensors"
    if not path.is_file():
        (folder / "log.jsonl").unlink(missing_ok=True)
        return run
    tensors = load_file(path, device=device)
    named = dict(model.named_parameters())
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.copy_(tensors[f"model.{name}"])
            run.optimizer.state[parameter] = {
                kind: tensors[f"{kind}.{name}"].to(device if kind != "step" else parameter.device)
                for kind in ("step", "exp_avg", "exp_avg_sq")
            }
    run.step = int(next(iter(run.optimizer.state.values()))["step"])
    _truncate_log(folder / "log.jsonl", run.step)
    return run


def _truncate_log(path: Path, step: int) -> None:
    """Drop the lines after `step`, whose steps are repeated."""
    lines = path.read_text(encoding="utf-8").splitlines()[:step] if path.is_file() else []
    part = path.with_suffix(".part")
    part.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    os.replace(part, path)
