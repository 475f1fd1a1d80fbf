"""Documents with one value for each token: losses, probabilities, ranks or entropies."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.corpora.corpora import document_row
from backend.corpora.heat_scales import (
    MEASURES,
    heat_classes,
    histogram,
    scale_ends,
    scale_of,
    significant,
)
from backend.corpora.views import Heat, HeatChoices, HeatModel, Measure
from backend.errors import InvalidInputError, NotReadyError
from backend.read.evaluations import default_suite, list_evaluations
from backend.read.measures import chunk_measure
from backend.read.reader import Reader, open_reader
from backend.read.suite_losses import suite_losses
from backend.read.targets import find_token, target_losses, with_placeholders
from backend.store.database import Store
from backend.store.lookup import checkpoint_at, corpus_named, has_weights, model_named, suite_named
from backend.store.tables import Corpus, Document, Evaluation, Suite, TokenChunk


def _choices(session: Session, corpus: Corpus, suite: Suite) -> HeatChoices:
    models: dict[str, HeatModel] = {}
    for evaluation in list_evaluations(session, corpus, suite):
        model, step = evaluation.checkpoint.model, evaluation.checkpoint.step
        steps = models[model.name].steps if model.name in models else ()
        models[model.name] = HeatModel(model.name, model.nonembedding_parameters, (*steps, step))
    return HeatChoices(suite.name, has_weights(suite), tuple(models.values()))


def heat_choices(store: Store, corpus: str, suite: str | None = None) -> tuple[HeatChoices, ...]:
    """Return the evaluated models and steps of each suite with evaluations on the corpus.

    Raises:
        NotFoundError: an unknown name.
    """
    with store.session() as session:
        corpus_row = corpus_named(session, corpus)
        suites = (
            [suite_named(session, suite)]
            if suite
            else session.scalars(select(Suite).order_by(Suite.id)).all()
        )
        choices = [_choices(session, corpus_row, row) for row in suites]
    return tuple(choice for choice in choices if choice.models)


def _evaluation(
    session: Session, corpus: Corpus, suite: Suite, model: str | None, step: int | None
) -> Evaluation:
    finished = list_evaluations(session, corpus, suite)
    if not finished:
        raise NotReadyError(
            f"suite {suite.name} is not evaluated on {corpus.name}",
            f"Run `quanta evaluate {suite.name} {corpus.name}`",
        )
    model_id = model_named(suite, model).id if model else finished[-1].checkpoint.model_id
    matches = [
        evaluation
        for evaluation in finished
        if evaluation.checkpoint.model_id == model_id and step in {None, evaluation.checkpoint.step}
    ]
    if matches:
        return matches[-1]
    name = model or finished[-1].checkpoint.model.name
    if step is not None:
        checkpoint_at(model_named(suite, name), step)  # NotFoundError for an unknown step
    raise NotReadyError(
        f"{name} step {step} is not evaluated on {corpus.name}",
        f"Run `quanta evaluate {suite.name} {corpus.name} --model {name}`",
    )


@dataclass(frozen=True)
class HeatRequest:
    """A measure under a checkpoint, and its colour scale.

    Attributes:
        suite: default: the first with an evaluation.
        model: default: the largest.
        step: default: the model's last.
        measure: the value of each token.
        other_model: model of the loss to subtract (difference); default: the next smaller one.
        other_step: its step; default: its last.
        target: a token as text or `id:198` (p_token); default: the line break.
        low: lower end of the colours; default: the measure's.
        high: upper end of the colours.
        is_locked: use the same scale for all documents and checkpoints; otherwise fit it.
        is_log: use a log scale for probabilities; ignored by other measures.
    """

    suite: str | None = None
    model: str | None = None
    step: int | None = None
    measure: Measure = "loss"
    other_model: str | None = None
    other_step: int | None = None
    target: str | None = None
    low: float | None = None
    high: float | None = None
    is_locked: bool = True
    is_log: bool = False


ONLY_LOSSES = "Its losses were imported without weights: choose loss, p or difference"
DEFAULT_TARGET = "⏎"


@dataclass(frozen=True)
class _Frame:
    """Inputs of a measure: one document under one evaluation."""

    store: Store
    session: Session
    corpus: Corpus
    suite: Suite
    document: Document
    evaluation: Evaluation
    reader: Reader
    request: HeatRequest

    def losses(self, evaluation: Evaluation) -> NDArray[np.float64]:
        """Return the document's losses (nats)."""
        column = suite_losses(self.store, self.session, self.corpus, self.suite).column(
            evaluation.id
        )
        return np.asarray(
            column[self.reader.offsets.prediction_range(self.document.index)], np.float64
        )


# Values, and other fields of the view.
_Values = tuple[NDArray[np.float64], dict[str, Any]]


def _loss(frame: _Frame) -> _Values:
    return frame.losses(frame.evaluation), {}


def _p(frame: _Frame) -> _Values:
    return np.exp(-frame.losses(frame.evaluation)), {}


def _stored(frame: _Frame) -> _Values:
    name, document = frame.request.measure, frame.document
    values = chunk_measure(frame.session, frame.evaluation, document.chunk, name)
    if values is None:
        suite, corpus = frame.suite.name, frame.corpus.name
        how = f"Run `quanta evaluate {suite} {corpus} --measures rank,entropy`"
        raise NotReadyError(
            f"{name} is not stored for {_checkpoint_name(frame.evaluation)} on {corpus}",
            how if has_weights(frame.suite) else ONLY_LOSSES,
        )
    chunk_start = frame.session.scalars(
        select(TokenChunk.first_prediction).where(
            TokenChunk.corpus_id == frame.corpus.id, TokenChunk.chunk == document.chunk
        )
    ).one()
    first = document.first_prediction - chunk_start
    return np.asarray(values[first : first + document.n_predictions], np.float64), {}


def _difference(frame: _Frame) -> _Values:
    """Subtract the losses of another evaluation, by default that of the next smaller model."""
    step = frame.request.other_step
    name = frame.request.other_model or _default_other_model(frame, step)
    other = _evaluation(frame.session, frame.corpus, frame.suite, name, step)
    values = frame.losses(frame.evaluation) - frame.losses(other)
    return values, {"other_model": other.checkpoint.model.name, "other_step": other.checkpoint.step}


def _default_other_model(frame: _Frame, step: int | None) -> str:
    model = frame.evaluation.checkpoint.model.name
    if step is not None:
        return model
    finished = list_evaluations(frame.session, frame.corpus, frame.suite)
    names = list(dict.fromkeys(e.checkpoint.model.name for e in finished))
    index = names.index(model)
    return names[index - 1] if index else names[min(1, len(names) - 1)]


def _p_token(frame: _Frame) -> _Values:
    token = find_token(frame.session, frame.corpus, frame.request.target or DEFAULT_TARGET)
    losses = target_losses(
        frame.session, frame.corpus, frame.document.index, token, frame.evaluation.checkpoint
    )
    target = frame.reader.token(token)
    if losses is None:
        raise NotReadyError(
            f"p({with_placeholders(target.text)}) is not computed for document "
            f"{frame.document.index} under {_checkpoint_name(frame.evaluation)}",
            "Press Compute on the document's page, or POST /api/v1/jobs with kind measure"
            if has_weights(frame.suite)
            else ONLY_LOSSES,
        )
    return np.exp(-np.asarray(losses, np.float64)), {"target": target}


def _checkpoint_name(evaluation: Evaluation) -> str:
    return f"{evaluation.checkpoint.model.name} step {evaluation.checkpoint.step}"


_BY_MEASURE: dict[str, Callable[[_Frame], _Values]] = {
    "loss": _loss,
    "p": _p,
    "rank": _stored,
    "entropy": _stored,
    "difference": _difference,
    "p_token": _p_token,
}


def heat(store: Store, corpus: str, index: int, request: HeatRequest) -> Heat:
    """Return one value for each token of a document.

    Raises:
        NotFoundError: an unknown name.
        NotReadyError: a checkpoint that is not evaluated, or a measure that is not computed.
        InvalidInputError: an unknown measure or token, or an invalid scale.
    """
    if request.measure not in MEASURES:
        raise InvalidInputError(
            f"measure {request.measure!r}", f"Choose one of {', '.join(MEASURES)}", "measure"
        )
    scale = scale_of(request.measure, is_log=request.is_log)
    with store.session() as session:
        corpus_row = corpus_named(session, corpus)
        document = document_row(session, corpus_row, index)
        suite = (
            suite_named(session, request.suite)
            if request.suite
            else default_suite(session, corpus_row)
        )
        evaluation = _evaluation(session, corpus_row, suite, request.model, request.step)
        reader = open_reader(store, session, corpus_row)
        frame = _Frame(store, session, corpus_row, suite, document, evaluation, reader, request)
        values, fields = _BY_MEASURE[request.measure](frame)
        checkpoint = evaluation.checkpoint
        names = (suite.name, checkpoint.model.name, checkpoint.step)
    ends = scale_ends(scale, values, request.low, request.high, is_locked=request.is_locked)
    # The first token of a document has no prediction.
    is_whole = request.measure == "rank"
    head = [None] * (document.n_tokens - len(values))
    return Heat(
        corpus=corpus,
        document=index,
        suite=names[0],
        model=names[1],
        step=names[2],
        measure=request.measure,
        unit=scale.unit,
        values=(*head, *(significant(float(v), is_whole=is_whole) for v in values)),
        classes=(*head, *heat_classes(values, ends, is_log=scale.is_log)),
        scale=ends,
        bounds=scale.bounds,
        is_log=scale.is_log,
        is_diverging=scale.is_diverging,
        histogram=histogram(values, scale),
        mean=significant(float(values.mean())) if len(values) else None,
        **fields,
    )
