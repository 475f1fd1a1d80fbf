"""Documents coloured by one value a token."""

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.db import Store
from backend.errors import InvalidInputError, NotFoundError, NotReadyError
from backend.lookup import (
    checkpoint_at,
    corpus_named,
    finished_evaluations,
    model_named,
    suite_named,
)
from backend.models import Corpus, Evaluation, Suite
from backend.queries.corpora import document_row
from backend.queries.losses import suite_losses
from backend.queries.reading import reader
from backend.queries.views import Heat, HeatChoices, HeatModel, Measure

# The same for every document, model and step: a colour always means the same value.
SCALES: dict[str, tuple[float, float]] = {"loss": (0.0, 10.0), "p": (0.0, 1.0)}
N_CLASSES = 64


def heat_class(value: float, scale: tuple[float, float]) -> int:
    """Return the colour class 0 … 63 of a value on a scale; values beyond it take its ends."""
    low, high = scale
    return min(N_CLASSES - 1, max(0, int(N_CLASSES * (value - low) / (high - low))))


def _choices(session: Session, corpus: Corpus, suite: Suite) -> HeatChoices:
    models: dict[str, HeatModel] = {}
    for evaluation in finished_evaluations(session, corpus, suite):
        model, step = evaluation.checkpoint.model, evaluation.checkpoint.step
        known = models.get(model.name)
        steps = (*known.steps, step) if known else (step,)
        models[model.name] = HeatModel(model.name, model.nonembedding_parameters, steps)
    return HeatChoices(suite.name, tuple(models.values()))


def heat_choices(store: Store, corpus: str, suite: str | None = None) -> tuple[HeatChoices, ...]:
    """Return, for each suite, models and steps that are evaluated on the corpus.

    Raises:
        NotFoundError: an unknown name.
    """
    with store.session() as session:
        home = corpus_named(session, corpus)
        suites = (
            [suite_named(session, suite)]
            if suite
            else session.scalars(select(Suite).order_by(Suite.id)).all()
        )
        choices = [_choices(session, home, s) for s in suites]
    return tuple(choice for choice in choices if choice.models)


def _evaluation(
    session: Session, corpus: Corpus, suite: Suite, model: str | None, step: int | None
) -> Evaluation:
    finished = finished_evaluations(session, corpus, suite)
    if not finished:
        raise NotReadyError(
            f"suite {suite.name} is not evaluated on {corpus.name}",
            f"Run `quanta evaluate {suite.name} {corpus.name}`",
        )
    wanted = model_named(suite, model).id if model else finished[-1].checkpoint.model_id
    steps = [e for e in finished if e.checkpoint.model_id == wanted]
    chosen = [e for e in steps if step is None or e.checkpoint.step == step]
    if chosen:
        return chosen[-1]
    name = model or finished[-1].checkpoint.model.name
    if step is not None:
        checkpoint_at(model_named(suite, name), step)  # an unknown step is a 404, not a conflict
    raise NotReadyError(
        f"{name} step {step} is not evaluated on {corpus.name}",
        f"Run `quanta evaluate {suite.name} {corpus.name} --model {name}`",
    )


def first_suite(session: Session, corpus: Corpus) -> Suite | None:
    """Return the first suite that is evaluated on a corpus, None if none is."""
    for suite in session.scalars(select(Suite).order_by(Suite.id)):
        if finished_evaluations(session, corpus, suite):
            return suite
    return None


def default_suite(session: Session, corpus: Corpus) -> Suite:
    """Return the first suite that is evaluated on a corpus.

    Raises:
        NotFoundError: none is.
    """
    suite = first_suite(session, corpus)
    if suite is None:
        raise NotFoundError(
            f"no suite is evaluated on {corpus.name}", f"Run `quanta evaluate SUITE {corpus.name}`"
        )
    return suite


def heat(
    store: Store,
    corpus: str,
    index: int,
    *,
    suite: str | None,
    model: str | None,
    step: int | None,
    measure: Measure,
) -> Heat:
    """Return one value a token of a document; None takes the largest model, its last step.

    Raises:
        NotFoundError, NotReadyError: an unknown name, or a checkpoint that is not evaluated.
        InvalidInputError: an unknown measure.
    """
    if measure not in SCALES:
        raise InvalidInputError(f"measure {measure!r}", "Choose loss or p", "measure")
    with store.session() as session:
        home = corpus_named(session, corpus)
        document_row(session, home, index)
        family = suite_named(session, suite) if suite else default_suite(session, home)
        chosen = _evaluation(session, home, family, model, step)
        column = suite_losses(store, session, home, family).column(chosen.id)
        read = reader(store, session, home)
        first, last = read.predictions[index : index + 2].tolist()
        name, at = chosen.checkpoint.model.name, chosen.checkpoint.step
    losses = np.asarray(column[first:last], np.float64)
    values = losses if measure == "loss" else np.exp(-losses)
    # The first token of a document is given, not predicted.
    head = [None] * (len(read.ids(index)) - len(values))
    return Heat(
        corpus=corpus,
        document=index,
        suite=family.name,
        model=name,
        step=at,
        measure=measure,
        values=(*head, *(round(float(v), 4) for v in values)),
        classes=(*head, *(heat_class(float(v), SCALES[measure]) for v in values)),
        scale=SCALES[measure],
        mean=float(values.mean()) if len(values) else None,
    )
