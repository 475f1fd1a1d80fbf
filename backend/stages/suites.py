"""Registering a suite: a folder of checkpoints, every file checked before anything is stored.

Layout: `DIR/MODEL/stepS/` or `DIR/models/MODEL/stepS/`, each step what `save_pretrained` writes;
`DIR/tokenizer.json` for all, or one in every step folder.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend import names
from backend.db import Store
from backend.errors import InvalidInputError
from backend.keys import bytes_key, files_key
from backend.models import Checkpoint, Model, Suite
from backend.stages.progress import Progress
from backend.tokens import parse_tokenizer

STEP_FOLDER = re.compile(r"step(\d{1,9})")
# Vocabularies are padded for speed, Pythia's to multiples of 128 or 512; more than this is
# another tokenizer's.
PADDING_MULTIPLE = 1_024


@dataclass(frozen=True)
class _Found:
    model: str
    step: int
    folder: Path


@dataclass(frozen=True)
class _Checked:
    found: _Found
    key: str
    config: dict[str, Any]
    parameters: int
    nonembedding: int


def _find(folder: Path) -> list[_Found]:
    root = folder / "models" if (folder / "models").is_dir() else folder
    found = [
        _Found(model.name, int(match[1]), step)
        for model in sorted(root.iterdir())
        if model.is_dir()
        for step in sorted(model.iterdir())
        if step.is_dir() and (match := STEP_FOLDER.fullmatch(step.name))
    ]
    if not found:
        raise InvalidInputError(
            f"{folder} holds no MODEL/stepS folder",
            "Put each checkpoint into DIR/MODEL/stepS, as save_pretrained writes it",
        )
    return found


def _tokenizer_files(folder: Path, found: list[_Found]) -> list[Path]:
    candidates = [folder / "tokenizer.json", *(f.folder / "tokenizer.json" for f in found)]
    present = [path for path in candidates if path.is_file()]
    if not present:
        raise InvalidInputError(
            f"{folder / 'tokenizer.json'} is missing", "Copy the tokenizer.json of the models there"
        )
    return present


def _shared_tokenizer(folder: Path, found: list[_Found]) -> tuple[str, int]:
    """Return (key, vocabulary size) of the one tokenizer of all checkpoints."""
    files = _tokenizer_files(folder, found)
    keys = {path: bytes_key(path.read_bytes()) for path in files}
    for path, key in keys.items():
        if key != keys[files[0]]:
            raise InvalidInputError(
                f"{path} differs from {files[0]}: the checkpoint has another tokenizer",
                "A suite has one tokenizer; register the others as a suite of their own",
            )
    tokenizer = parse_tokenizer(files[0].read_bytes())
    return keys[files[0]], tokenizer.get_vocab_size(with_added_tokens=True)


def _check_vocabulary(folder: Path, rows: Any, size: int) -> None:
    most = -(-size // PADDING_MULTIPLE) * PADDING_MULTIPLE
    if not isinstance(rows, int) or not size <= rows <= most:
        raise InvalidInputError(
            f"{folder}: vocab_size is {rows}, the tokenizer has {size} entries "
            f"(padded at most {most})",
            "Use the tokenizer that the model was trained with",
        )


def _checked(found: _Found, vocabulary_size: int) -> _Checked:
    from compute import checkpoints

    try:
        config = checkpoints.read_config(found.folder)
        _check_vocabulary(found.folder, config.get("vocab_size"), vocabulary_size)
        checkpoints.check_weights(found.folder)
        counts = checkpoints.counts_of_config(found.folder)
    except checkpoints.CheckpointError as error:
        raise InvalidInputError(str(error), "Nothing was registered") from error
    files = [found.folder / "config.json", *checkpoints.weight_files(found.folder)]
    return _Checked(found, files_key(files), config, counts.total, counts.nonembedding)


def _tokens_a_step(folder: Path) -> int | None:
    path = folder / "suite.json"
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8")).get("batch_tokens")
    except (ValueError, AttributeError) as error:
        raise InvalidInputError(
            f"{path} is not JSON of an object ({error})", "Correct the file, or leave it out"
        ) from error
    return value if isinstance(value, int) else None


def _suite_row(session: Session, name: str, description: str, tokenizer_key: str) -> Suite:
    suite = session.scalars(select(Suite).where(Suite.name == name)).one_or_none()
    if suite is None:
        suite = Suite(name=name, description=description, tokenizer_key=tokenizer_key)
        session.add(suite)
    if suite.tokenizer_key != tokenizer_key:
        raise InvalidInputError(
            f"suite {name} is registered with another tokenizer", "Choose another name", "name"
        )
    return suite


def _model_row(session: Session, suite: Suite, item: _Checked) -> Model:
    name = names.check(item.found.model, "model name")
    for model in suite.models:
        if model.name == name:
            return model
    model = Model(
        suite=suite,
        name=name,
        parameters=item.parameters,
        nonembedding_parameters=item.nonembedding,
        config=item.config,
    )
    session.add(model)
    session.flush()
    return model


def _add_checkpoint(model: Model, item: _Checked, tokens_a_step: int | None) -> None:
    step, location = item.found.step, str(item.found.folder.resolve())
    for known in model.checkpoints:
        if known.step == step and known.key != item.key:
            raise InvalidInputError(
                f"{model.name} step {step} is registered with other weights",
                "Register changed weights under another suite name",
            )
        if known.step == step:
            known.location = location  # the folder may have moved; the weights are the same
            return
    model.checkpoints.append(
        Checkpoint(
            step=step,
            tokens_seen=None if tokens_a_step is None else tokens_a_step * step,
            key=item.key,
            location=location,
        )
    )


def add_suite(store: Store, folder: Path, name: str, description: str, progress: Progress) -> Suite:
    """Register all checkpoints of a folder; new steps of a known suite are added to it.

    Raises:
        InvalidInputError: a file is missing or damaged, weights are not finite, or a checkpoint
            has another tokenizer's vocabulary; nothing is registered.
    """
    names.check(name, "suite name")
    if not folder.is_dir():
        raise InvalidInputError(f"{folder} is not a folder", "Give the folder of the suite")
    found = _find(folder)
    tokenizer_key, size = _shared_tokenizer(folder, found)
    checked = []
    with progress.task(f"check {name}", total=len(found), unit="checkpoints") as bar:
        for item in found:
            checked.append(_checked(item, size))
            bar.advance()
    with store.begin() as session:
        suite = _suite_row(session, name, description, tokenizer_key)
        for item_checked in checked:
            model = _model_row(session, suite, item_checked)
            _add_checkpoint(model, item_checked, _tokens_a_step(folder))
    return suite
