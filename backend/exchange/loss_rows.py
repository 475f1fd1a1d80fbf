"""Rows of imported losses: create, resume, look up and delete them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from backend.errors import ConflictError, InvalidInputError
from backend.exchange.textless import textless_corpus
from backend.read.documents import ChunkSpan, chunk_spans
from backend.stages.provenance import provenance
from backend.store.lookup import corpus_named
from backend.store.tables import Checkpoint, Corpus, Evaluation, LossChunk, Model, Suite

# Prefix of the keys of unfinished imports; no hash begins like this.
UNFINISHED = "unfinished import "


@dataclass(frozen=True)
class ImportRequest:
    """Losses to store; `columns` are (model, step, N)."""

    name: str
    file: Path
    unit: str
    corpus: str | None
    n_predictions: int
    columns: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class PendingImport:
    """An unfinished import; `owns_corpus` if its corpus was created for it."""

    suite: int
    corpus: int
    owns_corpus: bool
    evaluations: tuple[int, ...]
    spans: tuple[ChunkSpan, ...]


@dataclass(frozen=True)
class FinishedImport:
    """A finished import of the same name; `evaluations` maps keys to ids."""

    corpus: str
    corpus_key: str
    n_predictions: int
    evaluations: dict[str, int]
    spans: tuple[ChunkSpan, ...]


def find_or_create_import(
    session: Session, request: ImportRequest
) -> PendingImport | FinishedImport:
    """Return the finished or unfinished import of a name, or create one.

    Raises:
        InvalidInputError: the name belongs to another suite, or the losses do not fit the corpus.
        NotFoundError: there is no such corpus.
    """
    suite = session.scalars(select(Suite).where(Suite.name == request.name)).one_or_none()
    requested = _requested_corpus(session, request)
    if suite is None:
        _check_name_is_free(session, request)
        return _create_import(session, request, requested)
    rows = _evaluations(session, suite)
    if _is_other_suite(suite) or any(not row.key.startswith(UNFINISHED) for row in rows):
        return _finished_import(session, request, suite, rows)
    pending = _resume_import(session, request, suite, rows, requested)
    if pending is None:
        # An interrupted import of another file under this name.
        corpora = session.scalars(select(Corpus.id).where(Corpus.key == _corpus_key(request.name)))
        _delete(session, suite.id, [row.id for row in rows], list(corpora))
        _check_name_is_free(session, request)
        return _create_import(session, request, requested)
    return pending


def lock_import(session: Session, pending: PendingImport) -> None:
    """Lock the rows of an import until the transaction ends.

    Raises:
        ConflictError: another program deleted them.
    """
    query = select(Suite.id).where(Suite.id == pending.suite).with_for_update()
    if session.scalars(query).one_or_none() is None:
        raise ConflictError("another program deleted the import while it ran", "Submit it again")


def store_chunk(
    session: Session, pending: PendingImport, chunk: int, rows: Sequence[dict[str, Any]]
) -> None:
    """Store the rows of one chunk, unless an interrupted import stored the same."""
    lock_import(session, pending)
    is_in_chunk = LossChunk.evaluation_id.in_(pending.evaluations) & (LossChunk.chunk == chunk)
    query = select(LossChunk.evaluation_id, LossChunk.checksum).where(is_in_chunk)
    stored = {evaluation: checksum for evaluation, checksum in session.execute(query)}
    if stored and stored != {row["evaluation_id"]: row["checksum"] for row in rows}:
        session.execute(delete(LossChunk).where(is_in_chunk))
        stored = {}
    if not stored:
        session.execute(insert(LossChunk), list(rows))


def delete_import(session: Session, pending: PendingImport) -> None:
    """Delete all rows of an import that cannot be finished."""
    corpora = [pending.corpus] if pending.owns_corpus else []
    _delete(session, pending.suite, pending.evaluations, corpora)


def _is_other_suite(suite: Suite) -> bool:
    """Return whether a suite was not imported as losses."""
    has_weights = any(c.location for model in suite.models for c in model.checkpoints)
    return suite.tokenizer_key is not None or has_weights


def _evaluations(session: Session, suite: Suite) -> list[Evaluation]:
    query = select(Evaluation).join(Checkpoint).join(Model).where(Model.suite_id == suite.id)
    return list(session.scalars(query.order_by(Evaluation.id)))


def _finished_import(
    session: Session, request: ImportRequest, suite: Suite, rows: list[Evaluation]
) -> FinishedImport:
    corpus = rows[0].corpus if rows else None
    if _is_other_suite(suite) or corpus is None:
        raise InvalidInputError(
            f"the name {request.name} belongs to another suite", "Choose another name", "name"
        )
    if request.corpus is not None:
        corpus = corpus_named(session, request.corpus)
    return FinishedImport(
        corpus.name,
        corpus.key,
        corpus.n_predictions,
        {row.key: row.id for row in rows},
        tuple(chunk_spans(session, corpus)),
    )


def _resume_import(
    session: Session,
    request: ImportRequest,
    suite: Suite,
    rows: list[Evaluation],
    requested: Corpus | None,
) -> PendingImport | None:
    """Return the interrupted import, or None if it was of another file or corpus."""
    by_key = {row.key: row for row in rows}
    ordered = [by_key.get(_evaluation_key(request.name, i)) for i in range(len(request.columns))]
    evaluations = [row for row in ordered if row is not None]
    if not evaluations or len(evaluations) != len(ordered) or len(evaluations) != len(rows):
        return None
    corpus = evaluations[0].corpus
    checkpoints = [row.checkpoint for row in evaluations]
    columns = tuple((c.model.name, c.step, c.model.nonembedding_parameters) for c in checkpoints)
    is_same_corpus = corpus.id == requested.id if requested else corpus.name == request.name
    if (
        columns != request.columns
        or not is_same_corpus
        or corpus.n_predictions != request.n_predictions
    ):
        return None
    return PendingImport(
        suite.id,
        corpus.id,
        requested is None,
        tuple(row.id for row in evaluations),
        tuple(chunk_spans(session, corpus)),
    )


def _delete(
    session: Session, suite: int, evaluations: Sequence[int], corpora: Sequence[int]
) -> None:
    session.expunge_all()
    models = select(Model.id).where(Model.suite_id == suite)
    session.execute(delete(LossChunk).where(LossChunk.evaluation_id.in_(evaluations)))
    session.execute(delete(Evaluation).where(Evaluation.id.in_(evaluations)))
    session.execute(delete(Checkpoint).where(Checkpoint.model_id.in_(models)))
    session.execute(delete(Model).where(Model.suite_id == suite))
    session.execute(delete(Suite).where(Suite.id == suite))
    session.execute(delete(Corpus).where(Corpus.id.in_(corpora)))


def _evaluation_key(name: str, column: int) -> str:
    return f"{UNFINISHED}{name} {column}"


def _corpus_key(name: str) -> str:
    return f"{UNFINISHED}{name}"


def _requested_corpus(session: Session, request: ImportRequest) -> Corpus | None:
    """Return the requested corpus, or None if the import creates a corpus without text."""
    if request.corpus is None:
        return None
    corpus = corpus_named(session, request.corpus)
    if corpus.n_predictions != request.n_predictions:
        raise InvalidInputError(
            f"{request.file} has {request.n_predictions} predictions, corpus {corpus.name} has "
            f"{corpus.n_predictions}",
            "Give one row for every prediction of the corpus, in its order, or leave --corpus out",
            "corpus",
        )
    return corpus


def _check_name_is_free(session: Session, request: ImportRequest) -> None:
    existing = session.scalars(select(Corpus.id).where(Corpus.name == request.name)).one_or_none()
    if request.corpus is None and existing is not None:
        raise InvalidInputError(
            f"the name {request.name} belongs to another corpus",
            f"Choose another name, or give --corpus {request.name} if the losses belong to "
            "its predictions",
            "name",
        )


def _create_import(
    session: Session, request: ImportRequest, requested: Corpus | None
) -> PendingImport:
    corpus = requested or _create_corpus(session, request)
    rows = _create_evaluations(session, request, corpus)
    return PendingImport(
        rows[0].checkpoint.model.suite.id,
        corpus.id,
        requested is None,
        tuple(row.id for row in rows),
        tuple(chunk_spans(session, corpus)),
    )


def _create_corpus(session: Session, request: ImportRequest) -> Corpus:
    key, files = _corpus_key(request.name), [request.file.name]
    n_predictions, imported = request.n_predictions, "losses without text"
    return textless_corpus(session, request.name, key, n_predictions, files, imported)


def _create_evaluations(
    session: Session, request: ImportRequest, corpus: Corpus
) -> list[Evaluation]:
    suite = Suite(
        name=request.name,
        description=f"Losses imported from {request.file.name}; there are no weights",
        tokenizer_key=None,
    )
    models: dict[str, Model] = {}
    # Slow, so read once.
    shared_provenance = provenance(imported=request.file.name, unit=request.unit)
    rows = []
    for i, (name, step, size) in enumerate(request.columns):
        if name not in models:
            models[name] = Model(
                suite=suite, name=name, parameters=None, nonembedding_parameters=size, config={}
            )
        model = models[name]
        checkpoint = Checkpoint(model=model, step=step, tokens_seen=None, key="", location=None)
        rows.append(
            Evaluation(
                key=_evaluation_key(request.name, i),
                corpus=corpus,
                checkpoint=checkpoint,
                n_chunks=corpus.n_chunks,
                completed_at=None,
                mean_loss_nats=None,
                share_under_tenth_nat=None,
                provenance=shared_provenance,
            )
        )
    session.add_all(rows)
    session.flush()
    return rows
