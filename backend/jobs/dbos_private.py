"""Private parts of DBOS that have no public equivalent, one function for each use.

`tests/backend/test_dbos_private.py` fails if an upgrade of DBOS breaks one of them.
"""

from typing import Any

from dbos import DBOS
from dbos._serialization import DefaultSerializer


def _refuse(_self: object, *_value: object) -> Any:
    raise TypeError("the job tables hold a pickled value; only portable JSON is read")


def forbid_pickle() -> None:
    """Make DBOS refuse pickled rows in this process.

    A row names its own serialization, so choosing the JSON serializer does not stop DBOS from
    unpickling a row that claims to be pickled.
    """
    DefaultSerializer.deserialize = DefaultSerializer.serialize = _refuse  # type: ignore[method-assign,assignment]


def running_workflows(engine: DBOS) -> set[str]:
    """Return the ids of workflows that threads of this process execute."""
    return set(engine._active_workflows_set.activeList())


def requeue(engine: DBOS, workflow_id: str, executor_id: str, queue: str) -> bool:
    """Put a workflow back into its queue if `executor_id` still holds it, in one statement.

    The public `resume_workflow` does not check the holder: two workers that recover the same dead
    one would start the workflow twice.

    Args:
        engine: running engine of this process.
        workflow_id: workflow to put back.
        executor_id: executor that started the workflow and has ended.
        queue: queue of a workflow that has none.

    Returns:
        Whether the workflow was put back.
    """
    return engine._sys_db.reenqueue_for_recovery(workflow_id, [executor_id], queue)
