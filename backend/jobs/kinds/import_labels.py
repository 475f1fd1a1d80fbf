"""import_labels: published cluster labels, as clusterings."""

from pydantic import Field
from sqlalchemy.orm import Session

from backend.jobs.kinds.base import JobKind, JobParams, JobResult, Task, file_cost
from backend.jobs.kinds.plans import sequential_plan
from backend.schemas import names
from backend.schemas.parameters import File, Name, Parameters
from backend.store import data_files as files
from backend.store.database import Store


class ImportLabelsParameters(Parameters):
    """Published cluster labels; files are below `imports`."""

    file: File = Field(title="Labels", description="JSON by number of clusters")
    name: Name = Field(title="Name", description="Of the clusterings and their corpus")
    contexts: File | None = Field(
        None, title="Contexts", description="JSON; without it members are known by index only"
    )


def _validate(store: Store, session: Session, request: ImportLabelsParameters) -> JobParams:
    names.check(request.name, "name")
    contexts = request.contexts
    return {
        "file": files.describe_file(store, request.file, "file"),
        "contexts": files.describe_file(store, contexts, "contexts") if contexts else None,
        "name": request.name,
    }


def _perform(task: Task) -> JobResult:
    from backend.exchange.label_store import LabelsSpec, import_labels

    params = task.params
    contexts = params["contexts"]
    spec = LabelsSpec(
        files.verify_file(task.store, params["file"], "file"),
        params["name"],
        files.verify_file(task.store, contexts, "contexts") if contexts else None,
    )
    imported = import_labels(task.store, spec, task.progress)
    ids = {str(n): clustering_id for n, (clustering_id, _) in imported.clusterings.items()}
    return {
        "discovery": imported.discovery,
        "corpus": imported.corpus,
        "clusterings": ids,
        "page": f"/clusterings/{list(ids.values())[-1]}",
    }


IMPORT_LABELS = JobKind(
    name="import_labels",
    title="Import of labels",
    summary="Cluster labels that were published, as clusterings.",
    unit="stages",
    schema=ImportLabelsParameters,
    validate=_validate,
    cost=file_cost,
    plan=lambda *_: sequential_plan("import"),
    perform=_perform,
    result=lambda params: {"name": params["name"]},
)
