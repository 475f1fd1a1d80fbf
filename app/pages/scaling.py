"""The Scaling page: mean loss by size or step, its law, and its distribution."""

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
from backend.scaling.suites import CurveAxes
from backend.scaling.views import ScalingDetail, SuiteView

router = APIRouter(include_in_schema=False)

AXES: dict[Axis, str] = {"N": "model size N", "S": "training step S"}


@dataclass(frozen=True)
class ScalingChoice:
    """The selected corpus and suite among all corpora and the suites evaluated on this one.

    `curves` holds the axes of all curves by (suite, corpus).
    """

    corpora: tuple[CorpusRow, ...]
    suites: tuple[SuiteView, ...]
    corpus: str | None
    suite: SuiteView | None
    curves: dict[tuple[str, str], CurveAxes]

    def axes(self, suite: str | None = None, corpus: str | None = None) -> CurveAxes:
        """Return the axes with curves, by default of the selected suite and corpus."""
        suite = suite or (self.suite.id if self.suite else "")
        return self.curves.get((suite, corpus or self.corpus or ""), ())

    @property
    def searchable(self) -> dict[str, list[str]]:
        """Suites with curves by corpus: those that can be searched."""
        return {
            row.id: names
            for row in self.corpora
            if (names := [suite for suite, corpus in self.curves if corpus == row.id])
        }

    @property
    def step_models(self) -> list[str]:
        """Models of the suite with curves over steps."""
        return [model for _, model in self.axes() if model]


def scaling_choice(store: StoreDep, corpus: str | None, suite: str | None) -> ScalingChoice:
    """Return the named corpus and suite, by default the first with an evaluation."""
    rows = corpora.list_corpora(store)
    name = corpus or (rows[0].id if rows else None)
    views = suites.list_suites(store, name) if name else ()
    evaluated = tuple(view for view in views if _is_evaluated(view))
    selected = suites.suite(store, suite, name) if suite else evaluated[0] if evaluated else None
    return ScalingChoice(rows, evaluated, name, selected, suites.list_curve_axes(store))


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
    """Show the mean loss along size or step with its law, and the distribution of losses."""
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
    names = {"suite": choice.suite.id if choice.suite else None, "corpus": choice.corpus}
    params = query.changed(**names)
    page = ScalingPage(
        view=view,
        reason=reason,
        choice=choice,
        query=query,
        switches=_switches(query, choice, names),
        residuals=residual_shares(view.law) if view and view.law else [],
        model=view.model if view else query.model,
        classes=[name for name in CLASSES if view and view.class_shares.get(name)],
        address=partial(_address, query, names),
        figures=f"/figures/scaling{query_string(**params)}",
        api=f"/api/v1/scaling{query_string(**{k: v for k, v in params.items() if k != 'unit'})}",
    )
    return render(request, page)


def _switches(
    query: ScalingQuery, choice: ScalingChoice, names: dict[str, Any]
) -> dict[str, list[Switch]]:
    """Return links to the axes, suites and corpora that have curves."""
    # Bounds and subset are those of these curves; elsewhere a class may be empty.
    resets: dict[str, Any] = {"first": None, "last": None}
    if not query.subset.startswith("cluster:"):
        resets["subset"] = None
    present = {axis for axis, _ in choice.axes()} | {query.axis}
    axis_links = [
        Switch(
            words,
            _address(query, names, **resets, model=None, axis=axis if axis != "N" else None),
            axis == query.axis,
        )
        for axis, words in AXES.items()
        if axis in present
    ]
    resets["subset"] = None
    return {
        "Axis": axis_links,
        "Suite": [
            Switch(
                suite.id,
                _address(query, names, **resets, suite=suite.id, **_axis_params(query, axes)),
                choice.suite is not None and suite.id == choice.suite.id,
            )
            for suite in choice.suites
            if (axes := choice.axes(suite=suite.id)) or suite == choice.suite
        ],
        "Corpus": [
            Switch(
                corpus.id,
                _address(
                    query,
                    names if axes else {},
                    **resets | {"corpus": corpus.id},
                    **_axis_params(query, axes),
                ),
                corpus.id == choice.corpus,
            )
            for corpus in choice.corpora
            for axes in (choice.axes(corpus=corpus.id),)
        ],
    }


def _axis_params(query: ScalingQuery, axes: CurveAxes) -> dict[str, str | None]:
    """Return the axis and model of the query where `axes` has them, else the defaults."""
    axis: Axis = query.axis if query.axis in {axis for axis, _ in axes} else "N"
    return {
        "axis": axis if axis != "N" else None,
        "model": query.model if (axis, query.model) in axes else None,
    }


def _address(query: ScalingQuery, names: dict[str, Any], **changes: Any) -> str:
    """Return the page's address with some parameters changed; None removes one."""
    return "/scaling" + query_string(**{**query.changed(**names), **changes})
