"""The page of scaling laws: how the mean loss falls, and what the mean is made of."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from app.deps import StoreDep
from app.figures.losses import CLASSES
from app.figures.scaling import in_unit
from app.scaling_query import ScalingQuery
from app.templating import query, render
from backend.errors import QuantaError
from backend.queries import corpora, suites
from backend.queries.scaling import scaling_detail
from backend.queries.scaling_views import ScalingDetail
from backend.queries.views import CorpusRow, SuiteView

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
    request: Request, store: StoreDep, wanted: Annotated[ScalingQuery, Query()]
) -> Response:
    """Show mean loss along size or step with its law, and what kinds of losses it is made of."""
    choice = scaling_choice(store, wanted.corpus, wanted.suite)
    view: ScalingDetail | None = None
    reason = "No suite has been evaluated on a corpus yet."
    if choice.suite and choice.corpus:
        try:
            view = scaling_detail(store, wanted.request(choice.suite.id, choice.corpus))
        except QuantaError as error:
            if wanted.changed():
                raise
            reason = f"{error.problem}. {error.remedy}."
    named = {"suite": choice.suite.id if choice.suite else None, "corpus": choice.corpus}
    given = wanted.changed(**named)
    return render(
        request,
        "scaling.html",
        section="scaling",
        title="Scaling laws",
        view=view,
        reason=reason,
        choice=choice,
        wanted=wanted,
        axis=wanted.axis,
        unit=wanted.unit,
        factor=in_unit(1, wanted.unit),
        model=view.model if view else wanted.model,
        classes=[name for name in CLASSES if view and view.class_shares.get(name)],
        address=partial(_address, wanted, named),
        figures=f"/figures/scaling{query(**given)}",
        api=f"/api/v1/scaling{query(**{k: v for k, v in given.items() if k != 'unit'})}",
    )


def _address(wanted: ScalingQuery, named: dict[str, Any], **changes: Any) -> str:
    """Return the page's address with some parameters changed; None leaves one out."""
    return "/scaling" + query(**{**wanted.changed(**named), **changes})
