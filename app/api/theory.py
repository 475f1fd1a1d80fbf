"""The theory simulator: laws of finitely many quanta, and exponents measured elsewhere."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.requests.theory import TheoryQuery
from backend.scaling import theory
from backend.scaling.theory_views import Exponents, TheoryLaws

router = APIRouter(prefix="/api/v1/theory", tags=["theory"])


@router.get("/laws")
def theory_laws(asked: Annotated[TheoryQuery, Query()]) -> TheoryLaws:
    """L(N), L(D) and L(S) of m quanta beside their limits: exact sums, power laws, exponents."""
    return theory.theory_laws(asked.request())


@router.get("/exponents")
def theory_exponents() -> Exponents:
    """Pairs (alpha_N, alpha_D) that studies measured, and the lines that two theories draw."""
    return theory.exponents()
