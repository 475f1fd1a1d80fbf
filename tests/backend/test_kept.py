"""What is kept is what the store holds: never older, never an error."""

from collections.abc import Callable

import pytest
from sqlalchemy import update

from backend.corpora import predictions
from backend.corpora.corpora import list_corpora
from backend.errors import NotFoundError
from backend.scaling import suites
from backend.search import search
from backend.settings import Settings
from backend.store.database import Store, open_store
from backend.store.memo import MAX_VALUES, memoize_by_version
from backend.store.tables import Corpus
from tests.rows import OLD, Builder
from tests.stores import copy_store


@pytest.fixture
def counted() -> Callable[[], int]:
    counts = iter(range(10_000))
    return lambda: next(counts)


def test_a_value_is_made_once_until_the_store_changes(
    any_store: Store, counted: Callable[[], int]
) -> None:
    build = Builder(any_store)
    assert [memoize_by_version(any_store, "a", counted) for _ in range(3)] == [0, 0, 0]
    assert memoize_by_version(any_store, "b", counted) == 1
    build.corpus("home", OLD, "book")
    assert [memoize_by_version(any_store, "a", counted) for _ in range(2)] == [2, 2]


def test_a_change_by_another_program_is_seen(any_store: Store) -> None:
    Builder(any_store).corpus("home", OLD, "book")
    assert [row.id for row in list_corpora(any_store)] == ["home"]
    other = open_store(any_store.settings)
    Builder.corpus(_of(other), "second", OLD, "book")
    other.close()
    assert [row.id for row in list_corpora(any_store)] == ["home", "second"]


def _of(store: Store) -> Builder:
    build = Builder.__new__(Builder)
    build.store, build.n = store, 100
    return build


def test_what_changes_while_a_value_is_made_is_not_hidden_by_it(
    any_store: Store, counted: Callable[[], int]
) -> None:
    build = Builder(any_store)

    def slow() -> int:
        build.corpus("home", OLD, "book")  # after the version was read
        return counted()

    assert memoize_by_version(any_store, "a", slow) == 0
    assert memoize_by_version(any_store, "a", counted) == 1


def test_errors_are_not_kept(any_store: Store) -> None:
    with pytest.raises(NotFoundError):
        suites.suite(any_store, "suite", None)
    Builder(any_store)
    assert suites.suite(any_store, "suite", None).id == "suite"


def test_the_oldest_values_make_room(any_store: Store, counted: Callable[[], int]) -> None:
    memoize_by_version(any_store, "first", counted)
    for number in range(MAX_VALUES):
        memoize_by_version(any_store, number, counted)
    assert memoize_by_version(any_store, "first", counted) == MAX_VALUES + 1


def test_two_stores_keep_their_own(mini_store: Store, any_store: Store) -> None:
    assert list_corpora(any_store) == ()
    assert len(list_corpora(mini_store)) == 1
    assert list_corpora(any_store) == ()


def test_pages_after_a_change_are_those_of_a_fresh_program(
    mini_store: Store, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = copy_store(mini_store, tmp_path_factory.mktemp("kept") / "data")
    store = open_store(Settings(data_dir=folder))
    name = list_corpora(store)[0].id
    before = predictions.prediction(store, name, 500)
    found = search.search(store, search.SearchRequest(corpus=name, limit=3))
    with store.begin() as session:  # every name in them is another one now
        session.execute(update(Corpus).values(name="renamed", created_at=OLD))
    with pytest.raises(NotFoundError):
        predictions.prediction(store, name, 500)
    fresh = open_store(Settings(data_dir=folder))
    for one in (store, fresh):
        assert predictions.prediction(one, "renamed", 500).curves == before.curves
        assert search.search(one, search.SearchRequest(limit=3)).matches == found.matches
    for one in (store, fresh):
        one.close()
