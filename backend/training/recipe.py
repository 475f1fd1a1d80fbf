"""Recipes: the full definition of a trained suite in one reproducible TOML file."""

import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from backend.errors import InvalidInputError
from backend.schemas.names import PATTERN

Positive = Annotated[int, Field(ge=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Name = Annotated[str, Field(pattern=PATTERN)]
"""Names are used as folders and in URLs."""


class Source(_Part):
    """One package of text under one licence."""

    name: Name
    kind: Literal["pypi", "npm", "debian", "folder"]
    package: str
    version: str = ""
    file: Annotated[str, Field(pattern=r"^[^/\\]*$")] = ""
    """File name in the registry (pypi: a source archive or wheel)."""
    sha256: str = ""
    license: str
    category: Literal["prose", "code", "markup", "tables"]
    include: tuple[str, ...]
    """Glob patterns inside the package; `**` crosses folders."""
    exclude: tuple[str, ...] = ()
    format: Literal["text", "html", "dict", "r-lines"] = "text"
    max_bytes: Positive = 1 << 40
    document_bytes: Positive = 1 << 18
    """Longer files are split at line ends into documents of about this size."""

    @model_validator(mode="after")
    def _check_sha256(self) -> "Source":
        if self.kind != "folder" and not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ValueError(f"source {self.name}: a {self.kind} package needs its sha256")
        return self


class Data(_Part):
    """Tokenizer and windows."""

    vocabulary_size: Annotated[int, Field(ge=300, le=1 << 16)]
    context: Annotated[int, Field(ge=8, le=1 << 16)]
    seed: int = 0
    held_out_share: Annotated[float, Field(gt=0, lt=0.5)] = 0.04
    held_out_windows: Positive = 800
    near_duplicate: Annotated[float, Field(gt=0, le=1)] = 0.7
    """Minimum Jaccard similarity of 5-word shingles to drop the later document."""
    tokenizer_bytes: Positive = 64 << 20


class Training(_Part):
    """Training settings shared by all sizes."""

    steps: Positive
    batch_windows: Positive
    micro_windows: Positive = 8
    warmup_steps: Positive = 1
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    seed: int = 0
    save_every: Positive
    precision: Literal["auto", "float32", "bfloat16"] = "auto"


class ModelSize(_Part):
    """One model size."""

    name: Name
    hidden_size: Positive
    layers: Positive
    heads: Positive
    learning_rate: Annotated[float, Field(gt=0)]


class Recipe(_Part):
    """The recipe of a suite."""

    name: Name
    description: str
    data: Data
    training: Training
    source: Annotated[tuple[Source, ...], Field(min_length=1)]
    model: Annotated[tuple[ModelSize, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _check_names_and_heads(self) -> "Recipe":
        for kind, parts in (("model", self.model), ("source", self.source)):
            names = [part.name for part in parts]
            duplicate = next((n for n in names if names.count(n) > 1), None)
            if duplicate is not None:
                raise ValueError(f"{kind} {duplicate!r} is named twice")
        for model in self.model:
            if model.hidden_size % (2 * model.heads):
                raise ValueError(
                    f"model {model.name}: hidden_size {model.hidden_size} is not a multiple of "
                    f"twice its {model.heads} heads"
                )
        return self


MAX_BYTES = 1 << 20


def read_recipe(path: Path) -> Recipe:
    """Read and validate a recipe.

    Raises:
        InvalidInputError: no such file, invalid TOML, or a field that is missing, unknown or out
            of range; the message names it.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise InvalidInputError(
                f"{path.name} has more than {MAX_BYTES:,} bytes", "Give a recipe.toml"
            )
        return Recipe.model_validate(tomllib.loads(data.decode()))
    except OSError as error:
        raise InvalidInputError(
            f"{path} cannot be read ({error.strerror})", "Give a recipe.toml"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInputError(
            f"{path} is not TOML ({error})", "Correct the line it names"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        location = ".".join(str(part) for part in first["loc"]) or "the recipe"
        raise InvalidInputError(
            f"{path}: {location}: {first['msg']}",
            "Correct that field; the bundled recipe shows all of them",
        ) from error
