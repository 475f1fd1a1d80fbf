"""Kinds of jobs that read and write files: validation, and results equal to the commands'."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from sqlalchemy import delete, select

from backend.errors import InvalidInputError, NotFoundError, NotReadyError, QuantaError
from backend.jobs import estimates, job_log, job_table, leases, queue, unit_runner
from backend.jobs.kinds.plans import slice_units
from backend.jobs.kinds.registry import KINDS
from backend.jobs.queue import submit
from backend.progress import WORK_LOG, Silent
from backend.read.losses import evaluation_losses
from backend.settings import Settings
from backend.stages.suites import add_suite
from backend.store import data_files as files
from backend.store.database import Store, open_store
from backend.store.lookup import corpus_named, finished_evaluations, suite_named, tokenizer_of
from backend.store.tables import (
    Clustering,
    Corpus,
    Discovery,
    Job,
    MeasureChunk,
    Similarity,
    SimilarityStripe,
    Suite,
)
from tests import stores
from tests.backend.importing import MODELS, random_losses
from tests.recipes import recipe_file, text_files


@pytest.fixture
def own_log() -> Any:
    yield
    unit_runner._open_store.cache_clear()
    for handler in WORK_LOG.handlers:
        handler.close()
    WORK_LOG.handlers = []


@pytest.fixture
def done(own_log: None) -> Callable[..., job_table.JobView]:
    """Execute the units of a job in order, as a worker does."""

    def run(
        store: Store, kind: str, params: dict[str, Any], n_workers: int = 1
    ) -> job_table.JobView:
        job, _ = queue.insert(store, kind, params)
        worker = leases.register_worker(store, "cpu")
        assert job_table.start_attempt(store, job.id, 1, worker)
        plan = unit_runner.plan(store, kind, job.parameters, n_workers)
        job_table.set_units(store, job.id, {json.dumps(unit) for unit in plan.units()})
        units = [u for phase in plan.phases for slice_ in phase for u in slice_units(slice_)]
        assert len(units) == len(plan.units())
        settings = store.settings.model_copy(update={"device": "cpu"}).model_dump_json()
        for unit in units:
            result, failure, _ = unit_runner.perform(settings, worker, job.id, unit)
            if failure is not None:
                raise QuantaError(*failure)
            done = job_table.CompletedUnit(json.dumps(unit), worker, 0.5, is_stored=False)
            job_table.complete_unit(store, job.id, done, result)
        job_table.finish(store, job.id, unit_runner.result(kind, job.parameters))
        return job_table.get_job(store, job.id)

    return run


def put(store: Store, name: str, data: bytes) -> Path:
    path = files.imports_folder(store) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def names_of(store: Store) -> dict[str, str]:
    with store.session() as session:
        corpus = session.scalars(select(Corpus).order_by(Corpus.id)).first()
        assert corpus is not None
        return {"suite": session.scalars(select(Suite)).one().name, "corpus": corpus.name}


def test_the_kinds_of_jobs_load_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, app.main; from backend.jobs.kinds.registry import KINDS; "
        "print(len(KINDS), {'torch', 'transformers'} & set(sys.modules))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert printed.split(maxsplit=1) == [str(len(KINDS)), "set()\n"]


DOCUMENTS = b"".join(
    json.dumps({"id": str(n), "source": "mine", "license": "CC0", "text": f"words {n} " * 30})
    .encode() + b"\n"
    for n in range(5)
)  # fmt: skip
ADD = {"name": "mine", "files": ["mine.jsonl"], "tokenizer": "mini", "prefix": [0]}


@pytest.fixture
def with_suite(store: Store, suite_folder: Path) -> Store:
    add_suite(store, stores.BUNDLED, "mini", "bundled", Silent())
    return store


def test_a_corpus_is_added_from_a_file_that_is_part_of_the_job(
    with_suite: Store, done: Callable[..., Any]
) -> None:
    store = with_suite
    path = put(store, "mine.jsonl", DOCUMENTS)
    job = done(store, "add_corpus", ADD)
    assert job.state == "finished"
    assert job.result == {
        "corpus": "mine",
        "page": "/documents?corpus=mine",
        "documents": 5,
        "predictions": job.result["predictions"],
    }
    with store.session() as session:
        corpus = corpus_named(session, "mine")
        assert corpus.n_documents == 5
        assert tokenizer_of(corpus).key == suite_named(session, "mini").tokenizer_key
    assert submit(store, "add_corpus", ADD).id == job.id
    path.write_bytes(DOCUMENTS + DOCUMENTS)
    other, is_new = queue.insert(store, "add_corpus", ADD)
    assert is_new
    assert other.id != job.id


def test_a_file_that_changes_after_submission_is_refused(
    with_suite: Store, done: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = put(with_suite, "mine.jsonl", DOCUMENTS), unit_runner.plan

    def plan(*arguments: Any) -> Any:
        path.write_bytes(b"other text")
        return real(*arguments)

    monkeypatch.setattr(unit_runner, "plan", plan)
    with pytest.raises(QuantaError, match="has changed since the job was submitted"):
        done(with_suite, "add_corpus", ADD)


@pytest.mark.parametrize(
    "name",
    ["../quanta.sqlite", "/etc/passwd", "a/../../quanta.sqlite", "none.jsonl", ".", "", "link",
     "folder", "\0", "x" * 301],
)  # fmt: skip
def test_files_outside_imports_are_refused(with_suite: Store, name: str) -> None:
    root = put(with_suite, "mine.jsonl", DOCUMENTS).parent
    (root / "folder").mkdir()
    (root / "link").symlink_to(with_suite.settings.data_dir / "quanta.sqlite")
    for kind, params in (
        ("add_corpus", ADD | {"files": [name]}),
        ("add_corpus", ADD | {"tokenizer": name}),
        ("import_labels", {"file": name, "name": "x"}),
        ("train_suite", {"recipe": name}),
    ):
        with pytest.raises(InvalidInputError) as refused:
            submit(with_suite, kind, params)
        assert "passwd:" not in str(refused.value)
        assert refused.value.parameter in {"files", "tokenizer", "file", "recipe"}
    assert job_table.list_jobs(with_suite).jobs == ()


def test_losses_are_imported_and_exported_again(
    store: Store, tmp_path: Path, done: Callable[..., Any]
) -> None:
    losses = random_losses(500).astype(np.float32)
    folder = files.imports_folder(store)
    folder.mkdir(parents=True)
    np.save(folder / "losses.npy", losses)
    put(store, "models.json", json.dumps(MODELS).encode())
    params = {"file": "losses.npy", "models": "models.json", "unit": "nats", "name": "theirs"}
    job = done(store, "import_losses", params)
    assert job.result["predictions"] == 500
    with store.session() as session:
        results = finished_evaluations(
            session, corpus_named(session, "theirs"), suite_named(session, "theirs")
        )
        stored = np.stack([evaluation_losses(session, row) for row in results], axis=1)
    params = {"what": "losses", "suite": "theirs", "corpus": "theirs", "first": 10, "limit": 40}
    exported = done(store, "export", params)
    path = job_table.exported_file(store, exported.id)
    assert path.parent == files.exports_folder(store)
    table = pq.read_table(path).to_pydict()
    assert table.pop("prediction") == list(range(10, 50))
    assert np.array_equal(np.stack(list(table.values()), axis=1).astype(np.float16), stored[10:50])
    assert submit(store, "export", params).id == exported.id
    path.unlink()
    with pytest.raises(NotFoundError, match="no file"):
        job_table.exported_file(store, exported.id)
    repeated, is_new = queue.insert(store, "export", params)
    assert is_new, "a deleted file is exported again"
    assert repeated.state == "queued"


def test_published_labels_are_imported(store: Store, done: Callable[..., Any]) -> None:
    labels = {"2": [[0, 1, 0, 1, 1, 0], 1.0], "3": [[0, 1, 2, 0, 1, 2], 1.0]}
    put(store, "labels.json", json.dumps(labels).encode())
    job = done(store, "import_labels", {"file": "labels.json", "name": "published"})
    with store.session() as session:
        numbers = {c.id for c in session.scalars(select(Clustering))}
    assert set(job.result["clusterings"].values()) == numbers
    assert job.page is not None
    with pytest.raises(InvalidInputError):
        submit(store, "import_labels", {"file": "labels.json", "name": "no/name"})


@pytest.mark.slow
def test_a_suite_is_trained_size_by_size_and_registered(
    store: Store, tmp_path: Path, done: Callable[..., Any]
) -> None:
    imports = files.imports_folder(store)
    imports.mkdir(parents=True)
    recipe_file(imports, text_files(imports))
    job = done(store, "train_suite", {"recipe": "recipe.toml"})
    assert job.total == 5  # text, three sizes, registering
    with store.session() as session:
        suite = suite_named(session, "tiny")
        assert [m.name for m in suite.models] == ["a", "b", "c"]
        assert all(m.checkpoints[-1].step == 6 for m in suite.models)
    (imports / "recipe.toml").write_text(
        (imports / "recipe.toml").read_text().replace('kind = "folder"', 'kind = "pypi"')
        .replace('license =', 'version = "1"\nsha256 = "' + "0" * 64 + '"\nlicense =')
    )  # fmt: skip
    with pytest.raises(NotReadyError, match="jobs may not fetch"):
        submit(store, "train_suite", {"recipe": "recipe.toml"})


def test_a_recipe_may_not_read_folders_outside_imports(store: Store, tmp_path: Path) -> None:
    files.imports_folder(store).mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    recipe_file(files.imports_folder(store), text_files(tmp_path / "outside"))
    with pytest.raises(InvalidInputError, match="not a folder below imports"):
        submit(store, "train_suite", {"recipe": "recipe.toml"})


def test_a_discovery_in_parts_equals_that_of_one_worker(
    mini_store: Store, tmp_path: Path, done: Callable[..., Any]
) -> None:
    results = []
    for n_workers in (1, 3):
        store = open_store(
            Settings(data_dir=stores.copy_store(mini_store, tmp_path / str(n_workers)))
        )
        params = {
            **names_of(store),
            "model": "s1",
            "limit": 600,
            "max_loss_nats": 3.0,
            "induction_filter": False,
            "n_clusters": [4],
            "n_init": 2,
        }
        job = done(store, "discover", params, n_workers)
        unit_runner._open_store.cache_clear()
        assert job.total == 2 + n_workers
        with store.session() as session:
            stripes = session.execute(
                select(SimilarityStripe.first_row, SimilarityStripe.checksum)
                .join(Similarity)
                .join(Discovery)
                .where(Discovery.id == job.result["discovery"])
                .order_by(SimilarityStripe.first_row)
            ).all()
            labels = session.get_one(Clustering, job.result["clusterings"]["4"])
            results.append(([tuple(row) for row in stripes], labels.key, labels.checksum))
        store.close()
    assert len(results[0][0]) == 3  # of 256 rows, so that three parts have one each
    assert results[0] == results[1]


def test_an_estimate_uses_the_rate_of_past_jobs(
    writable_store: Store, done: Callable[..., Any]
) -> None:
    store = writable_store
    names = names_of(store)
    params = {**names, "models": ["s1"], "steps": [2000], "measures": ["rank"]}
    before = estimates.estimate(store, "evaluate", params)
    assert (before.seconds, before.past_jobs, before.equal) == (None, 0, None)
    with store.session() as session:
        n_predictions = corpus_named(session, names["corpus"]).n_predictions
        size = suite_named(session, names["suite"]).models[0].nonembedding_parameters
    assert before.work == 0, "the demo has it"
    with store.begin() as session:
        session.execute(delete(MeasureChunk))
    before = estimates.estimate(store, "evaluate", params)
    assert before.work == 2 * size * n_predictions
    job = done(store, "evaluate", params)
    after = estimates.estimate(store, "evaluate", params)
    assert after.equal is not None
    assert after.equal.id == job.id
    assert (after.work, after.seconds) == (0, 0), "all of it is stored"
    double = estimates.estimate(store, "evaluate", {**params, "steps": [0, 2000]})
    assert double.work == before.work, "step 0 is left"
    assert double.seconds == pytest.approx(0.5 * job.total)  # each unit was recorded with 0.5 s
    with store.session() as session:
        assert session.get_one(Job, job.id).work == before.work


def test_a_log_has_the_changes_of_state(writable_store: Store, done: Callable[..., Any]) -> None:
    store = writable_store
    job = done(store, "classify", names_of(store))
    page = job_log.read_log(store, job.id)
    assert page.lines[0].text.startswith("started by ")
    assert page.lines[-1].text == "finished"
    assert job_log.read_log(store, job.id, after=int(page.next_cursor)).lines == ()
    assert job_log.read_log(store, job.id, limit=1).lines == page.lines[-1:]
    (unit,) = job_log.list_units(store, job.id).units
    assert (unit.unit, unit.seconds) == ('["classify"]', 0.5)
    with pytest.raises(NotFoundError):
        job_log.read_log(store, "j0")


def test_numbers_are_sought_in_values_of_any_depth() -> None:
    """JSON bodies are checked without recursion, however deep they are nested."""
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(InvalidInputError, match="steps"):
        KINDS["evaluate"].schema.parse({"corpus": "demo", "suite": "mini", "steps": nested})
