"""export: losses, curves or clusters as a file below `exports`, which the job offers."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.errors import InvalidInputError, NotFoundError
from backend.jobs.kinds.base import Cost, JobKind, JobParams, JobResult, Task
from backend.jobs.kinds.checkpoints import require_evaluations
from backend.jobs.kinds.plans import sequential_plan
from backend.schemas.parameters import (
    MAX_INTEGER,
    CorpusName,
    ModelName,
    Number,
    Parameters,
    SuiteName,
)
from backend.store import data_files as files
from backend.store.database import Store
from backend.store.keys import bytes_key
from backend.store.lookup import corpus_named, suite_named
from backend.store.tables import Annotation, Cluster, Clustering, CurveSet

if TYPE_CHECKING:
    from backend.exchange.table_files import Table

MAX_CONTEXT = 4_096
What = Literal["losses", "curves", "clusters"]


class ExportParameters(Parameters):
    """A file of results."""

    what: What = Field(title="What", description="losses, curves or clusters")
    format: Literal["parquet", "arrow", "csv", "json"] = Field("parquet", title="Format")
    suite: SuiteName | None = Field(None, title="Suite", description="Of losses and curves")
    corpus: CorpusName | None = Field(None, title="Corpus", description="Of losses and curves")
    axis: Literal["N", "S"] = Field("N", title="Axis of curves")
    model: ModelName | None = Field(
        None, title="Model", description="Of curves over steps; largest by default"
    )
    clustering: Number | None = Field(None, title="Clustering", description="Of clusters: its id")
    first: Number = Field(0, title="First prediction")
    limit: int | None = Field(
        None, ge=1, le=MAX_INTEGER, title="Maximum predictions", description="All by default"
    )
    context: int = Field(64, ge=0, le=MAX_CONTEXT, title="Tokens before each answer, of clusters")

    @model_validator(mode="after")
    def _complete(self) -> "ExportParameters":
        if self.what == "clusters" and self.context < 1:
            raise ValueError("clusters need a context of at least 1")
        if self.what == "clusters" and self.clustering is None:
            raise ValueError("clusters need the id of a clustering")
        if self.what != "clusters" and not (self.suite and self.corpus):
            raise ValueError(f"{self.what} need a suite and a corpus")
        return self


def _labels_key(session: Session, clustering: Clustering) -> str:
    query = (
        select(Cluster.rank, Annotation.label)
        .join(Annotation, Annotation.cluster_id == Cluster.id)
        .where(Cluster.clustering_id == clustering.id)
        .order_by(Cluster.rank)
    )
    labels = [(rank, label) for rank, label in session.execute(query)]
    return bytes_key(json.dumps(labels).encode())[:16]


def _validate(store: Store, session: Session, request: ExportParameters) -> JobParams:
    if request.what == "clusters":
        return _validate_clusters(session, request)
    corpus = corpus_named(session, request.corpus or "")
    suite = suite_named(session, request.suite or "")
    if request.first >= corpus.n_predictions:
        raise InvalidInputError(
            f"first is {request.first}", f"Choose 0 to {corpus.n_predictions - 1}", "first"
        )
    evaluations = require_evaluations(session, corpus, suite)
    params = {
        "what": request.what,
        "format": request.format,
        "suite": suite.name,
        "corpus": corpus.name,
        "first": request.first,
        "limit": request.limit,
        # Keys of the results in the file: later results make another job.
        "of": [evaluation.key[:16] for evaluation in evaluations],
    }
    if request.what == "curves":
        from backend.exchange.exports import named_curve_set

        set_id = named_curve_set(store, suite.name, corpus.name, request.axis, request.model)
        params["of"] = [session.get_one(CurveSet, set_id).key[:16]]
        params |= {"axis": request.axis, "model": request.model}
    return params


def _validate_clusters(session: Session, request: ExportParameters) -> JobParams:
    row = session.get(Clustering, request.clustering)
    if row is None:
        raise NotFoundError(
            f"there is no clustering {request.clustering}", "GET /api/v1/clusterings lists them"
        )
    return {
        "what": request.what,
        "format": request.format,
        "clustering": row.id,
        "context": request.context,
        # The file holds labels, which people change.
        "of": [row.key[:16], _labels_key(session, row)],
    }


def _cost(store: Store, session: Session, params: JobParams) -> Cost:
    if params["what"] == "clusters":
        return Cost(1, 1.0, "units")
    n_rows = corpus_named(session, params["corpus"]).n_predictions - params["first"]
    n_rows = min(n_rows, params["limit"] or n_rows)
    return Cost(1, 2.0 * n_rows * max(1, len(params["of"])), "bytes")


def _file_name(params: JobParams) -> str:
    return f"{params['what']}-{EXPORT.key(params)[:16]}.{params['format']}"


def _perform(task: Task) -> JobResult:
    from backend.exchange.table_files import resolve_format, write_table

    path = files.exports_folder(task.store) / _file_name(task.params)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    table = _table(task)
    with task.progress.task("export", total=table.n_rows, unit="rows") as bar:
        size = write_table(
            table, path, resolve_format(path, None), overwrite=True, on_rows=bar.advance
        )
    return {"rows": table.n_rows, "bytes": size}


def _table(task: Task) -> "Table":
    from backend.exchange import exports

    store, params = task.store, task.params
    if params["what"] == "clusters":
        return exports.clusters_table(store, params["clustering"], context=params["context"])
    rows = exports.Range(params["first"], params["limit"])
    names = (params["suite"], params["corpus"])
    if params["what"] == "losses":
        return exports.losses_table(store, *names, rows)
    set_id = exports.named_curve_set(store, *names, params["axis"], params["model"])
    return exports.curves_table(store, set_id, rows)


def _has_file(store: Store, result: Mapping[str, Any]) -> bool:
    return (files.exports_folder(store) / str(result.get("file"))).is_file()


EXPORT = JobKind(
    name="export",
    title="Export",
    summary="Losses, curves or clusters as a Parquet, Arrow, CSV or JSON file.",
    unit="stages",
    schema=ExportParameters,
    validate=_validate,
    cost=_cost,
    plan=lambda *_: sequential_plan("export"),
    perform=_perform,
    result=lambda params: {"file": _file_name(params)},
    has_result=_has_file,
)
