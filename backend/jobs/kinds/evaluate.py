"""evaluate: losses of every token of a corpus under checkpoints of a suite."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.errors import InvalidInputError
from backend.jobs.kinds.base import (
    Checked,
    Cost,
    JobKind,
    as_asked,
    forward_flop,
    placed,
    places,
    with_weights,
)
from backend.read.measures import checked_measures
from backend.schemas.parameters import CorpusName, ModelName, Number, Parameters, SuiteName
from backend.store.database import Store
from backend.store.lookup import checkpoint_at, corpus_named, model_named, suite_named, tokenizer_of
from backend.store.tables import Checkpoint, Corpus, Evaluation, LossChunk, MeasureChunk


class EvaluateParameters(Parameters):
    """Losses of every token of a corpus."""

    suite: SuiteName = Field(title="Suite")
    corpus: CorpusName = Field(title="Corpus", description="With the suite's tokenizer")
    models: Annotated[list[ModelName], Field(max_length=100)] | None = Field(
        None, title="Models", description="All if left out", examples=[["s1", "s2"]]
    )
    steps: Annotated[list[Number], Field(max_length=1000)] | None = Field(
        None, title="Steps", description="All of each model if left out", examples=[[0, 2000]]
    )
    measures: Annotated[list[Literal["rank", "entropy"]], Field(max_length=2)] | None = Field(
        None, title="Measures", description="Stored beside the losses", examples=[["rank"]]
    )


def _check(store: Store, session: Session, asked: EvaluateParameters) -> Checked:
    corpus = corpus_named(session, asked.corpus)
    suite = with_weights(suite_named(session, asked.suite))
    if tokenizer_of(corpus).key != suite.tokenizer_key:
        raise InvalidInputError(
            f"corpus {corpus.name} has another tokenizer than suite {suite.name}",
            "Name a corpus that was added with the suite's tokenizer",
            "corpus",
        )
    models = [model_named(suite, name) for name in asked.models] if asked.models else suite.models
    chosen = {
        (model.name, step): checkpoint_at(model, step)
        for model in models
        for step in (asked.steps or [c.step for c in model.checkpoints])
    }
    return {
        "suite": suite.name,
        "corpus": corpus.name,
        "checkpoints": places(list(chosen.values())),
        "measures": sorted(set(checked_measures(asked.measures or ()))),
    }


def _asked(parameters: Checked) -> Checked:
    """A request names models and steps, the same of each: other choices it can only come near."""
    steps: dict[str, list[int]] = {}
    for model, step in parameters["checkpoints"]:
        steps.setdefault(model, []).append(step)
    known = {**as_asked(parameters), "models": list(steps)}
    first = next(iter(steps.values()), [])
    return {**known, "steps": first} if all(s == first for s in steps.values()) else known


def _cost(store: Store, session: Session, parameters: Checked) -> Cost:
    corpus = corpus_named(session, parameters["corpus"])
    chosen = placed(suite_named(session, parameters["suite"]), parameters["checkpoints"])
    missing = {
        one.id: corpus.n_chunks - n
        for one, n in zip(chosen, _stored(session, corpus, chosen, parameters), strict=True)
    }
    flop = sum(
        forward_flop([one], corpus.n_predictions) * missing[one.id] / max(corpus.n_chunks, 1)
        for one in chosen
    )
    return Cost(sum(missing.values()), flop, "FLOP")


def _stored(
    session: Session, corpus: Corpus, chosen: Sequence[Checkpoint], parameters: Checked
) -> list[int]:
    """Return how many chunks of each checkpoint are stored, with all that is asked for."""
    table = MeasureChunk if parameters["measures"] else LossChunk
    query = (
        select(Evaluation.checkpoint_id, table.chunk)
        .join(Evaluation, Evaluation.id == table.evaluation_id)
        .where(
            Evaluation.corpus_id == corpus.id,
            Evaluation.checkpoint_id.in_([one.id for one in chosen]),
        )
    )
    if parameters["measures"]:
        query = query.where(MeasureChunk.name.in_(parameters["measures"]))
    found = Counter((checkpoint, chunk) for checkpoint, chunk in session.execute(query))
    each = max(1, len(parameters["measures"]))
    whole = Counter(checkpoint for (checkpoint, _), n in found.items() if n >= each)
    return [min(whole[one.id], corpus.n_chunks) for one in chosen]


EVALUATE = JobKind(
    name="evaluate",
    title="Evaluation",
    summary="Losses of every token of a corpus under checkpoints of a suite.",
    unit="chunks",
    schema=EvaluateParameters,
    check=_check,
    cost=_cost,
    asked=_asked,
)
