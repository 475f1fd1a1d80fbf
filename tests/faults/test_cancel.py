"""Each kind of job is cancelled within two seconds, and continues from there when resumed."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from backend.jobs import job_table, workflows
from backend.jobs.kinds.registry import KINDS
from backend.jobs.queue import resume, submit
from backend.progress import Silent
from backend.read.job_views import OPEN_STATES
from backend.settings import Settings
from backend.stages.evaluate import evaluate
from backend.stages.suites import add_suite
from backend.store import data_files as files
from backend.store.database import Store, open_store
from backend.store.tables import JobUnit, Worker
from tests import stores
from tests.backend.importing import MODELS
from tests.recipes import recipe_file, text_files
from tests.workers import computed_units, running_worker, wait_until

MOST_SECONDS = 2.0
BASE, FRESH = "first-12", "first-13"
ON_BASE = {"suite": "mini", "corpus": BASE}


@dataclass(frozen=True)
class Case:
    """A job that runs long enough to be cancelled.

    Attributes:
        parameters: what is asked.
        done: so many units are committed before it is stopped.
    """

    parameters: dict[str, Any]
    done: int = 1


CASES = {
    "evaluate": Case(
        {"suite": "mini", "corpus": FRESH, "models": ["s1", "s2"], "steps": [0, 2000]}, 3
    ),
    # One unit, with a long compilation at its end.
    "classify": Case(ON_BASE, 0),
    "discover": Case(
        {
            **ON_BASE,
            "model": "s3",
            "max_loss_nats": 2.0,
            "induction_filter": False,
            "limit": 600,
            "n_clusters": [10, 20, 40],
        }
    ),
    "measure": Case({**ON_BASE, "document": 0, "target": "id:199", "checkpoints": "all"}),
    "paste": Case({"text": "the device returns memory " * 40, **ON_BASE, "checkpoints": "all"}, 2),
    "add_corpus": Case({"name": "mine", "files": ["mine.jsonl"], "tokenizer": "mini"}, 0),
    "train_suite": Case({"recipe": "recipe.toml"}),
    "import_losses": Case(
        {"file": "losses.npy", "models": "models.json", "unit": "nats", "name": "theirs"}, 0
    ),
    "import_labels": Case({"file": "labels.json", "name": "published"}, 0),
    "phase_diagram": Case(
        {
            "x_values": [1e-3, 1e-2],
            "y_values": [1e-4, 2e-4, 4e-4, 8e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1e-2],
            "steps": 20_000,
            "stop_early": False,
            "width": 64,
        }
    ),
    "omnigrok": Case({"alphas": [1.0, 2.0, 4.0, 8.0], "weight_decays": [0.0, 0.1], "steps": 6_000}),
    "modular_addition": Case({"p": 23, "weight_decay": [0.0, 0.5, 1.0, 2.0], "steps": 1_000}, 1),
    "sparse_parity": Case(
        {"widths": [8, 16, 32], "seeds": list(range(8)), "steps": 1_000, "batch_size": 500}, 1
    ),
    "critical_fraction": Case({"p": [6, 14, 16]}),
    "export": Case({"what": "losses", "suite": "theirs", "corpus": "theirs", "format": "json"}, 0),
}


def write_files(store: Store) -> None:
    """Write files to import that are large enough for a cancellation."""
    folder, rng = files.imports_folder(store), np.random.default_rng(0)
    folder.mkdir(parents=True)
    text = (stores.BUNDLED / "documents.jsonl").read_text(encoding="utf-8")
    (folder / "mine.jsonl").write_text(text * 4, encoding="utf-8")
    (folder / "text").mkdir()
    recipe_file(folder, text_files(folder / "text"), steps=150)
    np.save(folder / "losses.npy", rng.gamma(0.6, 4, (3_000_000, len(MODELS))).astype(np.float32))
    (folder / "models.json").write_text(json.dumps(MODELS), encoding="utf-8")
    n_clusters = range(200, 260)
    labels = {n: [rng.integers(0, n, 60_000).tolist(), 1.0] for n in n_clusters}
    (folder / "labels.json").write_text(json.dumps(labels), encoding="utf-8")


@pytest.fixture(scope="module")
def working_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store with a suite, evaluated on one corpus at some steps, and a worker."""
    store = open_store(Settings(data_dir=tmp_path_factory.mktemp("cancel") / "data"))
    add_suite(store, stores.BUNDLED, "mini", "bundled", Silent())
    corpus = stores.small_corpus(store, documents=12, chunk_predictions=300)
    stores.small_corpus(store, documents=13, chunk_predictions=300)
    checkpoints = [(model, step) for model in ("s1", "s2", "s3") for step in (0, 64, 500, 2000)]
    ids = stores.checkpoint_ids(store, *checkpoints, suite="mini")
    evaluate(store, corpus, ids, stores.ONE_CORE, Silent())
    write_files(store)
    with running_worker(store.settings.data_dir):
        yield store
    workflows.disconnect()
    store.close()


def is_at_work(store: Store, job: str, done: int) -> bool:
    """Whether so many units of a job are committed, and a worker computes the next one."""
    with store.session() as session:
        busy = session.scalars(select(Worker.id).where(Worker.job_id == job)).all()
    return bool(busy) and job_table.get_job(store, job).done >= done


def committed(store: Store, job: str) -> dict[str, datetime]:
    with store.session() as session:
        rows = session.scalars(select(JobUnit).where(JobUnit.job_id == job))
        return {row.unit: row.finished_at for row in rows}


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_job_stops_within_two_seconds_and_is_resumed(
    working_store: Store, kind: str
) -> None:
    assert kind in CASES, f"write a case of a long job of kind {kind}"
    store, case = working_store, CASES[kind]
    n_before = len(computed_units(store.settings.data_dir))
    job = submit(store, kind, case.parameters).id
    wait_until(lambda: is_at_work(store, job, case.done), "the middle")
    cancelled_at = time.monotonic()
    job_table.cancel(store, job)
    wait_until(lambda: job_table.get_job(store, job).state == "cancelled", "the stop")
    seconds = time.monotonic() - cancelled_at
    units, stopped = committed(store, job), job_table.get_job(store, job)
    assert stopped.total is not None
    assert case.done <= stopped.done == len(units) < stopped.total
    resume(store, job)
    wait_until(lambda: job_table.get_job(store, job).state not in OPEN_STATES, "the rest")
    done = job_table.get_job(store, job)
    assert (done.state, done.problem, done.done) == ("finished", None, stopped.total)
    assert units.items() <= committed(store, job).items()
    counts = Counter(computed_units(store.settings.data_dir)[n_before:])
    assert sum(counts.values()) - len(counts) <= 1, "the unit in flight alone was begun again"
    print(f"{kind}: stopped after {seconds:.2f} s with {stopped.done} of {stopped.total} units")
    assert seconds < MOST_SECONDS
