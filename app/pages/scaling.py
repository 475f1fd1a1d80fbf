"""The page of scaling laws: how the mean loss falls, and what the mean is made of."""

from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.deps import OptionalCorpus, OptionalModel, OptionalSuite, StoreDep
from app.templating import query, render
from backend.errors import QuantaError
from backend.queries import corpora, suites
from backend.queries.views import Axis, CorpusRow, ScalingView, SuiteView

router = APIRouter(include_in_schema=False)

MIN_STEPS = 2


@dataclass(frozen=True)
class ScalingChoice:
    """What can be drawn: corpora, suites evaluated on the chosen one, and the chosen names."""

    corpora: tuple[CorpusRow, ...]
    suites: tuple[SuiteView, ...]
    corpus: str | None
    suite: SuiteView | None

    @property
    def step_models(self) -> list[str]:
        """Models of the suite with a curve over steps."""
        return [
            model.name
            for model in (self.suite.models if self.suite else ())
            if sum(row.mean_loss_nats is not None for row in model.checkpoints) >= MIN_STEPS
        ]


def scaling_choice(store: StoreDep, corpus: str | None, suite: str | None) -> ScalingChoice:
    """Return the named corpus and suite, or the first ones that have an evaluation."""
    rows = corpora.list_corpora(store)
    name = corpus or (rows[0].id if rows else None)
    found = suites.list_suites(store, name) if name else ()
    usable = tuple(one for one in found if _is_evaluated(one))
    if suite:
        return ScalingChoice(rows, usable, name, suites.suite(store, suite, name))
    return ScalingChoice(rows, usable, name, usable[0] if usable else None)


def _is_evaluated(suite: SuiteView) -> bool:
    return any(
        row.mean_loss_nats is not None for model in suite.models for row in model.checkpoints
    )


@router.get("/scaling")
def scaling(
    request: Request,
    store: StoreDep,
    axis: Axis = "N",
    suite: OptionalSuite = None,
    corpus: OptionalCorpus = None,
    model: OptionalModel = None,
) -> Response:
    """Show mean loss along size or step with its power law, p(L) and the classes of curves."""
    choice = scaling_choice(store, corpus, suite)
    view: ScalingView | None = None
    reason = "No suite has been evaluated on a corpus yet."
    if choice.suite and choice.corpus:
        try:
            view = suites.scaling(store, choice.suite.id, choice.corpus, axis, model)
        except QuantaError as error:
            if model or suite or corpus:
                raise
            reason = f"{error.problem}. {error.remedy}."
    wanted = query(
        suite=choice.suite.id if choice.suite else None,
        corpus=choice.corpus,
        axis=axis,
        model=model,
    )
    return render(
        request,
        "scaling.html",
        section="scaling",
        title="Scaling laws",
        view=view,
        reason=reason,
        choice=choice,
        axis=axis,
        model=view.model if view else model,
        figures=f"/figures/scaling{wanted}",
        api=f"/api/v1/scaling{wanted}",
    )
