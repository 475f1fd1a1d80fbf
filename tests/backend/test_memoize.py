"""Memoized values are those of the current store: never older, never an error."""

from collections.abc import Callable

import pytest
from sqlalchemy import update

from backend.corpora import predictions
from backend.corpora.corpora import list_corpora
from backend.errors import NotFoundError
from backend.scaling import suites
from backend.search import search
from backend.search.request import SearchRequest
from backend.settings import Settings
from backend.store.database import Store, open_store
from backend.store.memo import MAX_VALUES, memoize_by_version
from backend.store.tables import Corpus
from tests.rows import OLD, Builder
from tests.stores import copy_store


@pytest.fixture
def counter() -> Callable[[], int]:
    counts = iter(range(10_000))
    return lambda: next(counts)


def test_a_value_is_computed_once_until_the_store_changes(
    any_store: Store, counter: Callable[[], int]
) -> None:
    build = Builder(any_store)
    assert [memoize_by_version(any_store, "a", counter) for _ in range(3)] == [0, 0, 0]
    assert memoize_by_version(any_store, "b", counter) == 1
    build.corpus("corpus", OLD, "book")
    assert [memoize_by_version(any_store, "a", counter) for _ in range(2)] == [2, 2]


def test_a_change_by_another_program_invalidates(any_store: Store) -> None:
    Builder(any_store).corpus("corpus", OLD, "book")
    assert [row.id for row in list_corpora(any_store)] == ["corpus"]
    other = open_store(any_store.settings)
    Builder.corpus(_of(other), "second", OLD, "book")
    other.close()
    assert [row.id for row in list_corpora(any_store)] == ["corpus", "second"]


def _of(store: Store) -> Builder:
    build = Builder.__new__(Builder)
    build.store, build.n = store, 100
    return build


def test_a_change_during_the_computation_invalidates(
    any_store: Store, counter: Callable[[], int]
) -> None:
    build = Builder(any_store)

    def slow() -> int:
        build.corpus("corpus", OLD, "book")  # after the version was read
        return counter()

    assert memoize_by_version(any_store, "a", slow) == 0
    assert memoize_by_version(any_store, "a", counter) == 1


def test_errors_are_not_memoized(any_store: Store) -> None:
    with pytest.raises(NotFoundError):
        suites.suite(any_store, "suite", None)
    Builder(any_store)
    assert suites.suite(any_store, "suite", None).id == "suite"


def test_the_oldest_values_are_evicted(any_store: Store, counter: Callable[[], int]) -> None:
    memoize_by_version(any_store, "first", counter)
    for number in range(MAX_VALUES):
        memoize_by_version(any_store, number, counter)
    assert memoize_by_version(any_store, "first", counter) == MAX_VALUES + 1


def test_each_store_has_its_own_values(mini_store: Store, any_store: Store) -> None:
    assert list_corpora(any_store) == ()
    assert len(list_corpora(mini_store)) == 1
    assert list_corpora(any_store) == ()


def test_results_after_a_change_equal_those_of_a_fresh_program(
    mini_store: Store, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = copy_store(mini_store, tmp_path_factory.mktemp("memoize") / "data")
    store = open_store(Settings(data_dir=folder))
    name = list_corpora(store)[0].id
    before = predictions.prediction(store, name, 500)
    result = search.search(store, SearchRequest(corpus=name, limit=3))
    with store.begin() as session:
        session.execute(update(Corpus).values(name="renamed", created_at=OLD))
    with pytest.raises(NotFoundError):
        predictions.prediction(store, name, 500)
    fresh = open_store(Settings(data_dir=folder))
    for opened in (store, fresh):
        assert predictions.prediction(opened, "renamed", 500).curves == before.curves
        assert search.search(opened, SearchRequest(limit=3)).matches == result.matches
    for opened in (store, fresh):
        opened.close()
