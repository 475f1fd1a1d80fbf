"""The rows of imported losses: begun, gone on with, found again, taken away."""

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

# Keys of what is not complete begin so: no hash does.
UNFINISHED = "unfinished import "


@dataclass(frozen=True)
class Wanted:
    """What is to be stored; `places` are (model, step, N) of the columns."""

    name: str
    file: Path
    unit: str
    corpus: str | None
    n_predictions: int
    places: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Begun:
    """An import that is not complete; `owns_corpus` if its corpus was made for it."""

    suite: int
    corpus: int
    owns_corpus: bool
    evaluations: tuple[int, ...]
    spans: tuple[ChunkSpan, ...]


@dataclass(frozen=True)
class Found:
    """A complete import of the same name; `evaluations` are ids by key."""

    corpus: str
    corpus_key: str
    n_predictions: int
    evaluations: dict[str, int]
    spans: tuple[ChunkSpan, ...]


def begun_or_found(session: Session, wanted: Wanted) -> Begun | Found:
    """Return the import of a name: a complete one, one to go on with, or a new one.

    Raises:
        InvalidInputError: the name belongs to something else, or the losses are not of the corpus.
        NotFoundError: there is no such corpus.
    """
    suite = session.scalars(select(Suite).where(Suite.name == wanted.name)).one_or_none()
    home = _home(session, wanted)
    if suite is None:
        _check_free(session, wanted)
        return _new(session, wanted, home)
    rows = _evaluations(session, suite)
    if _is_another(suite) or any(not row.key.startswith(UNFINISHED) for row in rows):
        return _complete(session, wanted, suite, rows)
    begun = _begun(session, wanted, suite, rows, home)
    if begun is None:
        # What was left of another import, which gave up this name.
        _delete(session, suite.id, [row.id for row in rows], _own_corpora(session, wanted.name))
        _check_free(session, wanted)
        return _new(session, wanted, home)
    return begun


def locked(session: Session, begun: Begun) -> None:
    """Keep others from the rows of an import until the transaction ends.

    Raises:
        ConflictError: they were taken away.
    """
    wanted = select(Suite.id).where(Suite.id == begun.suite).with_for_update()
    if session.scalars(wanted).one_or_none() is None:
        raise ConflictError("the import was taken away while it ran", "Ask for it again")


def put_chunk(session: Session, begun: Begun, chunk: int, rows: Sequence[dict[str, Any]]) -> None:
    """Store the rows of one chunk; what an interrupted import stored is kept if it is the same."""
    locked(session, begun)
    query = select(LossChunk.evaluation_id, LossChunk.checksum).where(
        LossChunk.evaluation_id.in_(begun.evaluations), LossChunk.chunk == chunk
    )
    there = {evaluation: checksum for evaluation, checksum in session.execute(query)}
    if there and there != {row["evaluation_id"]: row["checksum"] for row in rows}:
        session.execute(
            delete(LossChunk).where(
                LossChunk.evaluation_id.in_(begun.evaluations), LossChunk.chunk == chunk
            )
        )
        there = {}
    if not there:
        session.execute(insert(LossChunk), list(rows))


def discard(session: Session, begun: Begun) -> None:
    """Take away all rows of an import that cannot be completed."""
    _delete(session, begun.suite, begun.evaluations, [begun.corpus] if begun.owns_corpus else [])


def _is_another(suite: Suite) -> bool:
    """Return whether a suite was not imported as losses."""
    has_weights = any(one.location for model in suite.models for one in model.checkpoints)
    return suite.tokenizer_key is not None or has_weights


def _evaluations(session: Session, suite: Suite) -> list[Evaluation]:
    query = select(Evaluation).join(Checkpoint).join(Model).where(Model.suite_id == suite.id)
    return list(session.scalars(query.order_by(Evaluation.id)))


def _complete(session: Session, wanted: Wanted, suite: Suite, rows: list[Evaluation]) -> Found:
    corpus = rows[0].corpus if rows else None
    if _is_another(suite) or corpus is None:
        raise InvalidInputError(
            f"the name {wanted.name} belongs to another suite", "Choose another name", "name"
        )
    if wanted.corpus is not None:
        corpus = corpus_named(session, wanted.corpus)
    return Found(
        corpus.name,
        corpus.key,
        corpus.n_predictions,
        {row.key: row.id for row in rows},
        tuple(chunk_spans(session, corpus)),
    )


def _begun(
    session: Session, wanted: Wanted, suite: Suite, rows: list[Evaluation], home: Corpus | None
) -> Begun | None:
    """Return an interrupted import to go on with, None if it was of something else."""
    by_key = {row.key: row for row in rows}
    ordered = [by_key.get(_key(wanted.name, i)) for i in range(len(wanted.places))]
    found = [row for row in ordered if row is not None]
    if not found or len(found) != len(ordered) or len(found) != len(rows):
        return None
    corpus = found[0].corpus
    places = tuple(
        (
            row.checkpoint.model.name,
            row.checkpoint.step,
            row.checkpoint.model.nonembedding_parameters,
        )
        for row in found
    )
    is_same_corpus = corpus.id == home.id if home else corpus.name == wanted.name
    if (
        places != wanted.places
        or not is_same_corpus
        or corpus.n_predictions != wanted.n_predictions
    ):
        return None
    return Begun(
        suite.id,
        corpus.id,
        home is None,
        tuple(row.id for row in found),
        tuple(chunk_spans(session, corpus)),
    )


def _own_corpora(session: Session, name: str) -> list[int]:
    query = select(Corpus.id).where(Corpus.key == _corpus_key(name))
    return list(session.scalars(query))


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


def _key(name: str, column: int) -> str:
    return f"{UNFINISHED}{name} {column}"


def _corpus_key(name: str) -> str:
    return f"{UNFINISHED}{name}"


def _home(session: Session, wanted: Wanted) -> Corpus | None:
    """Return the corpus that was asked for, None if a corpus without text is to be made."""
    if wanted.corpus is None:
        return None
    corpus = corpus_named(session, wanted.corpus)
    if corpus.n_predictions != wanted.n_predictions:
        raise InvalidInputError(
            f"{wanted.file} has {wanted.n_predictions} predictions, corpus {corpus.name} has "
            f"{corpus.n_predictions}",
            "Give one row for every prediction of the corpus, in its order, or leave --corpus out",
            "corpus",
        )
    return corpus


def _check_free(session: Session, wanted: Wanted) -> None:
    taken = session.scalars(select(Corpus.id).where(Corpus.name == wanted.name)).one_or_none()
    if wanted.corpus is None and taken is not None:
        raise InvalidInputError(
            f"the name {wanted.name} belongs to another corpus",
            f"Choose another name, or give --corpus {wanted.name} if the losses are of its "
            "predictions",
            "name",
        )


def _new(session: Session, wanted: Wanted, home: Corpus | None) -> Begun:
    corpus = home or _new_corpus(session, wanted)
    rows = _new_evaluations(session, wanted, corpus)
    return Begun(
        rows[0].checkpoint.model.suite.id,
        corpus.id,
        home is None,
        tuple(row.id for row in rows),
        tuple(chunk_spans(session, corpus)),
    )


def _new_corpus(session: Session, wanted: Wanted) -> Corpus:
    key, count = _corpus_key(wanted.name), wanted.n_predictions
    return textless_corpus(
        session, wanted.name, key, count, [wanted.file.name], "losses without text"
    )


def _new_evaluations(session: Session, wanted: Wanted, corpus: Corpus) -> list[Evaluation]:
    suite = Suite(
        name=wanted.name,
        description=f"Losses imported from {wanted.file.name}; there are no weights",
        tokenizer_key=None,
    )
    models: dict[str, Model] = {}
    made_with = provenance(imported=wanted.file.name, unit=wanted.unit)  # slow: once for all
    rows = []
    for i, (name, step, size) in enumerate(wanted.places):
        if name not in models:
            models[name] = Model(
                suite=suite,
                name=name,
                parameters=None,
                nonembedding_parameters=size,
                config={},
            )
        checkpoint = Checkpoint(
            model=models[name], step=step, tokens_seen=None, key="", location=None
        )
        rows.append(
            Evaluation(
                key=_key(wanted.name, i),
                corpus=corpus,
                checkpoint=checkpoint,
                n_chunks=corpus.n_chunks,
                completed_at=None,
                mean_loss_nats=None,
                share_under_tenth_nat=None,
                provenance=made_with,
            )
        )
    session.add_all(rows)
    session.flush()
    return rows
