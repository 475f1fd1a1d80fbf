"""export: losses, curves or clusters as a file below `exports`, to be fetched from the job."""

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.errors import InvalidInputError, NotFoundError, NotReadyError
from backend.jobs.kinds.base import Checked, Cost, JobKind
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
from backend.store.lookup import corpus_named, finished_evaluations, suite_named
from backend.store.tables import Annotation, Cluster, Clustering, CurveSet

MAX_CONTEXT = 4_096
What = Literal["losses", "curves", "clusters"]
FORMATS = ("parquet", "arrow", "csv", "json")


class ExportParameters(Parameters):
    """A file of results."""

    what: What = Field(title="What", description="losses, curves or clusters")
    format: Literal["parquet", "arrow", "csv", "json"] = Field("parquet", title="Format")
    suite: SuiteName | None = Field(None, title="Suite", description="Of losses and curves")
    corpus: CorpusName | None = Field(None, title="Corpus", description="Of losses and curves")
    axis: Literal["N", "S"] = Field("N", title="Axis of curves")
    model: ModelName | None = Field(
        None, title="Model", description="Of curves over steps; the largest if left out"
    )
    clustering: Number | None = Field(None, title="Clustering", description="Of clusters: its id")
    first: Number = Field(0, title="First prediction")
    limit: int | None = Field(
        None, ge=1, le=MAX_INTEGER, title="Predictions at most", description="All if left out"
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


def _labels(session: Session, clustering: Clustering) -> str:
    query = (
        select(Cluster.rank, Annotation.label)
        .join(Annotation, Annotation.cluster_id == Cluster.id)
        .where(Cluster.clustering_id == clustering.id)
        .order_by(Cluster.rank)
    )
    labels = [(rank, label) for rank, label in session.execute(query)]
    return bytes_key(json.dumps(labels).encode())[:16]


def _check(store: Store, session: Session, asked: ExportParameters) -> Checked:
    if asked.what == "clusters":
        row = session.get(Clustering, asked.clustering)
        if row is None:
            raise NotFoundError(
                f"there is no clustering {asked.clustering}", "GET /api/v1/clusterings lists them"
            )
        return {
            "what": asked.what,
            "format": asked.format,
            "clustering": row.id,
            "context": asked.context,
            # Labels are in the file, and people change them.
            "of": [row.key[:16], _labels(session, row)],
        }
    corpus = corpus_named(session, asked.corpus or "")
    suite = suite_named(session, asked.suite or "")
    if asked.first >= corpus.n_predictions:
        raise InvalidInputError(
            f"first is {asked.first}", f"Choose 0 to {corpus.n_predictions - 1}", "first"
        )
    found = finished_evaluations(session, corpus, suite)
    if not found:
        raise NotReadyError(
            f"suite {suite.name} is not evaluated on {corpus.name}",
            f"Run `quanta evaluate {suite.name} {corpus.name}`, or submit a job for it",
        )
    parameters = {
        "what": asked.what,
        "format": asked.format,
        "suite": suite.name,
        "corpus": corpus.name,
        "first": asked.first,
        "limit": asked.limit,
        # The file holds what is there now.
        "of": [evaluation.key[:16] for evaluation in found],
    }
    if asked.what == "curves":
        from backend.exchange.exports import named_curve_set

        number = named_curve_set(store, suite.name, corpus.name, asked.axis, asked.model)
        parameters["of"] = [session.get_one(CurveSet, number).key[:16]]
        parameters |= {"axis": asked.axis, "model": asked.model}
    return parameters


def _cost(store: Store, session: Session, parameters: Checked) -> Cost:
    if parameters["what"] == "clusters":
        return Cost(1, 1.0, "units")
    held = corpus_named(session, parameters["corpus"]).n_predictions - parameters["first"]
    rows = min(held, parameters["limit"] or held)
    return Cost(1, 2.0 * rows * max(1, len(parameters["of"])), "bytes")


def _is_there(store: Store, result: Mapping[str, Any]) -> bool:
    return (files.exports(store) / str(result.get("file"))).is_file()


EXPORT = JobKind(
    name="export",
    title="Export",
    summary="Losses, curves or clusters as a Parquet, Arrow, CSV or JSON file.",
    unit="stages",
    schema=ExportParameters,
    check=_check,
    cost=_cost,
    is_there=_is_there,
)
