"""`quanta suite train`: from a recipe to a folder that `quanta suite add` takes."""

import fcntl
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from backend.errors import InvalidInputError, QuantaError
from backend.progress import Progress
from backend.store.keys import bytes_key
from backend.training import cleaning, windows
from backend.training.recipe import ModelSize, Recipe, read_recipe
from backend.training.sources import source_files

POLL_S = 0.5


def _prepared_key(recipe: Recipe) -> str:
    parts = {"data": recipe.data.model_dump(), "source": [s.model_dump() for s in recipe.source]}
    return bytes_key(json.dumps(parts, sort_keys=True).encode())


def prepare(recipe: Recipe, out: Path, downloads: Path, progress: Progress) -> dict[str, Any]:
    """Fetch, clean, split and tokenise the text of a recipe; return what there is of it.

    Raises:
        InvalidInputError: `out` holds the text of another recipe.
    """
    out.mkdir(parents=True, exist_ok=True)
    report_path, key = out / "corpus.json", _prepared_key(recipe)
    if report_path.is_file():
        report: dict[str, Any] = json.loads(report_path.read_text(encoding="utf-8"))
        if report["key"] != key:
            raise InvalidInputError(
                f"{out} holds the text of another recipe", "Choose another --out"
            )
        return report
    documents = []
    with progress.task("read sources", total=len(recipe.source), unit="sources") as bar:
        for source in recipe.source:
            documents += cleaning.clean_documents(list(source_files(source, downloads)))
            bar.advance()
    kept = cleaning.distinct(documents, recipe.data.near_duplicate)
    parts = windows.split(kept, recipe.data)
    if not parts.training or not parts.held_out:
        raise InvalidInputError(
            f"{len(kept)} documents leave {len(parts.training)} for training and "
            f"{len(parts.held_out)} held out",
            "Add text, or change held_out_share",
        )
    held_out = windows.held_out_windows(parts, recipe.data)
    windows.write_lines(out / "documents.jsonl", held_out)
    tokenizer = windows.trained_tokenizer(parts.training, recipe.data)
    tokenizer.save(str(out / "tokenizer.json"))
    tokens = windows.training_windows(parts.training, tokenizer, recipe.data, out / "windows.npy")
    report = {
        "key": key,
        "documents": len(documents),
        "near_duplicates": len(documents) - len(kept),
        "training_documents": len(parts.training),
        "held_out_windows": len(held_out),
        "training_windows": len(tokens),
        "characters": dict(_characters(parts.training)),
    }
    _write_json(report_path, report)
    return report


def _characters(documents: list[cleaning.CleanDocument]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for document in documents:
        counts[document.source.name] += len(document.text)
    return counts


def _write_json(path: Path, value: Any) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)


def _end_with_parent(_: object) -> None:
    """Stop at a step's end once the command that started this process is gone, however it ended."""
    parent = parent_process()
    if parent is not None and not parent.is_alive():
        raise SystemExit(0)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until no other trainer writes to a folder: one whose parent was killed ends its step."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def train_size(
    recipe_path: str,
    name: str,
    out: str,
    device: str,
    said: Callable[[object], None] = _end_with_parent,
) -> None:
    """Train one size on one thread of a CPU; `said` is called after every step."""
    import torch
    from transformers.utils import logging

    from compute import training

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # one a file of weights
    recipe, folder = read_recipe(Path(recipe_path)), Path(out)
    if device == "cpu":
        torch.set_num_threads(1)
    size = next(model for model in recipe.model if model.name == name)
    tokens = np.load(folder / "windows.npy", mmap_mode="r", allow_pickle=False)
    plan = recipe.training
    model_folder = folder / "models" / name
    model_folder.mkdir(parents=True, exist_ok=True)
    with alone(model_folder):
        training.train(
            tokens,
            training.Architecture(
                size.hidden_size,
                size.layers,
                size.heads,
                Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab_size(),
                recipe.data.context,
            ),
            training.Schedule(
                steps=plan.steps,
                batch_windows=plan.batch_windows,
                micro_windows=plan.micro_windows,
                learning_rate=size.learning_rate,
                warmup_steps=plan.warmup_steps,
                weight_decay=plan.weight_decay,
                seed=plan.seed,
                order_seed=recipe.data.seed,
                save_every=plan.save_every,
                precision=plan.precision,
            ),
            model_folder,
            device=device,
            said=said,
        )


def _process(name: str, recipe: str, out: str, device: str) -> BaseProcess:
    return get_context("spawn").Process(
        target=train_size, args=(recipe, name, out, device), daemon=True
    )


def steps_done(folder: Path) -> int:
    """Return how many steps of a size are trained."""
    path = folder / "log.jsonl"
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def claim_folder(recipe: Recipe, size: ModelSize, folder: Path) -> None:
    """Write down how a folder's weights are trained, or check that it is as the recipe says.

    Raises:
        InvalidInputError: they are trained in another way; the message names what differs.
    """
    # Windows at once change rounding only.
    wanted = recipe.training.model_dump(exclude={"micro_windows"}) | size.model_dump()
    path = folder / "train.json"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        _write_json(path, wanted)
        return
    there = json.loads(path.read_text(encoding="utf-8"))
    for name, value in wanted.items():
        if there.get(name) != value:
            raise InvalidInputError(
                f"the weights in {folder} are trained with {name} {there.get(name)}, the recipe "
                f"says {value}",
                "Choose another --out, or put the recipe back",
            )


def is_finished(recipe: Recipe, out: Path, size: ModelSize) -> bool:
    """Return whether a size is trained to its last step."""
    last = out / "models" / size.name / f"step{recipe.training.steps}"
    return (last / "config.json").is_file()


def train_suite(
    recipe_path: Path,
    out: Path,
    *,
    device: str,
    processes: int,
    downloads: Path,
    progress: Progress,
) -> Path:
    """Train every size of a recipe; what an interrupted run finished is kept.

    Sizes train side by side, largest first, one thread each: at these sizes that is faster than
    one trainer with several threads.

    Returns:
        The folder, ready for `quanta suite add`.

    Raises:
        InvalidInputError: a recipe or source that cannot be used.
        QuantaError: a trainer ended early; the message says which, its state is kept.
    """
    recipe = read_recipe(recipe_path)
    report = prepare(recipe, out, downloads, progress)
    for size in recipe.model:
        claim_folder(recipe, size, out / "models" / size.name)
    copy = out / "recipe.toml"
    copy.write_bytes(recipe_path.read_bytes())
    waiting = sorted(
        (m for m in recipe.model if not is_finished(recipe, out, m)),
        key=lambda m: m.layers * m.hidden_size**2,
    )
    arguments = (str(copy), str(out), device)
    start = {m.name: partial(_process, m.name, *arguments) for m in waiting}
    _run_all(recipe, out, start, processes, progress)
    write_suite(recipe, report, out)
    return out


def _run_all(
    recipe: Recipe,
    out: Path,
    start: Mapping[str, Callable[[], BaseProcess]],
    processes: int,
    progress: Progress,
) -> None:
    waiting, running = list(start), dict[str, BaseProcess]()
    folders = [out / "models" / model.name for model in recipe.model]
    total = recipe.training.steps * len(recipe.model)
    done = sum(map(steps_done, folders))
    try:
        with progress.task("train", total=total, unit="steps", done=done) as bar:
            while waiting or running:
                while waiting and len(running) < processes:
                    name = waiting.pop()
                    running[name] = start[name]()
                    running[name].start()
                time.sleep(POLL_S)
                now_done = sum(map(steps_done, folders))
                bar.advance(max(0, now_done - done))
                done = max(done, now_done)
                for name in [n for n, process in running.items() if not process.is_alive()]:
                    if code := running.pop(name).exitcode:
                        raise QuantaError(
                            f"the trainer of {name} ended with code {code}",
                            "Its last state is kept: run the same command again",
                        )
    finally:
        for process in running.values():
            process.terminate()


def write_suite(recipe: Recipe, report: dict[str, Any], out: Path) -> None:
    """Write what `quanta suite add` reads of a trained suite."""
    from compute import training

    plan = recipe.training
    _write_json(
        out / "suite.json",
        {
            "name": recipe.name,
            "description": recipe.description,
            "batch_tokens": plan.batch_windows * (recipe.data.context - 1),
            "steps": training.saved_steps(plan.steps, plan.save_every),
            "context": recipe.data.context,
            "prefix": [0],
            "training": plan.model_dump(),
            "models": [m.model_dump() for m in recipe.model],
            "corpus": report,
            "sources": [
                {k: v for k, v in s.model_dump().items() if k not in {"include", "exclude"}}
                for s in recipe.source
            ],
        },
    )
