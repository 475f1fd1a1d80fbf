"""Problem documents (RFC 9457): what a refusal says; plain data, so that clients share it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class FieldProblem:
    """What is wrong with one parameter; `value` is what was sent, shortened, if known."""

    parameter: str
    problem: str
    value: str | None = None


@dataclass(frozen=True)
class Problem:
    """A problem document (RFC 9457); `remedy` says what to do next, `errors` is for 422."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    remedy: str
    errors: tuple[FieldProblem, ...] = ()
