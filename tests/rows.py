"""Stores of a few small rows with chosen references and ages."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from backend.jobs.kinds.paste import pasted_name
from backend.store import arrays
from backend.store.database import Store
from backend.store.tables import (
    Annotation,
    Checkpoint,
    Cluster,
    ClusterCurve,
    Clustering,
    ClusterMember,
    Corpus,
    CurveChunk,
    CurveSet,
    Discovery,
    Document,
    Evaluation,
    Job,
    LossChunk,
    MeasureChunk,
    Model,
    Selection,
    Similarity,
    SimilarityStripe,
    Suite,
    TargetLoss,
)

OLD = datetime.now(UTC) - timedelta(days=60)
NEW = datetime.now(UTC) - timedelta(days=1)
BYTES = arrays.columns(np.zeros(4, np.float16))
FINISHED = {"mean_loss_nats": 1.0, "share_under_tenth_nat": 0.5}


def pasted(text: str) -> tuple[str, dict[str, Any]]:
    parameters = {"text": text, "corpus": "home", "suite": "suite", "checkpoints": []}
    return pasted_name(parameters), parameters


class Builder:
    """Insert minimal rows with chosen references."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.n = 0
        suite = self.add(Suite(name="suite", description="", tokenizer_key=None))
        self.suite = suite.id
        model = self.add(Model(suite_id=suite.id, name="m", nonembedding_parameters=1, config={}))
        row = Checkpoint(model_id=model.id, step=0, key="k", location=None)
        self.checkpoint = self.add(row).id

    def key(self) -> str:
        self.n += 1
        return f"key-{self.n}"

    def add(self, row: Any) -> Any:
        with self.store.begin() as session:
            session.add(row)
        return row

    def corpus(self, name: str, at: datetime, source: str = "pasted") -> int:
        counts = dict.fromkeys(("n_tokens", "n_predictions"), 4)
        row = Corpus(
            key=self.key(), name=name, max_tokens=8, prefix=[], chunk_predictions=4,
            n_documents=1, n_chunks=1, provenance={}, created_at=at, **counts,
        )  # fmt: skip
        row_id: int = self.add(row).id
        self.add(
            Document(
                corpus_id=row_id, index=0, external_id="", source=source, license="", text="text",
                is_cut=False, first_prediction=0, chunk=0, **counts,
            )
        )  # fmt: skip
        return row_id

    def evaluation(self, corpus: int, at: datetime, *, done: bool, chunk: datetime | None) -> int:
        row = Evaluation(
            key=self.key(), corpus_id=corpus, checkpoint_id=self.checkpoint, n_chunks=1,
            created_at=at, completed_at=at if done else None, provenance={},
            **(FINISHED if done else {}),
        )  # fmt: skip
        row_id: int = self.add(row).id
        if chunk is not None:
            self.add(LossChunk(evaluation_id=row_id, chunk=0, created_at=chunk, **BYTES))
            self.add(
                MeasureChunk(
                    evaluation_id=row_id, chunk=0, name="rank", version=1, created_at=chunk, **BYTES
                )
            )
        return row_id

    def curve_set(self, corpus: int, evaluations: list[int]) -> int:
        row = CurveSet(
            key=self.key(), corpus_id=corpus, suite_id=self.suite, axis="N", axis_values=[1.0],
            evaluation_ids=evaluations, thresholds={}, n_chunks=1, completed_at=OLD,
            created_at=OLD,
        )  # fmt: skip
        row_id: int = self.add(row).id
        self.add(CurveChunk(curve_set_id=row_id, chunk=0, name="class", **BYTES))
        return row_id

    def selection(self, corpus: int, evaluation: int | None) -> int:
        row = Selection(
            key=self.key(), corpus_id=corpus, evaluation_id=evaluation, parameters={}, size=4,
            created_at=OLD, **BYTES,
        )  # fmt: skip
        row_id: int = self.add(row).id
        return row_id

    def similarity(self, selection: int, at: datetime, *, done: bool, stripe: datetime) -> int:
        row = Similarity(
            key=self.key(), selection_id=selection, checkpoint_id=self.checkpoint, measure="c",
            parameters={}, size=4, stripe_rows=4, n_stripes=1, created_at=at,
            completed_at=at if done else None, provenance={},
        )  # fmt: skip
        row_id: int = self.add(row).id
        self.add(
            SimilarityStripe(
                similarity_id=row_id, stripe=0, first_row=0, created_at=stripe, **BYTES
            )
        )
        return row_id

    def annotated_cluster(self, similarity: int, curve_set: int | None) -> int:
        discovery = self.add(
            Discovery(
                key=self.key(), name="d", similarity_id=similarity, parameters={},
                completed_at=OLD, created_at=OLD, provenance={},
            )
        )  # fmt: skip
        clustering = self.add(
            Clustering(key=self.key(), discovery_id=discovery.id, n_clusters=2, **BYTES)
        )
        row = Cluster(clustering_id=clustering.id, rank=1, size=1, neighbours={})
        row_id: int = self.add(row).id
        self.add(ClusterMember(cluster_id=row_id, position=0, row=0, prediction=0))
        self.add(Annotation(cluster_id=row_id, label="mine", note="", tags=[]))
        if curve_set is not None:
            band = {name: [1.0] for name in ("mean_nats", "low_nats", "high_nats")}
            self.add(ClusterCurve(cluster_id=row_id, curve_set_id=curve_set, **band))
        return row_id

    def job(
        self,
        kind: str,
        state: str,
        at: datetime,
        parameters: dict[str, Any],
        result: dict[str, Any] | None = None,
    ) -> str:
        ended = state in {"finished", "failed"}
        row = Job(
            id=self.key(), kind=kind, state=state, parameters=parameters, key="k", done=0,
            unit="u", updated_at=at, created_at=at, finished_at=at if ended else None,
            result=result,
        )  # fmt: skip
        row_id: str = self.add(row).id
        return row_id

    def target_loss(self, corpus: int, at: datetime) -> int:
        row = TargetLoss(
            key=self.key(), corpus_id=corpus, document=0, token=1, checkpoint_id=self.checkpoint,
            created_at=at, **BYTES,
        )  # fmt: skip
        row_id: int = self.add(row).id
        return row_id
