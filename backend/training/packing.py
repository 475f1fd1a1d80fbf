"""`quanta suite pack`: copy the parts of a trained suite worth sharing, with their licences."""

import json
import re
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt64
from tokenizers import Tokenizer

from backend.errors import InvalidInputError
from backend.progress import Progress
from backend.training.recipe import Recipe, read_recipe
from backend.training.sources import iter_archive_files

# About a line of text: shorter passages are phrases common to many documents.
PASSAGE_TOKENS = 32
ROWS_AT_ONCE = 1 << 13
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
# The top folder of a source archive, or of a Debian package's documentation.
_LICENCE = re.compile(
    r"(?:[^/]+/(?:LICEN[CS]ES?|COPYING|COPYRIGHTS?)(?:[._-]\w+)*(?:/LICEN[CS]E)?"
    r"|usr/share/doc/[^/]+/copyright(?:\.html)?)",
    re.IGNORECASE,
)


def passage_hashes(
    tokens: np.ndarray[Any, np.dtype[np.uint16]],
) -> UInt64[np.ndarray, "rows passages"]:
    """Return a hash of every passage of `PASSAGE_TOKENS` tokens inside each row, modulo 2^64."""
    n_passages = tokens.shape[1] - PASSAGE_TOKENS + 1
    hashes = np.zeros((len(tokens), max(n_passages, 0)), np.uint64)
    if n_passages > 0:
        for k in range(PASSAGE_TOKENS):
            hashes *= _FACTOR
            hashes += tokens[:, k : k + n_passages] + np.uint64(1)
    # The low bits of a sum of odd multiples vary little, so mix in the high bits.
    mixed: UInt64[np.ndarray, "rows passages"] = hashes ^ (hashes >> np.uint64(31))
    return mixed


def passages_in_training(folder: Path) -> list[Bool[np.ndarray, " passages"]]:
    """Return a mask per held-out window of its passages that occur in a training window.

    A passage is `PASSAGE_TOKENS` tokens in a row; passages that cross the end of a training window
    are ignored. Equal hashes count as equal passages; a false match has probability 2^-64.
    """
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    with (folder / "documents.jsonl").open(encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    encoded = tokenizer.encode_batch(texts, add_special_tokens=False)
    held_out = [passage_hashes(np.array([e.ids], np.uint16))[0] for e in encoded]
    held_out_hashes = np.unique(np.concatenate(held_out))
    in_training = np.zeros(len(held_out_hashes), bool)
    windows = np.load(folder / "windows.npy", mmap_mode="r", allow_pickle=False)
    for start in range(0, len(windows), ROWS_AT_ONCE):
        hashes = passage_hashes(windows[start : start + ROWS_AT_ONCE]).ravel()
        at = np.minimum(np.searchsorted(held_out_hashes, hashes), len(held_out_hashes) - 1)
        in_training[at[held_out_hashes[at] == hashes]] = True
    return [in_training[np.searchsorted(held_out_hashes, hashes)] for hashes in held_out]


def pack(
    folder: Path, out: Path, keep: Mapping[str, str], downloads: Path, progress: Progress
) -> dict[str, Any]:
    """Copy the final weights and selected steps of a suite, its held-out text and its licences.

    `folder` is the output of `quanta suite train`, `out` the new folder, `downloads` the folder of
    the downloaded packages. `keep` maps a model to "all" or comma-separated steps to copy besides
    the last one. Return the content of `out/suite.json`.

    Raises:
        InvalidInputError: training is not finished, a model or step is unknown, `out` has files,
            or a package has no licence file.
    """
    recipe = read_recipe(folder / "recipe.toml")
    if out.exists() and any(out.iterdir()):
        raise InvalidInputError(f"{out} is not empty", "Choose another folder")
    steps = _selected_steps(recipe, folder, keep)
    description: dict[str, Any] = json.loads((folder / "suite.json").read_text(encoding="utf-8"))
    with progress.task("compare held-out with training text", total=1, unit="suites") as bar:
        in_training = passages_in_training(folder)
        bar.advance()
    description["held_out"] = {
        "windows": len(in_training),
        "passage_tokens": PASSAGE_TOKENS,
        "passages": sum(map(len, in_training)),
        "passages_in_training": int(sum(window.sum() for window in in_training)),
        "windows_wholly_in_training": sum(bool(len(w)) and bool(w.all()) for w in in_training),
    }
    description["models"] = [m | {"steps": steps[m["name"]]} for m in description["models"]]
    out.mkdir(parents=True, exist_ok=True)
    write_licences(recipe, folder, out, downloads, progress)
    for model, chosen in steps.items():
        for step in chosen:
            name = f"step{step}"
            shutil.copytree(folder / "models" / model / name, out / "models" / model / name)
    for name in ("recipe.toml", "tokenizer.json", "documents.jsonl"):
        shutil.copy(folder / name, out / name)
    (out / "suite.json").write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
    return description


def _selected_steps(recipe: Recipe, folder: Path, keep: Mapping[str, str]) -> dict[str, list[int]]:
    names = [model.name for model in recipe.model]
    if unknown := sorted(set(keep) - set(names)):
        raise InvalidInputError(
            f"the recipe has no model {unknown[0]!r}", f"Choose from {', '.join(names)}"
        )
    return {
        name: _parse_steps(recipe, folder / "models" / name, keep.get(name, "")) for name in names
    }


def _parse_steps(recipe: Recipe, folder: Path, requested: str) -> list[int]:
    available = sorted(int(p.name.removeprefix("step")) for p in folder.glob("step*[0-9]"))
    if recipe.training.steps not in available:
        raise InvalidInputError(
            f"{folder} has no step {recipe.training.steps}", "Run `quanta suite train` to the end"
        )
    if requested == "all":
        return available
    chosen = {recipe.training.steps}
    for word in filter(None, requested.split(",")):
        if not word.isdecimal() or int(word) not in available:
            raise InvalidInputError(
                f"{folder.name} has no step {word!r}",
                f"Choose from {', '.join(map(str, available))}, or all",
            )
        chosen.add(int(word))
    return sorted(chosen)


def write_licences(
    recipe: Recipe, folder: Path, out: Path, downloads: Path, progress: Progress
) -> None:
    """Write one file of licence texts per package, and the table of sources."""
    with (folder / "documents.jsonl").open(encoding="utf-8") as lines:
        held_out = Counter(json.loads(line)["source"] for line in lines)
    (out / "licenses").mkdir()
    rows = ["| source | package | kind | held-out windows | licence | file |", "|" + "---|" * 6]
    file_names: dict[str, str] = {}
    with progress.task("read licences", total=len(recipe.source), unit="sources") as bar:
        for source in recipe.source:
            package = f"{source.package} {source.version}".strip()
            if source.kind != "folder" and package not in file_names:
                texts = [
                    data.decode("utf-8", "replace")
                    for path, data in iter_archive_files(source, downloads)
                    if _LICENCE.fullmatch(path)
                ]
                if not texts:
                    raise InvalidInputError(
                        f"source {source.name}: {package} has no licence file",
                        "Choose another package, or pack the suite by hand",
                    )
                file_names[package] = f"{source.package.replace('/', '-')}.txt"
                text = "\n\n".join(text.strip() for text in texts) + "\n"
                (out / "licenses" / file_names[package]).write_text(text, encoding="utf-8")
            rows.append(
                f"| {source.name} | {package} ({source.kind}) | {source.category} "
                f"| {held_out[source.name]} | {source.license} | `{file_names.get(package, '')}` |"
            )
            bar.advance()
    (out / "SOURCES.md").write_text("\n".join(rows) + "\n", encoding="utf-8")
