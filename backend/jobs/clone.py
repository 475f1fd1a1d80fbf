"""Asking for the same job again: checked parameters name everything, requests leave much out."""

from dataclasses import dataclass
from typing import Any

from backend.errors import QuantaError, StoreError
from backend.jobs.kinds.registry import KINDS, validate_params
from backend.read.job_views import JobView
from backend.store.database import Store


@dataclass(frozen=True)
class Clone:
    """A request for what a job was asked for.

    Attributes:
        parameters: of the request.
        changed: names of checked parameters that it would give otherwise now: a file changed, more
            is evaluated, or a request cannot say it.
        problem: why it cannot be asked now, if so.
    """

    parameters: dict[str, Any]
    changed: tuple[str, ...] = ()
    problem: str | None = None


def clone_params(job: JobView) -> dict[str, Any]:
    """Return a request for what a job was asked for; what is as it is by default is left out."""
    kind = KINDS[job.kind]
    fields = kind.schema.model_fields
    return {
        name: value
        for name, value in kind.as_request(job.parameters).items()
        if name in fields and value not in (None, []) and value != fields[name].default
    }


def clone(store: Store, job: JobView) -> Clone:
    """Return a request for what a job was asked for, and how it would come out now."""
    asked = clone_params(job)
    try:
        with store.session() as session:
            now = validate_params(store, session, job.kind, asked)
    except StoreError:
        raise
    except QuantaError as error:
        return Clone(asked, problem=f"{error.problem}. {error.remedy}")
    names = dict.fromkeys((*job.parameters, *now))
    return Clone(asked, tuple(n for n in names if job.parameters.get(n) != now.get(n)))
