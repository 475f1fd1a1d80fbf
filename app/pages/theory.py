"""The page of the theory simulator: laws of finitely many quanta, by sliders."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from app.requests.theory import DEFAULTS, TheoryQuery
from app.web.templating import query_string, render
from backend.scaling.theory import BOUNDS, exponents, theory_laws
from backend.scaling.theory_views import TheoryLaw, TheoryLaws, TheoryRequest

router = APIRouter(include_in_schema=False)

_KNOBS = (
    ("alpha", "α", "how fast frequencies fall", "linear"),
    ("m", "m", "quanta in the sum", "log"),
    ("a", "a", "loss of a quantum learned, nats", "linear"),
    ("b", "b", "loss before it is learned, nats", "linear"),
    ("capacity", "C", "parameters that a quantum takes", "log"),
    ("threshold", "τ", "samples that a quantum takes", "log"),
    ("first_steps", "T", "steps that the first quantum takes", "log"),
    ("n", "n", "quanta learned at the mark ◆", "log"),
)


@dataclass(frozen=True)
class Knob:
    """One number of the simulator: a field, and a slider that scripts put beside it."""

    name: str
    symbol: str
    words: str
    scale: str
    value: str
    default: str
    least: str
    most: str
    is_whole: bool


def knobs(asked: TheoryRequest) -> tuple[Knob, ...]:
    """Return the fields of the form with what was asked for in them."""
    found = []
    for name, symbol, words, scale in _KNOBS:
        bounds, value = BOUNDS[name], getattr(asked, name)
        most = asked.m if name == "n" else bounds.most
        numbers = (value, getattr(DEFAULTS, name), bounds.least, most)
        shown, default, least, last = (_plain(one) for one in numbers)
        is_whole = isinstance(value, int)
        found.append(Knob(name, symbol, words, scale, shown, default, least, last, is_whole))
    return tuple(found)


def _plain(value: float) -> str:
    return f"{value:.12g}" if abs(value) < 1e12 else str(value)


def comparison(law: TheoryLaw) -> str:
    """Return how the slope of the finite sum stands to the limit's."""
    ratio = law.finite_exponent / law.exponent
    return "as steep" if abs(ratio - 1) < 0.005 else "steeper" if ratio > 1 else "shallower"


def _number_words(view: TheoryLaws) -> str:
    """Return why the slopes of the finite sum are not those of the limit."""
    if comparison(view.laws[0]) == "shallower":
        return "with few of them learned, quanta still count one by one"
    return "the sum ends at the last quantum, the limit never does"


@router.get("/theory")
def theory(request: Request, wanted: Annotated[TheoryQuery, Query()]) -> Response:
    """Show L(N), L(D) and L(S) as the quantization model has them, and exponents measured."""
    view = theory_laws(wanted.request())
    given = query_string(**wanted.changed())
    return render(
        request,
        "theory.html",
        section="experiments",
        title="Theory",
        view=view,
        knobs=knobs(view.asked),
        comparisons=[comparison(law) for law in view.laws],
        why=_number_words(view),
        measured=exponents(),
        figures=f"/figures/theory{given}",
        api=f"/api/v1/theory/laws{given}",
    )
