"""Workflows of the job engine by name: of which job, in which state.

A client of the engine is passed in; only `backend.jobs.engine` names the engine itself.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

FLOWS_AT_ONCE = 500
DEAD = frozenset({"ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED", "REFUSED"})
ENDED = DEAD | {"SUCCESS"}


def flow_id(job_id: str, attempt: int) -> str:
    """Return the id of the workflow of a job's attempt."""
    return job_id if attempt == 1 else f"{job_id}.{attempt}"


def attempt_of(flow: str) -> tuple[str, int]:
    """Return (job, attempt) of a workflow, or of one of its slices."""
    job_id, _, attempt = flow.partition("-")[0].partition(".")
    return job_id, int(attempt or 1)


def load_statuses(client: Any, form: str, names: Sequence[str]) -> dict[str, str]:
    """Return the states of workflows, without those that are not known.

    A row in another form than `form` is never executed: it is `REFUSED`.
    """
    # One look for hundreds: a worker asks for all open jobs every two seconds.
    table, found = client._sys_db.tables.workflow_status, dict[str, str]()
    columns = (table.c.workflow_uuid, table.c.status, table.c.serialization)
    with client._sys_db.engine.connect() as connection:
        for first in range(0, len(names), FLOWS_AT_ONCE):
            some = names[first : first + FLOWS_AT_ONCE]
            for flow, status, kept_as in connection.execute(
                select(*columns).where(table.c.workflow_uuid.in_(some))
            ):
                found[flow] = str(status) if kept_as == form else "REFUSED"
    return found


def list_queued(client: Any) -> list[str]:
    """Return the workflows that nobody has begun."""
    table = client._sys_db.tables.workflow_status
    query = select(table.c.workflow_uuid).where(table.c.status == "ENQUEUED")
    with client._sys_db.engine.connect() as connection:
        return list(connection.scalars(query))


def delete_ended(client: Any, form: str, job_ids: Sequence[str]) -> list[str]:
    """Delete workflows of jobs that have all ended; return those jobs."""
    gone = []
    for job_id in job_ids:
        # Attempts and slices have names that begin with the job's.
        flows = [
            found.workflow_id
            for mark in (".", "-")
            for found in client.list_workflows(workflow_id_prefix=f"{job_id}{mark}")
        ]
        known = load_statuses(client, form, [job_id, *flows])
        if all(state in ENDED for state in known.values()):
            for flow in known:
                client.delete_workflow(flow)
            gone.append(job_id)
    return gone
