"""Cloning of a job: validated parameters name everything, a request leaves defaults out."""

from dataclasses import dataclass
from typing import Any

from backend.errors import QuantaError, StoreError
from backend.jobs.kinds.registry import KINDS, validate_params
from backend.read.job_views import JobView
from backend.store.database import Store


@dataclass(frozen=True)
class Clone:
    """A request for the parameters of an earlier job.

    Attributes:
        params: parameters of the request.
        changed: names of validated parameters that would differ now: a file or the stored results
            have changed, or a request cannot express the value.
        problem: why the request is invalid now, None if it is valid.
    """

    params: dict[str, Any]
    changed: tuple[str, ...] = ()
    problem: str | None = None


def clone_params(job: JobView) -> dict[str, Any]:
    """Return a request for a job's parameters, without those that have their default."""
    kind = KINDS[job.kind]
    fields = kind.schema.model_fields
    return {
        name: value
        for name, value in kind.as_request(job.parameters).items()
        if name in fields and value not in (None, []) and value != fields[name].default
    }


def clone(store: Store, job: JobView) -> Clone:
    """Return a request for a job's parameters, and how the new job would differ."""
    params = clone_params(job)
    try:
        with store.session() as session:
            validated = validate_params(store, session, job.kind, params)
    except StoreError:
        raise
    except QuantaError as error:
        return Clone(params, problem=f"{error.problem}. {error.remedy}")
    names = dict.fromkeys((*job.parameters, *validated))
    changed = (name for name in names if job.parameters.get(name) != validated.get(name))
    return Clone(params, tuple(changed))
