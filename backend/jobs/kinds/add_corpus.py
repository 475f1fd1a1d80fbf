"""add_corpus: tokenise documents and store them as a corpus."""

from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy.orm import Session

from backend.errors import InvalidInputError
from backend.jobs.kinds.base import Cost, JobKind, JobParams, JobResult, Task, as_request
from backend.jobs.kinds.plans import sequential_plan
from backend.schemas import names
from backend.schemas.corpora import AddCorpusParameters, CorpusParameters
from backend.store import data_files as files
from backend.store.database import Store
from backend.store.lookup import tokenizer_of_suite


def _validate(store: Store, session: Session, request: AddCorpusParameters) -> JobParams:
    names.check(request.name, "name")
    row = tokenizer_of_suite(session, request.tokenizer)
    tokenizer: dict[str, str] | files.DataFile
    if row is not None:
        tokenizer = {"suite": request.tokenizer, "key": row.key}
    else:
        try:
            tokenizer = files.describe_file(store, request.tokenizer, "tokenizer")
        except InvalidInputError as error:
            raise InvalidInputError(
                f"tokenizer {request.tokenizer!r} is neither a registered suite nor a file",
                "Name one of `quanta suite list`, or a tokenizer.json below imports",
                "tokenizer",
            ) from error
    described = [files.describe_file(store, name, "files") for name in request.files]
    return {**request.model_dump(), "files": described, "tokenizer": tokenizer}


def _as_request(params: JobParams) -> JobParams:
    tokenizer = params["tokenizer"]
    return {**as_request(params), "tokenizer": tokenizer.get("suite") or tokenizer.get("file")}


def _cost(store: Store, session: Session, params: JobParams) -> Cost:
    size = sum(files.file_size(store, file) for file in params["files"])
    return Cost(1, float(size), "bytes")


def _tokenizer_file(store: Store, tokenizer: JobParams, folder: Path) -> Path:
    """Return the path of a tokenizer.json, written to `folder` if it is a suite's."""
    if "file" in tokenizer:
        file: files.DataFile = {"file": tokenizer["file"], "sha256": tokenizer["sha256"]}
        return files.verify_file(store, file, "tokenizer")
    with store.session() as session:
        row = tokenizer_of_suite(session, tokenizer["suite"])
    if row is None or row.key != tokenizer["key"]:
        raise InvalidInputError(
            f"suite {tokenizer['suite']} has another tokenizer than when the job was submitted",
            "Submit the job again",
            "tokenizer",
        )
    path = folder / "tokenizer.json"
    path.write_bytes(row.json)
    return path


def _perform(task: Task) -> JobResult:
    from backend.stages.corpora import CorpusSpec, add_corpus

    params = task.params
    paths = [files.verify_file(task.store, file, "files") for file in params["files"]]
    with TemporaryDirectory(prefix="quanta-corpus-") as folder:
        tokenizer = _tokenizer_file(task.store, params["tokenizer"], Path(folder))
        values = {name: params[name] for name in CorpusParameters.model_fields}
        spec = CorpusSpec.parse({**values, "files": paths, "tokenizer": tokenizer})
        corpus = add_corpus(task.store, spec, task.progress)
    return {"documents": corpus.n_documents, "predictions": corpus.n_predictions}


def _result(params: JobParams) -> JobResult:
    return {"corpus": params["name"], "page": f"/documents?corpus={params['name']}"}


ADD_CORPUS = JobKind(
    name="add_corpus",
    title="New corpus",
    summary="Documents, tokenised and stored as a corpus.",
    unit="stages",
    schema=AddCorpusParameters,
    validate=_validate,
    cost=_cost,
    plan=lambda *_: sequential_plan("add"),
    perform=_perform,
    result=_result,
    as_request=_as_request,
)
