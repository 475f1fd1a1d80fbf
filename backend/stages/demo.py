"""The demo: all stages on the bundled suite and documents, computed from weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.experiments.grokking.spec import PHASE_DIAGRAM
from backend.experiments.kind import complete_parameters
from backend.progress import Progress
from backend.read.measures import MEASURES, stored_chunks
from backend.schemas.discover import DiscoverParameters
from backend.stages.classify import classify
from backend.stages.corpora import CHUNK_PREDICTIONS, CorpusSpec, add_corpus
from backend.stages.devices import Compute
from backend.stages.discover import discover
from backend.stages.evaluate import evaluate
from backend.stages.experiments import run_experiment
from backend.stages.select import SELECTION_PARAMETERS
from backend.stages.suites import add_suite
from backend.store.database import Store
from backend.store.lookup import suite_named
from backend.store.tables import (
    Checkpoint,
    Corpus,
    CurveSet,
    Discovery,
    Evaluation,
    Experiment,
    ExperimentCell,
    Model,
    Suite,
)

BUNDLED = Path(__file__).resolve().parent.parent / "data" / "mini-suite"
SUITE = "mini"
CORPUS = "mini-held-out"
N_DOCUMENTS = 775
DESCRIPTION = (
    "Five GPT-NeoX models of growing size, trained on the same 16.3 M tokens of documentation, "
    "Python and C, markup, tables and novels, in the same order"
)
# Prefix and length are those of training: <|endoftext|> first, 256 tokens with it.
MAX_TOKENS, PREFIX = 256, (0,)
# The smallest models predict few tokens within the published 0.1 nats, so the middle model is used;
# every third of its predictions keeps the demo to a few minutes.
REFERENCE_MODEL, STRIDE = "s3", 3
# The phase diagram of the demo: with this init seed all four phases occur.
GRID = next(preset for preset in PHASE_DIAGRAM.presets if preset.name == "grid").parameters
PART_GRID: dict[str, Any] = {
    "x": "lr_representation",
    "x_values": [1e-3, 1e-2],
    "y": "lr_decoder",
    "y_values": [3e-4, 3e-3],
    "width": 16,
    "steps": 300,
    "seed": 1,
}
N_CLUSTERS = (*range(10, 101, 10), 125, 150, 200, 250, 300, 400)


@dataclass(frozen=True)
class DemoSpec:
    """Size of the demo; the defaults are the complete demo."""

    n_documents: int | None = None
    n_clusters: tuple[int, ...] = N_CLUSTERS
    stride: int = STRIDE
    chunk_predictions: int = CHUNK_PREDICTIONS

    @property
    def is_complete(self) -> bool:
        """Whether the demo has all documents."""
        return self.n_documents is None or self.n_documents >= N_DOCUMENTS

    @property
    def corpus(self) -> str:
        """Name of the corpus; a part of the documents is another corpus."""
        return CORPUS if self.is_complete else f"{CORPUS}-{self.n_documents}"

    @property
    def grid(self) -> dict[str, Any]:
        """Parameters of the phase diagram; a partial demo has one that takes a second."""
        return GRID if self.is_complete else PART_GRID


def corpus_spec(spec: DemoSpec) -> CorpusSpec:
    """Return the specification of the demo's corpus."""
    return CorpusSpec.parse(
        {
            "name": spec.corpus,
            "files": [BUNDLED / "documents.jsonl"],
            "tokenizer": BUNDLED / "tokenizer.json",
            "max_tokens": MAX_TOKENS,
            "prefix": PREFIX,
            "limit": spec.n_documents,
            "chunk_predictions": spec.chunk_predictions,
        }
    )


def discover_params(spec: DemoSpec) -> DiscoverParameters:
    """Return the parameters of the demo's discovery."""
    return DiscoverParameters.parse(
        {
            "suite": SUITE,
            "corpus": spec.corpus,
            "model": REFERENCE_MODEL,
            "stride": spec.stride,
            "n_clusters": list(spec.n_clusters),
        }
    )


def is_built(store: Store, spec: DemoSpec) -> bool:
    """Return whether the demo's results are stored, without importing heavy modules."""
    with store.session() as session:
        if not _has_grid(store, session, spec):
            return False
        corpus = session.scalars(select(Corpus).where(Corpus.name == spec.corpus)).one_or_none()
        if corpus is None or not _is_measured(session, corpus):
            return False
        # Curve sets of an older version lack the aggregates that the Scaling page draws.
        curve_sets = session.scalars(select(CurveSet).where(CurveSet.corpus_id == corpus.id))
        if not any("class_sums_nats" in (row.summary or {}) for row in curve_sets):
            return False
        discovered = [
            (d.parameters["n_clusters"], d.similarity.selection.parameters)
            for d in session.scalars(select(Discovery).where(Discovery.completed_at.is_not(None)))
            if d.similarity.selection.corpus_id == corpus.id
        ]
    params = discover_params(spec)
    return (
        sorted(params.n_clusters),
        params.model_dump(include=SELECTION_PARAMETERS),
    ) in discovered


def _has_grid(store: Store, session: Session, spec: DemoSpec) -> bool:
    """Return whether the phase diagram is finished."""
    key = PHASE_DIAGRAM.key(_grid(store, spec))
    row = session.scalars(select(Experiment).where(Experiment.key == key)).one_or_none()
    if row is None:
        return False
    n_stored = select(func.count()).where(ExperimentCell.experiment_id == row.id)
    return session.scalar(n_stored) == row.n_cells


def _is_measured(session: Session, corpus: Corpus) -> bool:
    """Return whether each model's last step has rank and entropy, which older stores lack."""
    last: dict[int, Evaluation] = {}
    for row in session.scalars(
        select(Evaluation)
        .join(Checkpoint)
        .where(Evaluation.corpus_id == corpus.id)
        .order_by(Checkpoint.step)
    ):
        last[row.checkpoint.model_id] = row
    return all(
        list(stored_chunks(session, row).values()) == [set(MEASURES)] * row.n_chunks
        for row in last.values()
    )


def build_demo(store: Store, spec: DemoSpec, compute: Compute, progress: Progress) -> int:
    """Compute the missing results of the demo; return the discovery's id."""
    add_suite(store, BUNDLED, SUITE, DESCRIPTION, progress)
    corpus = add_corpus(store, corpus_spec(spec), progress)
    with store.session() as session:
        checkpoints = session.scalars(
            select(Checkpoint)
            .join(Model)
            .join(Suite)
            .where(Suite.name == SUITE)
            .order_by(Model.nonembedding_parameters.desc(), Checkpoint.step)
        ).all()
    last = {c.model_id: c.id for c in checkpoints}
    steps = [c.id for c in checkpoints if c.id not in last.values()]
    evaluate(store, corpus, steps, compute, progress)
    # Rank and entropy double the time of a checkpoint, so only last steps have them.
    evaluate(store, corpus, list(last.values()), compute, progress, MEASURES)
    with store.session() as session:
        suite = suite_named(session, SUITE)
    classify(store, corpus, suite, progress)
    discovery = discover(store, discover_params(spec), compute, progress)
    run_experiment(store, PHASE_DIAGRAM.name, _grid(store, spec), compute, progress)
    return discovery


def _grid(store: Store, spec: DemoSpec) -> dict[str, Any]:
    return complete_parameters(store, PHASE_DIAGRAM, PHASE_DIAGRAM.schema.model_validate(spec.grid))
