"""import_losses: losses that were computed elsewhere, as a suite without weights."""

from typing import Literal

from pydantic import Field
from sqlalchemy.orm import Session

from backend.jobs.kinds.base import JobKind, JobParams, JobResult, Task, file_cost
from backend.jobs.kinds.plans import sequential_plan
from backend.schemas import names
from backend.schemas.parameters import CorpusName, File, Name, Parameters
from backend.store import data_files as files
from backend.store.database import Store
from backend.store.lookup import corpus_named


class ImportLossesParameters(Parameters):
    """Losses of models that are not here; files are below `imports`."""

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
        None, title="Corpus", description="Stored corpus that the rows are predictions of"
    )


def _validate(store: Store, session: Session, request: ImportLossesParameters) -> JobParams:
    names.check(request.name, "name")
    return {
        "file": files.describe_file(store, request.file, "file"),
        "models": files.describe_file(store, request.models, "models"),
        "unit": request.unit,
        "name": request.name,
        "corpus": corpus_named(session, request.corpus).name if request.corpus else None,
    }


def _perform(task: Task) -> JobResult:
    from backend.exchange.losses import LossesSpec, import_losses

    params = task.params
    spec = LossesSpec(
        files.verify_file(task.store, params["file"], "file"),
        files.verify_file(task.store, params["models"], "models"),
        params["unit"],
        params["name"],
        params["corpus"],
    )
    imported = import_losses(task.store, spec, task.progress)
    return {"predictions": imported.n_predictions, "evaluations": list(imported.evaluations)}


def _result(params: JobParams) -> JobResult:
    corpus = params["corpus"] or params["name"]
    page = f"/scaling?suite={params['name']}&corpus={corpus}"
    return {"suite": params["name"], "corpus": corpus, "page": page}


IMPORT_LOSSES = JobKind(
    name="import_losses",
    title="Import of losses",
    summary="Losses that were computed elsewhere, as a suite without weights.",
    unit="stages",
    schema=ImportLossesParameters,
    validate=_validate,
    cost=file_cost,
    plan=lambda *_: sequential_plan("import"),
    perform=_perform,
    result=_result,
    is_logged=True,
)
