"""Store imported cluster labels as clusterings without gradients.

The samples become predictions of a new corpus: with contexts, each is the last prediction of a
short document; without contexts, the corpus has no text and predictions have only an index.
"""

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from backend.errors import InvalidInputError
from backend.exchange import labels as published
from backend.exchange.labels import SampleContext
from backend.exchange.textless import textless_corpus
from backend.progress import WORK_LOG, Progress
from backend.read.tokens import parse_tokenizer
from backend.schemas import names
from backend.stages.corpora import (
    CHUNK_PREDICTIONS,
    TokenisedDocument,
    chunk_bounds,
    insert_documents,
    stored_tokenizer,
)
from backend.stages.documents import RawDocument
from backend.stages.provenance import provenance
from backend.store import arrays
from backend.store.database import Store
from backend.store.keys import result_key
from backend.store.tables import (
    Cluster,
    Clustering,
    ClusterMember,
    Corpus,
    Discovery,
    Selection,
    Similarity,
)
from backend.store.tables.base import now
from backend.store.tables.quanta import IMPORTED


@dataclass(frozen=True)
class LabelsSpec:
    """Labels to import (file formats: backend.exchange.labels); `name` also names the corpus."""

    labels: Path
    name: str
    contexts: Path | None = None


@dataclass(frozen=True)
class ImportedLabels:
    """A stored import.

    Attributes:
        discovery: id of the discovery.
        corpus: name of the corpus.
        n_samples: samples of every clustering.
        clusterings: n_clusters to (id, sizes by rank).
        fit: slope of the rank-frequency envelope, None with too few ranks.
        created: False if an equal import existed.
    """

    discovery: int
    corpus: str
    n_samples: int
    clusterings: dict[int, tuple[int, list[int]]]
    fit: dict[str, Any] | None
    created: bool


@dataclass(frozen=True)
class _Samples:
    """Prediction indexes of the samples, and with contexts the ids of their tokens."""

    predictions: NDArray[np.int64]
    last_tokens: NDArray[np.int64] | None = None
    answers: NDArray[np.int64] | None = None


def _tokenised_documents(
    samples: tuple[SampleContext, ...], vocabulary: dict[str, int]
) -> list[TokenisedDocument]:
    dtype = np.uint16 if len(vocabulary) <= 1 << 16 else np.uint32
    documents = []
    for sample in samples:
        tokens = (*sample.context, sample.answer)
        # For text search only; PostgreSQL text has no zero byte.
        text = "".join(tokens).replace("\0", "\N{REPLACEMENT CHARACTER}")
        name = f"prediction {sample.index}"
        raw = RawDocument(name, name, "imported contexts", "unknown", text)
        ids = np.array([vocabulary[token] for token in tokens], dtype)
        documents.append(TokenisedDocument(raw, text, ids, is_cut=False))
    return documents


def _corpus_with_text(
    session: Session, corpus: Corpus, samples: tuple[SampleContext, ...]
) -> _Samples:
    data = published.tokenizer_json(vocabulary := published.build_vocabulary(samples))
    documents = _tokenised_documents(samples, vocabulary)
    counts = [len(sample.context) for sample in samples]
    bounds = chunk_bounds(counts, CHUNK_PREDICTIONS)
    corpus.tokenizer = stored_tokenizer(session, data, parse_tokenizer(data))
    corpus.max_tokens = max(counts) + 1
    corpus.n_documents = len(samples)
    corpus.n_tokens = sum(counts) + len(counts)
    corpus.n_predictions = sum(counts)
    corpus.n_chunks = len(bounds)
    session.flush()
    insert_documents(session, corpus, documents, bounds)
    return _Samples(
        np.cumsum(counts, dtype=np.int64) - 1,
        np.array([document.ids[-2] for document in documents], np.int64),
        np.array([document.ids[-1] for document in documents], np.int64),
    )


def _corpus(
    session: Session,
    spec: LabelsSpec,
    digest: str,
    n_samples: int,
    samples: tuple[SampleContext, ...] | None,
) -> tuple[Corpus, _Samples]:
    files = [path.name for path in (spec.labels, spec.contexts) if path]
    key = _corpus_key(spec, digest)
    corpus = textless_corpus(session, spec.name, key, n_samples, files, "labels")
    if samples is None:
        return corpus, _Samples(np.arange(n_samples, dtype=np.int64))
    return corpus, _corpus_with_text(session, corpus, samples)


def _corpus_key(spec: LabelsSpec, digest: str) -> str:
    return result_key("imported_labels", part="corpus", name=spec.name, content=digest)


def _discovery(
    session: Session, spec: LabelsSpec, corpus: Corpus, samples: _Samples, n_clusters: list[int]
) -> Discovery:
    selection = Selection(
        key=result_key("imported_labels", part="selection", corpus=corpus.key),
        corpus=corpus,
        evaluation_id=None,
        parameters={IMPORTED: True},
        size=len(samples.predictions),
        n_under_threshold=None,
        n_induction=None,
        **arrays.columns(samples.predictions),
    )
    similarity = Similarity(
        key=result_key("imported_labels", part="similarity", corpus=corpus.key),
        selection=selection,
        checkpoint_id=None,
        measure=IMPORTED,
        parameters={},
        size=selection.size,
        stripe_rows=0,
        n_stripes=0,
        completed_at=None,
        provenance={},
    )
    discovery = Discovery(
        key=result_key("imported_labels", part="discovery", corpus=corpus.key),
        name=spec.name,
        similarity=similarity,
        parameters={"n_clusters": n_clusters, IMPORTED: True},
        completed_at=now(),
        rank_frequency=None,
        provenance=provenance(imported=spec.labels.name),
    )
    session.add(discovery)
    session.flush()
    return discovery


def _text_scores(labels: NDArray[np.int32], samples: _Samples) -> list[dict[str, Any]]:
    """Return the text scores of each cluster; empty dicts without contexts."""
    from compute import cluster_scores as scores

    if samples.answers is None or samples.last_tokens is None:
        return [{} for _ in range(int(labels.max()) + 1)]
    entropy = scores.answer_entropy(samples.answers, labels)
    patterns = scores.best_two_token_pattern(samples.last_tokens, samples.answers, labels)
    rows = []
    for label, pattern in enumerate(patterns):
        answers = Counter(samples.answers[labels == label].tolist())
        top_answer, count = min(answers.items(), key=lambda item: (-item[1], item[0]))
        rows.append(
            {
                "answer_entropy_nats": float(entropy[label]),
                "top_answer": top_answer,
                "top_answer_share": count / answers.total(),
                "pattern_last": pattern.last_token,
                "pattern_answer": pattern.answer,
                "pattern_precision": pattern.precision,
                "pattern_recall": pattern.recall,
            }
        )
    return rows


def _store_clustering(
    session: Session,
    discovery: Discovery,
    n_clusters: int,
    published_labels: NDArray[np.int32],
    samples: _Samples,
) -> tuple[int, list[int]]:
    labels, sizes = published.sort_labels_by_size(published_labels)
    clustering = Clustering(
        key=result_key("clustering", discovery=discovery.key, n_clusters=n_clusters),
        discovery_id=discovery.id,
        n_clusters=n_clusters,
        inertia=None,
        **arrays.columns(labels),
    )
    session.add(clustering)
    session.flush()
    scored = zip(sizes, _text_scores(labels, samples), strict=True)
    rows = [
        {"clustering_id": clustering.id, "rank": rank, "size": size, "neighbours": {}, **scores}
        for rank, (size, scores) in enumerate(scored, 1)
    ]
    session.execute(insert(Cluster), rows)
    ids = session.scalars(
        select(Cluster.id).where(Cluster.clustering_id == clustering.id).order_by(Cluster.rank)
    ).all()
    session.execute(insert(ClusterMember), _members(labels, ids, samples.predictions))
    return clustering.id, sizes


def _members(
    labels: NDArray[np.int32], ids: Any, predictions: NDArray[np.int64]
) -> list[dict[str, int]]:
    """Return member rows in sample order, because there is no centrality without gradients."""
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], np.arange(len(ids)))
    positions = np.arange(len(order)) - starts[labels[order]]
    columns = np.stack([labels[order], positions, order, predictions[order]], axis=1).tolist()
    return [
        {"cluster_id": ids[label], "position": position, "row": row, "prediction": prediction}
        for label, position, row, prediction in columns
    ]


def _rank_frequency(clusterings: dict[int, tuple[int, list[int]]]) -> dict[str, Any]:
    from compute.rank_frequency import envelope_slope, rank_frequency

    envelope = rank_frequency({n: sizes for n, (_, sizes) in clusterings.items()}).envelope
    try:
        fit: dict[str, Any] | None = asdict(envelope_slope(envelope))
    except ValueError:  # too few ranks for a slope
        fit = None
    return {"envelope": [int(size) for size in envelope], "fit": fit}


def _existing_import(session: Session, spec: LabelsSpec, digest: str) -> ImportedLabels | None:
    corpus = session.scalars(select(Corpus).where(Corpus.name == spec.name)).one_or_none()
    if corpus is None:
        return None
    if corpus.key != _corpus_key(spec, digest):
        raise InvalidInputError(
            f"the name {spec.name} belongs to another corpus (key {corpus.key[:12]})",
            "Choose another name",
            "name",
        )
    key = result_key("imported_labels", part="discovery", corpus=corpus.key)
    discovery = session.scalars(select(Discovery).where(Discovery.key == key)).one()
    sizes = {}
    for row in discovery.clusterings:
        query = select(Cluster.size).where(Cluster.clustering_id == row.id).order_by(Cluster.rank)
        sizes[row.n_clusters] = (row.id, list(session.scalars(query)))
    return _imported_labels(discovery, corpus, sizes, created=False)


def _imported_labels(
    discovery: Discovery,
    corpus: Corpus,
    clusterings: dict[int, tuple[int, list[int]]],
    *,
    created: bool,
) -> ImportedLabels:
    fit = (discovery.rank_frequency or {}).get("fit")
    n_samples = sum(next(iter(clusterings.values()))[1])
    return ImportedLabels(discovery.id, corpus.name, n_samples, clusterings, fit, created)


def import_labels(store: Store, spec: LabelsSpec, progress: Progress) -> ImportedLabels:
    """Store published labels as clusterings, or return the equal import.

    Raises:
        InvalidInputError: an invalid file or name; nothing is stored.
    """
    names.check(spec.name, "name")
    labels = published.read_labels(spec.labels)
    n_samples = len(next(iter(labels.values())))
    samples = published.read_contexts(spec.contexts, n_samples) if spec.contexts else None
    digest = published.content_digest(labels, samples)
    with store.begin() as session:
        if (existing := _existing_import(session, spec, digest)) is not None:
            return existing
        WORK_LOG.info("import labels %s", digest[:16])
        corpus, corpus_samples = _corpus(session, spec, digest, n_samples, samples)
        discovery = _discovery(session, spec, corpus, corpus_samples, list(labels))
        clusterings = {}
        with progress.task(f"import {spec.name}", len(labels), unit="clusterings") as bar:
            for n_clusters, values in labels.items():
                pair = _store_clustering(session, discovery, n_clusters, values, corpus_samples)
                clusterings[n_clusters] = pair
                bar.advance()
        discovery.rank_frequency = _rank_frequency(clusterings)
        return _imported_labels(discovery, corpus, clusterings, created=True)
