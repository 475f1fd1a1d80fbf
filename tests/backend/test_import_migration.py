"""The migration of imports: what was there stays, what the older program cannot read goes."""

import json
from pathlib import Path

import alembic.command
import numpy as np
from sqlalchemy import func, inspect, select, text

from backend.exchange.label_store import LabelsSpec, import_labels
from backend.exchange.losses import LossesSpec, import_losses
from backend.progress import Silent
from backend.quanta import clusters
from backend.stages.classify import classify
from backend.store.content_hash import content_hash
from backend.store.database import Store, alembic_config, upgrade_schema
from backend.store.lookup import corpus_named, suite_named
from backend.store.tables import Base, ClusterMember
from tests.stores import copy_store, small_corpus


def counts(store: Store) -> dict[str, int]:
    with store.session() as session:
        return {
            name: session.scalar(select(func.count()).select_from(table)) or 0
            for name, table in Base.metadata.tables.items()
        }


def import_both(store: Store, folder: Path, corpus: str | None = None) -> None:
    rng = np.random.default_rng(0)
    rows = 400 if corpus is None else rows_of(store, corpus)
    np.save(folder / "x.npy", rng.gamma(1, 2, (rows, 3)))
    models = [{"name": f"m{i}", "nonembedding_parameters": 10**i, "step": 1} for i in range(3)]
    (folder / "m.json").write_text(json.dumps(models))
    name = f"losses-{corpus or 'bare'}"
    spec = LossesSpec(folder / "x.npy", folder / "m.json", "nats", name, corpus)
    import_losses(store, spec, Silent())
    with store.session() as session:
        home, suite = corpus_named(session, corpus or name), suite_named(session, name)
    classify(store, home, suite, Silent())


def rows_of(store: Store, corpus: str) -> int:
    with store.session() as session:
        return corpus_named(session, corpus).n_predictions


def test_going_down_removes_imports_and_leaves_the_rest(any_store: Store, tmp_path: Path) -> None:
    corpus = small_corpus(any_store)
    before, digest = counts(any_store), content_hash(any_store)
    import_both(any_store, tmp_path)
    import_both(any_store, tmp_path, corpus.name)
    (tmp_path / "l.json").write_text(json.dumps({"3": [[0, 1, 2, 0, 1, 0]]}))
    result = import_labels(any_store, LabelsSpec(tmp_path / "l.json", "published"), Silent())
    import_both(any_store, tmp_path, "published")
    with any_store.session() as session:
        cluster = session.scalars(select(ClusterMember.cluster_id)).first()
    assert cluster is not None
    clusters.annotate(any_store, cluster, "label", "", ())
    assert result.created
    config = alembic_config(any_store.engine)
    alembic.command.downgrade(config, "0001")
    columns = {c["name"]: c["nullable"] for c in inspect(any_store.engine).get_columns("cluster")}
    assert not columns["mean_loss_nats"]
    assert upgrade_schema(any_store.engine).changed
    assert counts(any_store) == before
    assert content_hash(any_store) == digest


def test_a_store_of_the_older_program_keeps_everything(
    pipeline_store: tuple[Store, object], tmp_path: Path
) -> None:
    from backend.settings import Settings
    from backend.store.database import open_store

    store = open_store(Settings(data_dir=copy_store(pipeline_store[0], tmp_path / "old")))
    digest, before = content_hash(store), counts(store)
    alembic.command.downgrade(alembic_config(store.engine), "0001")
    assert upgrade_schema(store.engine).changed
    assert (content_hash(store), counts(store)) == (digest, before)
    with store.session() as session:
        # Foreign keys are checked again once a migration is over.
        assert session.execute(text("PRAGMA foreign_keys")).scalar_one() == 1
    store.engine.dispose()
