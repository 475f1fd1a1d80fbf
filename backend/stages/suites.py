"""Registration of a suite from a folder of checkpoints; every file is checked before any is stored.

Layout: `DIR/MODEL/stepS/` or `DIR/models/MODEL/stepS/`, each step what `save_pretrained` writes
(`checkpoint-S`, as trainers name it, is a step too), and `DIR/tokenizer.json` for all, or one in
every step folder. A model without step folders, `DIR/MODEL/`, is one checkpoint: its step is the
one that `DIR/suite.json` gives, `{"steps": {"MODEL": 143000}, "batch_tokens": 2097152}`, else 0,
its training tokens unknown. `DIR/` may be one such model itself.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.errors import InvalidInputError
from backend.progress import Progress
from backend.read.tokens import parse_tokenizer
from backend.schemas import names
from backend.stages.corpora import stored_tokenizer
from backend.stages.register import CheckpointFacts, add_checkpoint, check_vocabulary, suite_row
from backend.store.database import Store
from backend.store.keys import bytes_key, files_key
from backend.store.tables import Suite

STEP_FOLDER = re.compile(r"(?:step|checkpoint-)(\d{1,9})")
MAX_COUNT = 10**12  # steps, and tokens a step


@dataclass(frozen=True)
class _CheckpointFolder:
    model: str
    step: int | None  # None: the folder's name has none
    folder: Path


@dataclass(frozen=True)
class _SuiteFacts:
    """Content of `suite.json`: tokens per step, and steps of models without step folders."""

    batch_tokens: int | None
    steps: dict[str, int]

    def step_of(self, source: _CheckpointFolder) -> int:
        return self.steps.get(source.model, 0) if source.step is None else source.step


def _model_folders(folder: Path, name: str) -> list[_CheckpointFolder]:
    steps = [
        _CheckpointFolder(name, int(match[1]), step)
        for step in sorted(folder.iterdir())
        if step.is_dir() and (match := STEP_FOLDER.fullmatch(step.name))
    ]
    if steps:
        return steps
    return [_CheckpointFolder(name, None, folder)] if (folder / "config.json").is_file() else []


def _checkpoint_folders(folder: Path) -> list[_CheckpointFolder]:
    root = folder / "models" if (folder / "models").is_dir() else folder
    # The folder of one model is a suite of one.
    models = [root] if (root / "config.json").is_file() else sorted(root.iterdir())
    sources = [
        source
        for model in models
        if model.is_dir()
        for source in _model_folders(model, model.resolve().name)
    ]
    if not sources:
        raise InvalidInputError(
            f"{folder} holds no MODEL/stepS folder and no MODEL folder with a config.json",
            "Put each checkpoint into DIR/MODEL/stepS, or one into DIR/MODEL, as save_pretrained "
            "writes it",
        )
    return sources


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_COUNT


def _suite_facts(folder: Path) -> _SuiteFacts:
    path = folder / "suite.json"
    if not path.is_file():
        return _SuiteFacts(None, {})
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        batch_tokens, steps = document.get("batch_tokens"), document.get("steps", {})
    except (ValueError, AttributeError) as error:
        raise InvalidInputError(
            f"{path} is not JSON of an object ({error})", "Correct the file, or leave it out"
        ) from error
    # Other files of that name may use `steps` for something else.
    by_model = steps if isinstance(steps, dict) else {}
    return _SuiteFacts(
        batch_tokens if _is_count(batch_tokens) else None,
        {str(model): step for model, step in by_model.items() if _is_count(step)},
    )


def _tokenizer_files(folder: Path, sources: list[_CheckpointFolder]) -> list[Path]:
    candidates = [folder / "tokenizer.json", *(f.folder / "tokenizer.json" for f in sources)]
    present = [path for path in candidates if path.is_file()]
    if not present:
        raise InvalidInputError(
            f"{folder / 'tokenizer.json'} is missing", "Copy the tokenizer.json of the models there"
        )
    return present


def _shared_tokenizer(folder: Path, sources: list[_CheckpointFolder]) -> tuple[bytes, int]:
    """Return (tokenizer.json, vocabulary size) of the one tokenizer of all checkpoints."""
    files = _tokenizer_files(folder, sources)
    keys = {path: bytes_key(path.read_bytes()) for path in files}
    for path, key in keys.items():
        if key != keys[files[0]]:
            raise InvalidInputError(
                f"{path} differs from {files[0]}: the checkpoint has another tokenizer",
                "A suite has one tokenizer; register the others as a suite of their own",
            )
    data = files[0].read_bytes()
    return data, parse_tokenizer(data).get_vocab_size(with_added_tokens=True)


def _check_checkpoint(
    source: _CheckpointFolder, vocabulary_size: int, facts: _SuiteFacts
) -> CheckpointFacts:
    from compute import checkpoints

    try:
        config = checkpoints.read_config(source.folder)
        check_vocabulary(str(source.folder), config.get("vocab_size"), vocabulary_size)
        checkpoints.check_weights(source.folder)
        counts = checkpoints.parameter_counts_from_config(source.folder)
    except checkpoints.CheckpointError as error:
        raise InvalidInputError(str(error), "Nothing was registered") from error
    files = [source.folder / "config.json", *checkpoints.weight_files(source.folder)]
    step = facts.step_of(source)
    is_known = source.step is not None or source.model in facts.steps
    return CheckpointFacts(
        model=source.model,
        step=step,
        location=str(source.folder.resolve()),
        key=files_key(files),
        config=config,
        parameters=counts.total,
        nonembedding=counts.nonembedding,
        tokens_seen=facts.batch_tokens * step if facts.batch_tokens and is_known else None,
    )


def add_suite(store: Store, folder: Path, name: str, description: str, progress: Progress) -> Suite:
    """Register all checkpoints of a folder; a registered suite gets the steps that it lacks.

    Raises:
        InvalidInputError: a file is missing or damaged, weights are not finite, or a checkpoint
            has another tokenizer's vocabulary; nothing is registered.
    """
    names.check(name, "suite name")
    if not folder.is_dir():
        raise InvalidInputError(f"{folder} is not a folder", "Give the folder of the suite")
    sources = _checkpoint_folders(folder)
    data, size = _shared_tokenizer(folder, sources)
    facts = _suite_facts(folder)
    checkpoints = []
    with progress.task(f"check {name}", total=len(sources), unit="checkpoints") as bar:
        for source in sources:
            checkpoints.append(_check_checkpoint(source, size, facts))
            bar.advance()
    with store.begin() as session:
        tokenizer = stored_tokenizer(session, data, parse_tokenizer(data))
        suite = suite_row(session, name, description, tokenizer.key)
        for checkpoint in checkpoints:
            add_checkpoint(session, suite, checkpoint)
    return suite
