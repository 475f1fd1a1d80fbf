"""measure: p(chosen token) in the place of every token of a document."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.errors import NotFoundError, NotReadyError
from backend.jobs.kinds.base import (
    Checked,
    Cost,
    JobKind,
    forward_flop,
    placed,
    places,
    with_weights,
)
from backend.read.targets import find_token
from backend.schemas.parameters import (
    MAX_INTEGER,
    NAME_PATTERN,
    NO_NUL,
    CorpusName,
    ModelName,
    Number,
    Parameters,
)
from backend.store.database import Store
from backend.store.lookup import (
    checkpoint_at,
    corpus_named,
    finished_evaluations,
    has_weights,
    model_named,
    suite_named,
    tokenizer_of,
)
from backend.store.tables import Checkpoint, Corpus, Document, Suite

Which = Literal["one", "final", "steps", "all"]


class MeasureParameters(Parameters):
    """p(chosen token) over a document."""

    corpus: CorpusName = Field(title="Corpus")
    document: int = Field(ge=0, le=MAX_INTEGER, title="Document")
    target: str = Field(
        min_length=1,
        max_length=200,
        pattern=NO_NUL,
        title="Token",
        description="As text, or its id as id:198",
        examples=["⏎"],
    )
    suite: str | None = Field(
        None, pattern=NAME_PATTERN, title="Suite", description="The first that is evaluated"
    )
    model: ModelName | None = Field(None, title="Model", description="The largest if left out")
    step: Number | None = Field(None, title="Step", description="The last if left out")
    checkpoints: Which = Field(
        "one",
        title="Checkpoints",
        description="one, final (each model's last), steps (of the model) or all",
    )


def _check(store: Store, session: Session, asked: MeasureParameters) -> Checked:
    corpus = corpus_named(session, asked.corpus)
    tokenizer_of(corpus)  # refuses one without text
    if session.get(Document, (corpus.id, asked.document)) is None:
        raise NotFoundError(
            f"corpus {corpus.name} has no document {asked.document}",
            f"Its documents are 0 to {corpus.n_documents - 1}",
        )
    suite = chosen_suite(session, corpus, asked.suite)
    return {
        "corpus": corpus.name,
        "document": asked.document,
        "token": find_token(session, corpus, asked.target),
        "suite": suite.name,
        "checkpoints": places(_chosen(session, corpus, suite, asked)),
    }


def chosen_suite(session: Session, corpus: Corpus, name: str | None) -> Suite:
    """Return the suite that is named, or the first with weights that is evaluated on a corpus."""
    if name:
        return with_weights(suite_named(session, name))
    for suite in session.scalars(select(Suite).order_by(Suite.id)):
        if has_weights(suite) and finished_evaluations(session, corpus, suite):
            return suite
    raise NotReadyError(
        f"no suite is evaluated on {corpus.name}", f"Run `quanta evaluate SUITE {corpus.name}`"
    )


def _chosen(
    session: Session, corpus: Corpus, suite: Suite, asked: MeasureParameters
) -> Sequence[Checkpoint]:
    """Return the evaluated checkpoints that are asked for, by size, then step."""
    known = [e.checkpoint for e in finished_evaluations(session, corpus, suite)]
    if not known:
        raise NotReadyError(
            f"suite {suite.name} is not evaluated on {corpus.name}",
            f"Run `quanta evaluate {suite.name} {corpus.name}`",
        )
    if asked.checkpoints == "all":
        return known
    last = {c.model_id: c for c in known}
    if asked.checkpoints == "final":
        return list(last.values())
    model = model_named(suite, asked.model) if asked.model else known[-1].model
    if asked.checkpoints == "steps":
        return [c for c in known if c.model_id == model.id]
    if asked.step is None and model.id in last:
        return [last[model.id]]
    return [checkpoint_at(model, asked.step)]


def _cost(store: Store, session: Session, parameters: Checked) -> Cost:
    corpus = corpus_named(session, parameters["corpus"])
    chosen = placed(suite_named(session, parameters["suite"]), parameters["checkpoints"])
    return Cost(len(chosen), forward_flop(chosen, corpus.max_tokens), "FLOP")


MEASURE = JobKind(
    name="measure",
    title="p(chosen token)",
    summary="The probability of one token in the place of every token of a document.",
    unit="checkpoints",
    schema=MeasureParameters,
    check=_check,
    cost=_cost,
    on_form=False,
)
