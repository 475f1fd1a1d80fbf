"""import_losses, import_labels: what was computed elsewhere."""

from typing import Literal

from pydantic import Field
from sqlalchemy.orm import Session

from backend.jobs.kinds.base import Checked, Cost, JobKind
from backend.schemas import names
from backend.schemas.parameters import CorpusName, File, Name, Parameters
from backend.store import data_files as files
from backend.store.database import Store
from backend.store.lookup import corpus_named


class ImportLossesParameters(Parameters):
    """Losses of models that are not here; files lie below `imports`."""

    file: File = Field(
        title="Losses", description=".npy, predictions × models", examples=["losses.npy"]
    )
    models: File = Field(
        title="Models",
        description="JSON: name, nonembedding_parameters and step of each column",
        examples=["models.json"],
    )
    unit: Literal["nats", "bits"] = Field(title="Unit")
    name: Name = Field(
        title="Name",
        description="Of the suite; without a corpus, of the corpus too",
        examples=["mine"],
    )
    corpus: CorpusName | None = Field(
        None, title="Corpus", description="The stored one whose predictions the rows are"
    )


class ImportLabelsParameters(Parameters):
    """Published cluster labels; files lie below `imports`."""

    file: File = Field(title="Labels", description="JSON by number of clusters")
    name: Name = Field(title="Name", description="Of the clusterings and their corpus")
    contexts: File | None = Field(
        None, title="Contexts", description="JSON; without it members are known by index only"
    )


def _losses(store: Store, session: Session, asked: ImportLossesParameters) -> Checked:
    names.check(asked.name, "name")
    return {
        "file": files.known(store, asked.file, "file"),
        "models": files.known(store, asked.models, "models"),
        "unit": asked.unit,
        "name": asked.name,
        "corpus": corpus_named(session, asked.corpus).name if asked.corpus else None,
    }


def _labels(store: Store, session: Session, asked: ImportLabelsParameters) -> Checked:
    names.check(asked.name, "name")
    return {
        "file": files.known(store, asked.file, "file"),
        "contexts": files.known(store, asked.contexts, "contexts") if asked.contexts else None,
        "name": asked.name,
    }


def _cost(store: Store, session: Session, parameters: Checked) -> Cost:
    return Cost(1, float(files.size_of(store, parameters["file"])), "bytes")


IMPORT_LOSSES = JobKind(
    name="import_losses",
    title="Import of losses",
    summary="Losses that were computed elsewhere, as a suite without weights.",
    unit="stages",
    schema=ImportLossesParameters,
    check=_losses,
    cost=_cost,
)
IMPORT_LABELS = JobKind(
    name="import_labels",
    title="Import of labels",
    summary="Cluster labels that were published, as clusterings.",
    unit="stages",
    schema=ImportLabelsParameters,
    check=_labels,
    cost=_cost,
)
