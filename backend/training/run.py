"""`quanta suite train`: build the folder of a suite from a recipe, for `quanta suite add`."""

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
from backend.training.sources import iter_source_files

POLL_SECONDS = 0.5


def _prepared_key(recipe: Recipe) -> str:
    parts = {"data": recipe.data.model_dump(), "source": [s.model_dump() for s in recipe.source]}
    return bytes_key(json.dumps(parts, sort_keys=True).encode())


def prepare(recipe: Recipe, out: Path, downloads: Path, progress: Progress) -> dict[str, Any]:
    """Fetch, clean, split and tokenise the text of a recipe; return the corpus report.

    Raises:
        InvalidInputError: `out` contains the text of another recipe.
    """
    out.mkdir(parents=True, exist_ok=True)
    report_path, key = out / "corpus.json", _prepared_key(recipe)
    if report_path.is_file():
        report: dict[str, Any] = json.loads(report_path.read_text(encoding="utf-8"))
        if report["key"] != key:
            raise InvalidInputError(
                f"{out} contains the text of another recipe", "Choose another --out"
            )
        return report
    documents = []
    with progress.task("read sources", total=len(recipe.source), unit="sources") as bar:
        for source in recipe.source:
            documents += cleaning.clean_documents(list(iter_source_files(source, downloads)))
            bar.advance()
    distinct_documents = cleaning.drop_near_duplicates(documents, recipe.data.near_duplicate)
    parts = windows.split(distinct_documents, recipe.data)
    if not parts.training or not parts.held_out:
        raise InvalidInputError(
            f"{len(distinct_documents)} documents leave {len(parts.training)} for training and "
            f"{len(parts.held_out)} held out",
            "Add text, or change held_out_share",
        )
    held_out = windows.held_out_windows(parts, recipe.data)
    windows.write_json_lines(out / "documents.jsonl", held_out)
    tokenizer = windows.train_tokenizer(parts.training, recipe.data)
    tokenizer.save(str(out / "tokenizer.json"))
    path = out / "windows.npy"
    tokens = windows.write_training_windows(parts.training, tokenizer, recipe.data, path)
    report = {
        "key": key,
        "documents": len(documents),
        "near_duplicates": len(documents) - len(distinct_documents),
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
    """Exit at the end of a step if the parent process has ended."""
    parent = parent_process()
    if parent is not None and not parent.is_alive():
        raise SystemExit(0)


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Lock a folder for one trainer; an orphaned trainer holds the lock until its step ends."""
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
    """Train one size, on one thread of a CPU; `said` is called after every step."""
    import torch
    from transformers.utils import logging

    from compute import training

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # one bar per weight file
    recipe, folder = read_recipe(Path(recipe_path)), Path(out)
    if device == "cpu":
        torch.set_num_threads(1)
    size = next(model for model in recipe.model if model.name == name)
    tokens = np.load(folder / "windows.npy", mmap_mode="r", allow_pickle=False)
    model_folder = folder / "models" / name
    model_folder.mkdir(parents=True, exist_ok=True)
    with lock_folder(model_folder):
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
                **recipe.training.model_dump(),
                learning_rate=size.learning_rate,
                order_seed=recipe.data.seed,
            ),
            model_folder,
            device=device,
            on_step=said,
        )


def _process(name: str, recipe: str, out: str, device: str) -> BaseProcess:
    arguments = (recipe, name, out, device)
    return get_context("spawn").Process(target=train_size, args=arguments, daemon=True)


def count_trained_steps(folder: Path) -> int:
    """Return the number of trained steps of a size."""
    path = folder / "log.jsonl"
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def claim_folder(recipe: Recipe, size: ModelSize, folder: Path) -> None:
    """Record the training settings of a folder, or check that they match the recipe.

    Raises:
        InvalidInputError: a setting differs; the message names it.
    """
    # The micro-batch size changes rounding only.
    settings = recipe.training.model_dump(exclude={"micro_windows"}) | size.model_dump()
    path = folder / "train.json"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        _write_json(path, settings)
        return
    existing = json.loads(path.read_text(encoding="utf-8"))
    for name, value in settings.items():
        if existing.get(name) != value:
            raise InvalidInputError(
                f"the weights in {folder} were trained with {name} {existing.get(name)}, the "
                f"recipe says {value}",
                "Choose another --out, or restore the recipe",
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
    """Train every size of a recipe, resuming an interrupted run.

    Sizes train in parallel, largest first, one thread each, which at these sizes is faster than one
    trainer with several threads.

    Returns:
        The folder, ready for `quanta suite add`.

    Raises:
        InvalidInputError: an invalid recipe or source.
        QuantaError: a trainer crashed; the message names it, and its state is kept.
    """
    recipe = read_recipe(recipe_path)
    report = prepare(recipe, out, downloads, progress)
    for size in recipe.model:
        claim_folder(recipe, size, out / "models" / size.name)
    copy = out / "recipe.toml"
    copy.write_bytes(recipe_path.read_bytes())
    pending = sorted(
        (m for m in recipe.model if not is_finished(recipe, out, m)),
        key=lambda m: m.layers * m.hidden_size**2,
    )
    arguments = (str(copy), str(out), device)
    start = {m.name: partial(_process, m.name, *arguments) for m in pending}
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
    pending, running = list(start), dict[str, BaseProcess]()
    folders = [out / "models" / model.name for model in recipe.model]
    total = recipe.training.steps * len(recipe.model)
    done = sum(map(count_trained_steps, folders))
    try:
        with progress.task("train", total=total, unit="steps", done=done) as bar:
            while pending or running:
                while pending and len(running) < processes:
                    name = pending.pop()
                    running[name] = start[name]()
                    running[name].start()
                time.sleep(POLL_SECONDS)
                now_done = sum(map(count_trained_steps, folders))
                bar.advance(max(0, now_done - done))
                done = max(done, now_done)
                for name in [n for n, process in running.items() if not process.is_alive()]:
                    if code := running.pop(name).exitcode:
                        raise QuantaError(
                            f"the trainer of {name} exited with code {code}",
                            "Its last state is kept; run the same command again",
                        )
    finally:
        for process in running.values():
            process.terminate()


def write_suite(recipe: Recipe, report: dict[str, Any], out: Path) -> None:
    """Write the `suite.json` that `quanta suite add` reads."""
    from compute import training

    schedule = recipe.training
    _write_json(
        out / "suite.json",
        {
            "name": recipe.name,
            "description": recipe.description,
            "batch_tokens": schedule.batch_windows * (recipe.data.context - 1),
            "steps": training.checkpoint_steps(schedule.steps, schedule.save_every),
            "context": recipe.data.context,
            "prefix": [0],
            "training": schedule.model_dump(),
            "models": [m.model_dump() for m in recipe.model],
            "corpus": report,
            "sources": [
                {k: v for k, v in s.model_dump().items() if k not in {"include", "exclude"}}
                for s in recipe.source
            ],
        },
    )
