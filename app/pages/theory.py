"""The page of the theory simulator: laws of finite numbers of quanta, with sliders."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from app.requests.theory import DEFAULTS, TheoryQuery
from app.web.templating import PageContext, query_string, render
from backend.scaling.theory import BOUNDS, measured_exponents, theory_laws
from backend.scaling.theory_views import Exponents, TheoryLaw, TheoryLaws, TheoryRequest

router = APIRouter(include_in_schema=False)

# Name, symbol, description and scale of each slider.
_CONTROLS = (
    ("alpha", "α", "exponent of the frequencies", "linear"),
    ("m", "m", "quanta in the sum", "log"),
    ("a", "a", "loss of a learned quantum, nats", "linear"),
    ("b", "b", "loss before learning, nats", "linear"),
    ("capacity", "C", "parameters to learn a quantum", "log"),
    ("tau", "τ", "samples to learn a quantum", "log"),
    ("first_steps", "T", "steps to learn the first quantum", "log"),
    ("n", "n", "learned quanta at the mark ◆", "log"),
)


@dataclass(frozen=True)
class Control:
    """One parameter of the simulator: a number field, with a slider that a script adds."""

    name: str
    symbol: str
    description: str
    scale: str
    value: str
    default: str
    minimum: str
    maximum: str
    is_integer: bool


@dataclass(frozen=True, kw_only=True)
class TheoryPage(PageContext):
    """Variables of the Theory page.

    `comparisons` holds one word for each law; `why` explains the slope over N.
    """

    template: ClassVar[str] = "theory.html"

    title: str = "Theory"
    section: str = "experiments"
    view: TheoryLaws
    controls: tuple[Control, ...]
    comparisons: list[str]
    why: str
    measured: Exponents
    figures: str


def _control(
    request: TheoryRequest, name: str, symbol: str, description: str, scale: str
) -> Control:
    bounds, value = BOUNDS[name], getattr(request, name)
    return Control(
        name,
        symbol,
        description,
        scale,
        value=_plain(value),
        default=_plain(getattr(DEFAULTS, name)),
        minimum=_plain(bounds.minimum),
        maximum=_plain(request.m if name == "n" else bounds.maximum),
        is_integer=isinstance(value, int),
    )


def _plain(value: float) -> str:
    return f"{value:.12g}" if abs(value) < 1e12 else str(value)


def compare_slopes(law: TheoryLaw) -> str:
    """Return whether the slope of the finite sum is as steep as that of the limit."""
    ratio = law.finite_exponent / law.exponent
    return "as steep" if abs(ratio - 1) < 0.005 else "steeper" if ratio > 1 else "shallower"


def _explain_difference(view: TheoryLaws) -> str:
    """Return why the slopes of the finite sum differ from those of the limit."""
    if compare_slopes(view.laws[0]) == "shallower":
        return "with few learned quanta, each is a visible step"
    return "the sum ends at the last quantum, the limit never does"


@router.get("/theory")
def theory(request: Request, query: Annotated[TheoryQuery, Query()]) -> Response:
    """Show L(N), L(D) and L(S) of the quantization model, and measured exponents."""
    view = theory_laws(query.request())
    changed = query_string(**query.changed())
    page = TheoryPage(
        view=view,
        controls=tuple(_control(view.request, *control) for control in _CONTROLS),
        comparisons=[compare_slopes(law) for law in view.laws],
        why=_explain_difference(view),
        measured=measured_exponents(),
        figures=f"/figures/theory{changed}",
        api=f"/api/v1/theory/laws{changed}",
    )
    return render(request, page)
