"""The page of scaling laws: how the mean loss falls, and what the mean is made of."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from app.figures.losses import CLASSES
from app.figures.scaling import residual_shares
from app.requests.dependencies import StoreDep
from app.requests.scaling import ScalingQuery
from app.web.templating import PageContext, query_string, render
from backend.corpora import corpora
from backend.corpora.views import CorpusRow
from backend.errors import QuantaError
from backend.read.views import Axis
from backend.scaling import suites
from backend.scaling.detail import scaling_detail
from backend.scaling.views import ScalingDetail, SuiteView

router = APIRouter(include_in_schema=False)

_Drawn = tuple[tuple[Axis, str | None], ...]
AXES: dict[Axis, str] = {"N": "model size N", "S": "training step S"}


@dataclass(frozen=True)
class ScalingChoice:
    """What can be drawn: corpora, suites evaluated on the chosen one, and the chosen names.

    `curves` holds (axis, model) of what has curves, by (suite, corpus).
    """

    corpora: tuple[CorpusRow, ...]
    suites: tuple[SuiteView, ...]
    corpus: str | None
    suite: SuiteView | None
    curves: dict[tuple[str, str], _Drawn]

    def drawn(self, suite: str | None = None, corpus: str | None = None) -> _Drawn:
        """Return what has curves; by default of the chosen names."""
        suite = suite or (self.suite.id if self.suite else "")
        return self.curves.get((suite, corpus or self.corpus or ""), ())

    @property
    def searchable(self) -> dict[str, list[str]]:
        """Suites with curves by corpus, as the search can be asked for them."""
        return {
            row.id: found
            for row in self.corpora
            if (found := [suite for suite, corpus in self.curves if corpus == row.id])
        }

    @property
    def step_models(self) -> list[str]:
        """Models of the suite with curves over steps."""
        return [model for _, model in self.drawn() if model]


def scaling_choice(store: StoreDep, corpus: str | None, suite: str | None) -> ScalingChoice:
    """Return the named corpus and suite, or the first ones that have an evaluation."""
    rows = corpora.list_corpora(store)
    name = corpus or (rows[0].id if rows else None)
    found = suites.list_suites(store, name) if name else ()
    usable = tuple(one for one in found if _is_evaluated(one))
    chosen = suites.suite(store, suite, name) if suite else usable[0] if usable else None
    return ScalingChoice(rows, usable, name, chosen, suites.list_curve_axes(store))


def _is_evaluated(suite: SuiteView) -> bool:
    return any(
        row.mean_loss_nats is not None for model in suite.models for row in model.checkpoints
    )


@dataclass(frozen=True)
class Switch:
    """A link to the same view of other curves."""

    text: str
    href: str
    is_current: bool


@dataclass(frozen=True, kw_only=True)
class ScalingPage(PageContext):
    """Variables of the Scaling page.

    `view` is None where there is nothing to draw, for the `reason` given; `address` returns the
    page's address with some parameters changed; `figures` is the address of the plots.
    """

    template: ClassVar[str] = "scaling.html"

    title: str = "Scaling laws"
    section: str = "scaling"
    view: ScalingDetail | None
    reason: str
    choice: ScalingChoice
    query: ScalingQuery
    switches: dict[str, list[Switch]]
    residuals: list[float]
    model: str | None
    classes: list[str]
    address: Callable[..., str]
    figures: str


@router.get("/scaling")
def scaling(request: Request, store: StoreDep, query: Annotated[ScalingQuery, Query()]) -> Response:
    """Show mean loss along size or step with its law, and what kinds of losses it is made of."""
    choice = scaling_choice(store, query.corpus, query.suite)
    view: ScalingDetail | None = None
    reason = "No suite has been evaluated on a corpus yet."
    if choice.suite and choice.corpus:
        try:
            view = scaling_detail(store, query.request(choice.suite.id, choice.corpus))
        except QuantaError as error:
            if query.changed():
                raise
            reason = f"{error.problem}. {error.remedy}."
    named = {"suite": choice.suite.id if choice.suite else None, "corpus": choice.corpus}
    given = query.changed(**named)
    page = ScalingPage(
        view=view,
        reason=reason,
        choice=choice,
        query=query,
        switches=_switches(query, choice, named),
        residuals=residual_shares(view.law) if view and view.law else [],
        model=view.model if view else query.model,
        classes=[name for name in CLASSES if view and view.class_shares.get(name)],
        address=partial(_address, query, named),
        figures=f"/figures/scaling{query_string(**given)}",
        api=f"/api/v1/scaling{query_string(**{k: v for k, v in given.items() if k != 'unit'})}",
    )
    return render(request, page)


def _switches(
    query: ScalingQuery, choice: ScalingChoice, named: dict[str, Any]
) -> dict[str, list[Switch]]:
    """Return links to other axes, suites and corpora; none leads to curves that are not there."""
    # Of these curves alone; a class may be empty among others.
    others: dict[str, Any] = {"first": None, "last": None}
    if not query.subset.startswith("cluster:"):
        others["subset"] = None
    held = {axis for axis, _ in choice.drawn()} | {query.axis}
    axes = [
        Switch(
            words,
            _address(query, named, **others, model=None, axis=axis if axis != "N" else None),
            axis == query.axis,
        )
        for axis, words in AXES.items()
        if axis in held
    ]
    others["subset"] = None
    return {
        "Axis": axes,
        "Suite": [
            Switch(
                one.id,
                _address(query, named, **others, suite=one.id, **_there(query, drawn)),
                choice.suite is not None and one.id == choice.suite.id,
            )
            for one in choice.suites
            if (drawn := choice.drawn(suite=one.id)) or one == choice.suite
        ],
        "Corpus": [
            Switch(
                one.id,
                _address(
                    query,
                    named if drawn else {},
                    **others | {"corpus": one.id},
                    **_there(query, drawn),
                ),
                one.id == choice.corpus,
            )
            for one in choice.corpora
            for drawn in (choice.drawn(corpus=one.id),)
        ],
    }


def _there(query: ScalingQuery, drawn: _Drawn) -> dict[str, str | None]:
    """Return axis and model as asked for, as far as there are such curves."""
    axis: Axis = query.axis if query.axis in {axis for axis, _ in drawn} else "N"
    return {
        "axis": axis if axis != "N" else None,
        "model": query.model if (axis, query.model) in drawn else None,
    }


def _address(query: ScalingQuery, named: dict[str, Any], **changes: Any) -> str:
    """Return the page's address with some parameters changed; None leaves one out."""
    return "/scaling" + query_string(**{**query.changed(**named), **changes})
