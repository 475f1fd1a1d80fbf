"""discover: quanta under one checkpoint, by clustering gradients (arXiv:2303.13506, section 5)."""

from typing import Annotated

from pydantic import Field
from sqlalchemy.orm import Session

from backend.jobs.kinds.base import Checked, Cost, JobKind, with_weights
from backend.schemas.parameters import (
    MAX_INTEGER,
    CorpusName,
    ModelName,
    Number,
    Parameters,
    SuiteName,
)
from backend.store.database import Store
from backend.store.lookup import (
    checkpoint_at,
    corpus_named,
    finished_evaluation,
    model_named,
    suite_named,
)

# 2N forward, 4N backward (arXiv:2001.08361, section 2.1).
GRADIENT_FLOP = 6.0


class DiscoverParameters(Parameters):
    """A discovery; defaults are the published settings where they are not a corpus's size."""

    suite: SuiteName = Field(title="Suite")
    corpus: CorpusName = Field(title="Corpus", description="Evaluated under the checkpoint")
    model: ModelName | None = Field(
        None, title="Model", description="The largest if left out", examples=["s3"]
    )
    step: Number | None = Field(None, title="Step", description="The last if left out")
    threshold_nats: float = Field(
        0.1, gt=0, le=100, allow_inf_nan=False, title="Losses below, nats"
    )
    induction_filter: bool = Field(
        True, title="Leave out what induction explains", description="Copies from the context"
    )
    stride: int = Field(1, ge=1, le=MAX_INTEGER, title="Keep every …th")
    limit: int = Field(10_000, ge=10, le=100_000, title="Predictions at most")
    n_clusters: list[Annotated[int, Field(ge=2, le=100_000)]] = Field(
        title="Numbers of clusters", min_length=1, max_length=200, examples=[[10, 20, 50]]
    )
    n_init: int = Field(30, ge=1, le=1000, title="k-means starts")
    seed: Number = Field(0, title="Seed of those starts")


def _check(store: Store, session: Session, asked: DiscoverParameters) -> Checked:
    corpus = corpus_named(session, asked.corpus)
    suite = with_weights(suite_named(session, asked.suite))
    model = model_named(suite, asked.model) if asked.model else suite.models[-1]
    checkpoint = checkpoint_at(model, asked.step)
    finished_evaluation(session, corpus, checkpoint)
    return {
        **asked.model_dump(),
        "suite": suite.name,
        "corpus": corpus.name,
        "model": checkpoint.model.name,
        "step": checkpoint.step,
        "n_clusters": sorted(set(asked.n_clusters)),
    }


def _cost(store: Store, session: Session, parameters: Checked) -> Cost:
    corpus = corpus_named(session, parameters["corpus"])
    model = model_named(suite_named(session, parameters["suite"]), parameters["model"])
    size = min(parameters["limit"], corpus.n_predictions)
    # Contexts are half a document long on average; every pair of gradients meets once.
    gradients = GRADIENT_FLOP * model.nonembedding_parameters * size * corpus.max_tokens / 2
    return Cost(None, gradients + float(size) ** 2 * model.nonembedding_parameters, "FLOP")


DISCOVER = JobKind(
    name="discover",
    title="Discovery of quanta",
    summary="Predictions that a model gets right, clustered by the angle between their gradients.",
    unit="stages",
    schema=DiscoverParameters,
    check=_check,
    cost=_cost,
)
