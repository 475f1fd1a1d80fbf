"""Calls about the theory simulator."""

from app.client.calls import Calls, path_of
from app.client.types import Exponents, TheoryLaws


class TheoryCalls(Calls):
    """Calls about the theory simulator."""

    def theory_laws(
        self,
        *,
        alpha: float | None = None,
        capacity: float | None = None,
        tau: float | None = None,
        first_steps: float | None = None,
        a: float | None = None,
        b: float | None = None,
        m: int | None = None,
        n: int | None = None,
        threshold: float | None = None,
    ) -> TheoryLaws:
        """Return L(N), L(D) and L(S) of m quanta beside the power laws of infinitely many.

        Args:
            alpha: exponent of the frequencies, p_k ∝ k^-(alpha + 1).
            capacity: parameters to learn one quantum.
            tau: samples of a quantum to learn it.
            first_steps: steps to learn the first quantum.
            a: loss of a learned quantum, nats.
            b: loss of a quantum that is not learned, nats.
            m: quanta in the finite sum.
            n: learned quanta at the mark.
            threshold: former name of `tau`.
        """
        query = {
            "alpha": alpha,
            "capacity": capacity,
            "tau": threshold if tau is None else tau,
            "first_steps": first_steps,
            "a": a,
            "b": b,
            "m": m,
            "n": n,
        }
        return self._get(TheoryLaws, path_of("/theory/laws"), query)

    def theory_exponents(self) -> Exponents:
        """Return exponents measured by studies, and the relations of two theories."""
        return self._get(Exponents, path_of("/theory/exponents"))
