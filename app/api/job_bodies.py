"""Request bodies of jobs, one for each kind of the registry."""

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from backend.experiments.registry import KINDS as EXPERIMENTS
from backend.jobs.kinds.base import JobKind
from backend.jobs.kinds.registry import KINDS
from backend.read.job_views import Requires


class KindView(BaseModel):
    """A kind of job: its result, the unit of its progress, and the schema of its parameters."""

    name: str
    title: str
    summary: str
    unit: str
    parameters: dict[str, Any]


class KindList(BaseModel):
    """All kinds of jobs."""

    kinds: list[KindView]


_EXAMPLES: dict[str, dict[str, Any]] = {
    "evaluate": {"suite": "mini", "corpus": "demo", "models": ["s1", "s2"]},
    "classify": {"suite": "mini", "corpus": "demo"},
    "discover": {"suite": "mini", "corpus": "demo", "n_clusters": [10, 20, 50]},
    "measure": {"corpus": "demo", "document": 0, "target": "⏎", "checkpoints": "final"},
    "paste": {"text": "one two three four\n"},
    "add_corpus": {"name": "mine", "files": ["mine.jsonl"], "tokenizer": "mini"},
    "train_suite": {"recipe": "recipe.toml"},
    "import_losses": {
        "file": "losses.npy",
        "models": "models.json",
        "unit": "nats",
        "name": "theirs",
    },
    "import_labels": {"file": "labels.json", "name": "published"},
    "export": {"what": "losses", "suite": "mini", "corpus": "demo", "format": "parquet"},
}
RequiresField = Annotated[
    Requires,
    Field(description="`cuda`: only a worker with a GPU runs it; equal jobs may differ in it"),
]


def _first_preset(kind: str) -> dict[str, Any] | None:
    return EXPERIMENTS[kind].presets[0].parameters if kind in EXPERIMENTS else None


class JobBody(BaseModel):
    """A job to run; common to all kinds."""

    model_config = ConfigDict(extra="forbid")

    kind: str
    parameters: Any
    requires: RequiresField = "any"


def _body_of(kind: JobKind) -> type[JobBody]:
    """Return the body of requests for one kind of job."""
    example = _EXAMPLES.get(kind.name) or _first_preset(kind.name)
    fields: dict[str, Any] = {
        "kind": (Literal[kind.name], ...),
        "parameters": (kind.schema, ...),
    }
    body: type[JobBody] = create_model(
        "".join(part.title() for part in kind.name.split("_")) + "Job",
        __base__=JobBody,
        __doc__=kind.summary,
        **fields,
    )
    if example is not None:
        extra: Any = {"examples": [{"kind": kind.name, "parameters": example}]}
        body.model_config = {**body.model_config, "json_schema_extra": extra}
        body.model_rebuild(force=True)
    return body


if TYPE_CHECKING:
    AnyJob = JobBody
else:
    # Made from the registry, so that a new kind is documented too.
    AnyJob = Annotated[
        reduce(or_, (_body_of(kind) for kind in KINDS.values())), Field(discriminator="kind")
    ]


def kind_list() -> KindList:
    """Return all kinds with their schemas."""
    return KindList(
        kinds=[
            KindView(
                name=kind.name,
                title=kind.title,
                summary=kind.summary,
                unit=kind.unit,
                parameters=kind.schema.model_json_schema(),
            )
            for kind in KINDS.values()
        ]
    )
