"""classify: every prediction's curve over size and step, of what is evaluated."""

from pydantic import Field
from sqlalchemy.orm import Session

from backend.errors import NotReadyError
from backend.jobs.kinds.base import Checked, Cost, JobKind
from backend.schemas.parameters import CorpusName, Parameters, SuiteName
from backend.store.database import Store
from backend.store.lookup import corpus_named, finished_evaluations, suite_named


class ClassifyParameters(Parameters):
    """Classes and scores of curves."""

    suite: SuiteName = Field(title="Suite")
    corpus: CorpusName = Field(title="Corpus", description="Evaluated under the suite")


def _check(store: Store, session: Session, asked: ClassifyParameters) -> Checked:
    corpus = corpus_named(session, asked.corpus)
    suite = suite_named(session, asked.suite)
    found = finished_evaluations(session, corpus, suite)
    if not found:
        raise NotReadyError(
            f"suite {suite.name} is not evaluated on {corpus.name}",
            f"Run `quanta evaluate {suite.name} {corpus.name}`, or submit a job for it",
        )
    # What is classified is what is evaluated now: later evaluations make another job.
    return {
        "suite": suite.name,
        "corpus": corpus.name,
        "evaluations": [evaluation.key[:16] for evaluation in found],
    }


def _cost(store: Store, session: Session, parameters: Checked) -> Cost:
    corpus = corpus_named(session, parameters["corpus"])
    # Two bytes a stored loss, each read once.
    return Cost(1, 2.0 * corpus.n_predictions * len(parameters["evaluations"]), "bytes")


CLASSIFY = JobKind(
    name="classify",
    title="Classes of curves",
    summary="Class and scores of every prediction's curve over size and over steps.",
    unit="stages",
    schema=ClassifyParameters,
    check=_check,
    cost=_cost,
)
