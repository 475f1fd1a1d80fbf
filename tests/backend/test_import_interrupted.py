"""An import that was interrupted goes on, gives its name away, and keeps nobody waiting."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from backend.errors import InvalidInputError
from backend.exchange.losses import LossesSpec, import_losses
from backend.progress import Silent, Task
from backend.settings import Settings
from backend.stages.corpora import CHUNK_PREDICTIONS
from backend.store.database import Store, open_store
from backend.store.tables import Evaluation, LossChunk, Suite
from tests.backend.importing import random_losses, rows_of_every_table, written


class StopsAfter(Silent):
    """Ends the program after some chunks."""

    def __init__(self, chunks: int) -> None:
        self.left = chunks

    @contextmanager
    def task(self, *args: Any, **options: Any) -> Iterator[Task]:
        yield self

    def advance(self, amount: int = 1) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def contents(store: Store, spec: LossesSpec) -> tuple[list[str], list[tuple[int, str]]]:
    with store.session() as session:
        keys = session.scalars(select(Evaluation.key).order_by(Evaluation.id)).all()
        chunks = session.execute(select(LossChunk.chunk, LossChunk.checksum)).all()
        return list(keys), sorted((chunk, checksum) for chunk, checksum in chunks)


@pytest.fixture
def three_chunks(tmp_path: Path) -> LossesSpec:
    return written(tmp_path / "f", random_losses(2 * CHUNK_PREDICTIONS + 10))


@pytest.mark.parametrize("chunks", [1, 2, 3])
def test_an_interrupted_import_goes_on_where_it_stopped(
    any_store: Store, tmp_path: Path, three_chunks: LossesSpec, chunks: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        import_losses(any_store, three_chunks, StopsAfter(chunks))
    with any_store.session() as session:
        before = session.execute(select(LossChunk.chunk, LossChunk.created_at)).all()
        assert set(session.scalars(select(Evaluation.completed_at))) == {None}
    assert {chunk for chunk, _ in before} == set(range(chunks))
    assert import_losses(any_store, three_chunks, Silent()).created
    assert not import_losses(any_store, three_chunks, Silent()).created
    with any_store.session() as session:
        after = session.execute(select(LossChunk.chunk, LossChunk.created_at)).all()
        assert {*before} <= {*after}, "a stored chunk is not written again"
    fresh = open_store(Settings(data_dir=tmp_path / "fresh"))
    import_losses(fresh, three_chunks, Silent())
    assert contents(fresh, three_chunks) == contents(any_store, three_chunks)
    fresh.close()


def test_an_interrupted_import_gives_its_name_to_another_one(
    any_store: Store, tmp_path: Path, three_chunks: LossesSpec
) -> None:
    with pytest.raises(KeyboardInterrupt):
        import_losses(any_store, three_chunks, StopsAfter(2))
    # Of the same form: what was stored of the first file must not stay in it.
    same = written(tmp_path / "g", random_losses(2 * CHUNK_PREDICTIONS + 10, seed=9))
    assert import_losses(any_store, same, Silent()).created
    assert not import_losses(any_store, same, Silent()).created
    with pytest.raises(InvalidInputError, match="belongs to another suite"):
        import_losses(any_store, three_chunks, Silent())


def test_what_an_interrupted_import_left_does_not_keep_another_form_out(
    any_store: Store, tmp_path: Path, three_chunks: LossesSpec
) -> None:
    with pytest.raises(KeyboardInterrupt):
        import_losses(any_store, three_chunks, StopsAfter(1))
    other = written(tmp_path / "g", random_losses(50))
    assert import_losses(any_store, other, Silent()).n_predictions == 50
    assert rows_of_every_table(any_store)["corpus"] == 1
    assert rows_of_every_table(any_store)["evaluation"] == 5


def test_others_write_while_an_import_runs(any_store: Store, three_chunks: LossesSpec) -> None:
    class Writes(Silent):
        @contextmanager
        def task(self, *args: Any, **options: Any) -> Iterator[Task]:
            yield self

        def advance(self, amount: int = 1) -> None:
            assert not any_store.is_writing
            with any_store.begin() as session:
                session.execute(update(Suite).values(description="written meanwhile"))

    import_losses(any_store, three_chunks, Writes())
    with any_store.session() as session:
        assert session.scalars(select(Suite.description)).one() == "written meanwhile"
