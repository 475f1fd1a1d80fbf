"""The theory simulator: laws of finite numbers of quanta, and measured exponents."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.requests.theory import TheoryQuery
from backend.scaling import theory
from backend.scaling.theory_views import Exponents, TheoryLaws

router = APIRouter(prefix="/api/v1/theory", tags=["theory"])


@router.get("/laws")
def theory_laws(query: Annotated[TheoryQuery, Query()]) -> TheoryLaws:
    """Return L(N), L(D) and L(S) of m quanta: exact sums, their limits, and exponents."""
    return theory.theory_laws(query.request())


@router.get("/exponents")
def theory_exponents() -> Exponents:
    """Return pairs (alpha_N, alpha_D) measured by studies, and the relations of two theories."""
    return theory.measured_exponents()
