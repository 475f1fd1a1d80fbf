"""The quantization model in numbers; nothing of it is read from the store."""

from app.client.calls import Calls, path_of
from app.client.types import Exponents, TheoryLaws


class TheoryCalls(Calls):
    """Calls about theory."""

    def theory_laws(
        self,
        *,
        alpha: float | None = None,
        capacity: float | None = None,
        threshold: float | None = None,
        first_steps: float | None = None,
        a: float | None = None,
        b: float | None = None,
        m: int | None = None,
        n: int | None = None,
    ) -> TheoryLaws:
        """Return L(N), L(D) and L(S) of m quanta beside the power laws of infinitely many.

        Args:
            alpha: quanta are used with frequencies p_k that go as k^-(alpha + 1).
            capacity: parameters that a quantum takes.
            threshold: samples of a quantum that it takes to learn it.
            first_steps: steps that the first quantum takes.
            a: loss of a learned quantum, nats.
            b: loss of one that is not, nats.
            m: quanta in the finite sum.
            n: how many are learned where it is marked.
        """
        query = {
            "alpha": alpha,
            "capacity": capacity,
            "threshold": threshold,
            "first_steps": first_steps,
            "a": a,
            "b": b,
            "m": m,
            "n": n,
        }
        return self._get(TheoryLaws, path_of("/theory/laws"), query)

    def theory_exponents(self) -> Exponents:
        """Return pairs of exponents that studies measured, and what two theories say of them."""
        return self._get(Exponents, path_of("/theory/exponents"))
