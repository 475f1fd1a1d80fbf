"""The work of experiments: groups of cells, each after the other or on several workers."""

from backend.experiments.kind import ExperimentKind, groups
from backend.experiments.registry import KINDS
from backend.jobs.work.base import Made, Parameters, Plan, Slice, Task, Work
from backend.stages.experiments import run_cells
from backend.store.database import Store


def _work(kind: ExperimentKind) -> Work:
    def plan(store: Store, parameters: Parameters, n_workers: int) -> Plan:
        units = groups(len(kind.places(parameters)), kind.group)
        slices: list[Slice] = [["cells", cells.start, cells.stop] for cells in units]
        return Plan([slices])

    def perform(task: Task) -> None:
        cells = range(task.unit[1], task.unit[2])
        run_cells(task.store, kind, task.parameters, cells, task.compute, task.progress)

    def made(parameters: Parameters) -> Made:
        name = kind.id(parameters)
        return {"experiment": name, "page": kind.address(name)}

    return Work(plan, perform, made, is_counted=True)


EXPERIMENTS = {kind.name: _work(kind) for kind in KINDS.values()}
