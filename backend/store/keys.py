"""Content keys: the hash of a result's inputs, parameters and code version."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Increase a stage's version when its numbers change; old results are kept under their old keys.
VERSIONS = {
    "corpus": 1,
    "evaluation": 1,
    "measures": 1,
    "target_loss": 1,
    "job": 1,
    "selection": 1,
    "similarity": 1,
    "discovery": 1,
    "clustering": 1,
    "curve_set": 3,
    "imported_losses": 1,
    "imported_labels": 1,
    "experiment": 1,
}
# Parameters that were renamed: new name -> name in the key, so that stored results stay valid.
_NAMES_IN_KEYS = {"eval_every": "look_every", "max_loss_nats": "threshold_nats"}
_BLOCK = 1 << 20


def result_key(stage: str, **inputs: Any) -> str:
    """Return the key of a stage's result: sha256 over canonical JSON of its inputs."""
    document = {"stage": stage, "version": VERSIONS[stage], "inputs": _with_key_names(inputs)}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _with_key_names(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {_NAMES_IN_KEYS.get(name, name): _with_key_names(inner) for name, inner in value.items()}


def bytes_key(data: bytes) -> str:
    """Return the sha256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def files_key(paths: list[Path]) -> str:
    """Return one sha256 over the names and contents of files."""
    digest = hashlib.sha256()
    for path in sorted(paths, key=lambda p: p.name):
        digest.update(f"{path.name}:{path.stat().st_size}:".encode())
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()
