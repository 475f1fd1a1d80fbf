"""The store on SQLite and on PostgreSQL: the same results, each checked when it is read."""

from pathlib import Path

import pytest
from sqlalchemy import select, text

from backend.errors import NotFoundError, NotReadyError, StoreError
from backend.settings import Settings
from backend.store.content_hash import content_hash
from backend.store.database import Store, make_engine, open_store
from backend.store.lookup import checkpoint_at, corpus_named, finished_evaluation, model_named
from backend.store.lookup import suite_named as suite_of
from backend.store.tables import Base, Checkpoint, CurveChunk, LossChunk, Model, Suite
from backend.store.tables.base import ArrayColumns
from tests.stores import Pipeline, run_pipeline


@pytest.mark.slow
def test_every_database_holds_the_same_results(
    any_store: Store, pipeline_store: tuple[Store, Pipeline], suite_folder: Path
) -> None:
    run_pipeline(any_store, suite_folder)
    digest, counts = content_hash(any_store)
    assert (digest, counts) == content_hash(pipeline_store[0])
    assert set(counts) == {
        "tokens",
        "losses",
        "curves",
        "cosines",
        "spectrum",
        "selection",
        "labels",
    }
    run_pipeline(any_store, suite_folder)
    assert content_hash(any_store) == (digest, counts)


def test_a_damaged_array_is_found(writable_store: Store) -> None:
    with writable_store.begin() as session:
        row = session.scalars(select(LossChunk)).first()
        assert row is not None
        row.data = b"\xff" + row.data[1:]
    with pytest.raises(StoreError, match=r"losses .* does not match its checksum"):
        content_hash(writable_store)


def test_the_content_hash_sees_every_score(writable_store: Store) -> None:
    before, _ = content_hash(writable_store)
    changes = [
        "UPDATE cluster SET coherence = coherence + 1e-9 WHERE id = (SELECT MIN(id) FROM cluster)",
        "UPDATE evaluation SET mean_loss_nats = mean_loss_nats + 1e-9 WHERE id = 1",
        "UPDATE cluster_member SET prediction = prediction + 1 WHERE position = 0",
        "DELETE FROM cluster_curve WHERE curve_set_id = 1",
    ]
    hashes = {before}
    for change in changes:
        with writable_store.begin() as session:
            session.execute(text(change))
        hashes.add(content_hash(writable_store)[0])
    assert len(hashes) == 1 + len(changes)


def test_the_content_hash_does_not_see_times_or_labels(writable_store: Store) -> None:
    before = content_hash(writable_store)
    with writable_store.begin() as session:
        session.execute(text("UPDATE evaluation SET created_at = '2020-01-01 00:00:00'"))
        session.execute(
            text(
                "INSERT INTO annotation (cluster_id, label, note, tags, updated_at) "
                "SELECT id, 'x', '', '[]', '2020-01-01' FROM cluster LIMIT 1"
            )
        )
    assert content_hash(writable_store) == before


def test_no_table_has_a_row_per_prediction(mini_store: Store) -> None:
    with mini_store.session() as session:
        n_predictions = corpus_named(session, "mini-held-out-60").n_predictions
        for table in Base.metadata.sorted_tables:
            count = session.execute(text(f'SELECT COUNT(*) FROM "{table.name}"')).scalar_one()
            assert count < n_predictions / 5, table.name


def test_arrays_are_left_out_of_ordinary_reads(mini_store: Store) -> None:
    for mapper in Base.registry.mappers:
        if issubclass(mapper.class_, ArrayColumns):
            assert mapper.attrs["data"].deferred, mapper.class_.__name__
    with mini_store.session() as session:
        row = session.scalars(select(CurveChunk)).first()
        assert "data" not in vars(row)


def test_a_miss_says_what_there_is(mini_store: Store) -> None:
    with mini_store.session() as session:
        with pytest.raises(NotFoundError, match=r"no corpus 'pile'.*mini-held-out-60"):
            corpus_named(session, "pile")
        with pytest.raises(NotFoundError, match=r"no suite 'pythia'.*Choose from mini"):
            suite_of(session, "pythia")
        suite = suite_of(session, "mini")
        with pytest.raises(NotFoundError, match=r"no model '70m'.*s1, s2, s3, s4, s5"):
            model_named(suite, "70m")
        with pytest.raises(NotFoundError, match=r"no step 7.*0.*2000"):
            checkpoint_at(model_named(suite, "s1"), 7)


def test_an_empty_store_says_how_to_fill_it(any_store: Store) -> None:
    with any_store.session() as session, pytest.raises(NotFoundError, match="quanta demo"):
        corpus_named(session, "pile")


def test_a_checkpoint_without_losses_says_how_to_make_them(
    hostile_store: Store,
) -> None:
    with hostile_store.session() as session:
        corpus, suite = corpus_named(session, "hostile"), suite_of(session, "mini")
        checkpoint = checkpoint_at(model_named(suite, "s5"), None)
        with pytest.raises(NotReadyError, match="quanta evaluate mini hostile"):
            finished_evaluation(session, corpus, checkpoint)


def test_an_error_in_a_transaction_leaves_nothing(any_store: Store) -> None:
    from backend.store.tables import Suite

    before = content_hash(any_store)
    with pytest.raises(RuntimeError), any_store.begin() as session:  # noqa: PT012
        session.add(Suite(name="half", description="", tokenizer_key="k"))
        session.flush()
        raise RuntimeError
    with any_store.session() as session:
        assert session.scalars(select(Suite)).all() == []
    assert content_hash(any_store) == before


@pytest.mark.parametrize(
    "url", ["nonsense", "nothing://x/y", "sqlite+nothing:///x", "mysql://localhost/x"]
)
def test_an_address_that_is_none_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(StoreError, match=r"not a usable database URL.*sqlite:///"):
        make_engine(url)


def test_a_file_that_is_no_database_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "quanta.sqlite").write_bytes(b"not a database at all" * 100)
    with pytest.raises(StoreError, match=r"cannot open the database .*quanta\.sqlite"):
        open_store(Settings(data_dir=tmp_path))


def test_a_server_that_does_not_answer_is_named_without_its_password(tmp_path: Path) -> None:
    url = "postgresql://someone:secret@127.0.0.1:9/quanta"
    with pytest.raises(StoreError, match=r"127\.0\.0\.1:9/quanta") as caught:
        open_store(Settings(data_dir=tmp_path, database_url=url))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_any_spelling_of_postgresql_takes_the_driver_that_is_shipped(scheme: str) -> None:
    settings = Settings(database_url=f"{scheme}://u@h/d")
    assert settings.url == "postgresql+psycopg://u@h/d"


def test_sizes_of_published_models_fit(any_store: Store) -> None:
    with any_store.begin() as session:
        suite = Suite(name="pythia", description="", tokenizer_key="")
        model = Model(
            suite=suite,
            name="12b",
            parameters=11_846_072_320,
            nonembedding_parameters=11_327_027_200,
            config={},
        )
        tokens_seen = 2_097_152 * 143_000
        model.checkpoints.append(
            Checkpoint(step=143_000, tokens_seen=tokens_seen, key="", location="")
        )
        session.add(suite)
    with any_store.session() as session:
        (checkpoint,) = session.scalars(select(Checkpoint))
        assert checkpoint.tokens_seen == 299_892_736_000
        assert checkpoint.model.nonembedding_parameters == 11_327_027_200
