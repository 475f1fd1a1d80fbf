"""Token search: the same as comparing everything, page after page, on both databases."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import select

from backend.corpora.predictions import prediction
from backend.errors import InvalidInputError, NotFoundError, NotReadyError
from backend.read import curve_index as indexes
from backend.read.curve_sets import find_curve_set
from backend.read.losses import curve_scores, evaluation_losses
from backend.search.context import SearchContext, search_axis
from backend.search.curve_map import CurveMap, curve_map
from backend.search.order import query_hash
from backend.search.request import SearchFilters, SearchRequest, Shape
from backend.search.search import search
from backend.search.text_filters import TextFilter
from backend.search.views import SearchResult
from backend.store.database import Store
from backend.store.tables import Cluster, ClusterMember, CurveSet, Evaluation
from compute.curve_classes import CURVE_CLASSES
from compute.curve_search import nearest_by_brute_force, query_curve, shape_distances
from compute.query_curves import preset_curve
from tests.stores import run_pipeline

STEP = SearchRequest(shape=Shape(preset="step", at=2))


class Stored:
    """A curve set as stored, read without the index."""

    def __init__(self, store: Store, axis: str = "N") -> None:
        with store.session() as session:
            query = select(CurveSet).where(CurveSet.axis == axis).order_by(CurveSet.id)
            self.curve_set = session.scalars(query).first()
            assert self.curve_set is not None
            assert self.curve_set.corpus.name
            self.losses: NDArray[np.float16] = np.stack(
                [
                    evaluation_losses(session, session.get_one(Evaluation, i))
                    for i in self.curve_set.evaluation_ids
                ],
                axis=1,
            )
        self.axis = np.array(self.curve_set.axis_values)
        self.store = store

    def score(self, name: str) -> NDArray[Any]:
        assert self.curve_set is not None
        return np.array(curve_scores(self.store, self.curve_set, name))


@pytest.fixture(scope="module")
def stored(mini_store: Store) -> Stored:
    return Stored(mini_store)


@pytest.fixture(params=["compiled", "compared"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiled search, and the comparison that answers until it is there."""
    ready = indexes.compiled_search(wait=True) if request.param == "compiled" else None
    assert (ready is None) == (request.param == "compared")
    monkeypatch.setattr(indexes, "compiled_search", lambda wait: ready)


def indices(result: SearchResult) -> list[int]:
    return [match.index for match in result.matches]


def all_pages(store: Store, query: SearchRequest) -> list[SearchResult]:
    pages = [search(store, query)]
    while (cursor := pages[-1].next_cursor) is not None:
        pages.append(search(store, replace(query, cursor=cursor)))
    return pages


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("invariances", [(), ("level",), ("level", "scale"), ("scale", "shift")])
def test_two_pages_are_the_first_two_hundred_of_a_comparison(
    mini_store: Store, stored: Stored, invariances: tuple[Any, ...]
) -> None:
    query = replace(STEP, invariances=invariances, limit=100)
    first = search(mini_store, query)
    second = search(mini_store, replace(query, cursor=first.next_cursor))
    curve = query_curve(preset_curve("step", stored.axis, 2), stored.axis, invariances)
    expected = nearest_by_brute_force(stored.losses, curve, 200)
    matches = (*first.matches, *second.matches)
    assert [match.index for match in matches] == expected.indices.tolist()
    assert [match.distance for match in matches] == expected.distances.tolist()
    assert [match.shift for match in matches] == expected.shifts.tolist()
    assert first.query_nats == tuple(curve.curve.tolist())
    assert first.n_matching == first.n_predictions == len(stored.losses)


def test_a_match_shows_what_the_page_of_its_prediction_shows(mini_store: Store) -> None:
    result = search(mini_store, replace(STEP, limit=5))
    for match in result.matches:
        view = prediction(mini_store, result.corpus, match.index, context=32)
        curve = view.curves[0]
        assert match.document == view.document
        assert match.answer == view.token
        assert match.before == tuple(value.token for value in view.context[:-1])
        assert match.after == tuple(value.token for value in view.following[:8])
        assert (match.loss_nats, match.curve_class) == (curve.loss_nats, curve.curve_class)
        assert vars(match.scores) == {name: curve.scores[name] for name in vars(match.scores)}
        assert (result.x, result.labels) == (curve.x, curve.labels)


def test_presets_ignore_the_level_by_default(mini_store: Store) -> None:
    assert search(mini_store, STEP).invariances == ("level",)
    assert search(mini_store, replace(STEP, invariances=())).invariances == ()
    like = SearchRequest(shape=Shape(example=7))
    assert search(mini_store, like).invariances == ()


def test_an_example_finds_itself_first(mini_store: Store, stored: Stored) -> None:
    result = search(mini_store, SearchRequest(shape=Shape(example=123), limit=1))
    same = np.flatnonzero((stored.losses == stored.losses[123]).all(axis=1))
    assert indices(result) == [same[0]]
    assert result.matches[0].distance == 0


def between(values: NDArray[Any], low: float, high: float) -> NDArray[np.bool_]:
    return (values.astype(np.float64) >= low) & (values.astype(np.float64) <= high)


def expected_mask(stored: Stored, name: str) -> NDArray[np.bool_]:
    losses = stored.losses.astype(np.float64)
    right = losses < np.log(2)
    classes = np.isin(
        stored.score("curve_class"), [CURVE_CLASSES.index(c) for c in ("inverse", "learned")]
    )
    masks: dict[str, NDArray[np.bool_]] = {
        "classes": classes,
        "drop": between(stored.score("total_drop"), 1.0001, 2.5),
        "sharpness": between(stored.score("sharpness"), 0.7, 1),
        "emergence": between(stored.score("emergence"), 50_000, 400_000),
        "final": between(stored.score("final_loss"), -np.inf, 0.05),
        "monogenic": stored.score("published_monogenic") >= 0,
        "polygenic": stored.score("published_polygenic") == 1,
        "largest 2": right[:, -2:].all(axis=1) & ~right[:, :-2].any(axis=1),
        "largest 99": right.all(axis=1),
        "largest, right": (losses[:, -1] < 1.5) & ~(losses[:, :-1] < 1.5).any(axis=1),
    }
    return masks[name]


FILTERS = {
    "classes": SearchFilters(classes=("inverse", "learned")),
    "drop": SearchFilters(drop=(1.0001, 2.5)),
    "sharpness": SearchFilters(sharpness=(0.7, None)),
    "emergence": SearchFilters(emergence=(50_000, 400_000)),
    "final": SearchFilters(final=(None, 0.05)),
    "monogenic": SearchFilters(published="monogenic"),
    "polygenic": SearchFilters(published="polygenic"),
    "largest 2": SearchFilters(only_largest=2),
    "largest 99": SearchFilters(only_largest=99),
    "largest, right": SearchFilters(only_largest=1, right_nats=1.5),
}


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_selects_the_predictions_that_it_describes(
    mini_store: Store, stored: Stored, name: str
) -> None:
    mask = expected_mask(stored, name)
    result = search(mini_store, SearchRequest(filters=FILTERS[name], limit=200))
    assert result.n_matching == np.count_nonzero(mask)
    assert indices(result) == np.flatnonzero(mask)[:200].tolist()
    shaped = search(mini_store, replace(STEP, filters=FILTERS[name], limit=200))
    curve = query_curve(preset_curve("step", stored.axis, 2), stored.axis, ("level",))
    results = nearest_by_brute_force(stored.losses, curve, 200, mask)
    assert indices(shaped) == results.indices.tolist()


def test_filters_together_with_text_and_all_pages(mini_store: Store, stored: Stored) -> None:
    both = replace(FILTERS["drop"], text=TextFilter(token_pattern="e"), classes=("polygenic",))
    pages = all_pages(mini_store, replace(STEP, filters=both, limit=50))
    result = [match for page in pages for match in page.matches]
    assert len(result) == pages[0].n_matching == len({match.index for match in result}) > 100
    order = [(match.distance, match.index) for match in result]
    assert order == sorted(order)
    assert all("e" in match.answer.text for match in result)
    assert all(match.curve_class == "polygenic" for match in result)


def test_members_of_a_cluster(mini_store: Store) -> None:
    with mini_store.session() as session:
        cluster = session.scalars(select(Cluster).order_by(Cluster.id)).first()
        assert cluster is not None
        members = session.scalars(
            select(ClusterMember.prediction).where(ClusterMember.cluster_id == cluster.id)
        ).all()
    filters = SearchFilters(cluster=cluster.id)
    result = search(mini_store, SearchRequest(filters=filters, limit=200))
    assert indices(result) == sorted(members)[:200]
    assert result.n_matching == len(members)


SCORES = {
    "drop": "total_drop",
    "sharpness": "sharpness",
    "emergence": "emergence",
    "final": "final_loss",
}


@pytest.mark.parametrize("sort", [*SCORES, "index"])
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_by_score_are_one_stable_order(
    mini_store: Store, stored: Stored, sort: Any, order: Any
) -> None:
    mask = expected_mask(stored, "classes")
    query = SearchRequest(filters=FILTERS["classes"], sort=sort, order=order, limit=200)
    matches = [i for page in all_pages(mini_store, query) for i in indices(page)]
    rows = np.flatnonzero(mask)
    if sort == "index":
        expected = rows if order == "asc" else rows[::-1]
    else:
        values = stored.score(SCORES[sort]).astype(np.float64)[rows]
        values = np.nan_to_num(values if order == "asc" else -values, nan=np.inf)
        expected = rows[np.lexsort((rows, values))]
    assert matches == expected.tolist()


def test_a_score_order_shows_distances_too(mini_store: Store, stored: Stored) -> None:
    result = search(mini_store, replace(STEP, invariances=("scale",), sort="final", limit=200))
    curve = query_curve(preset_curve("step", stored.axis, 2), stored.axis, ("scale",))
    distances, _ = shape_distances(stored.losses[indices(result)], curve)
    expected = [d if np.isfinite(d) else None for d in distances.tolist()]
    assert [match.distance for match in result.matches] == expected
    assert None in expected  # among the lowest final losses are flat curves


def test_a_cursor_belongs_to_one_query(mini_store: Store) -> None:
    cursor = search(mini_store, STEP).next_cursor
    assert cursor is not None
    assert search(mini_store, replace(STEP, cursor=cursor, limit=3)).matches  # any length of page
    others = [
        replace(STEP, cursor="0"),
        replace(STEP, cursor=cursor[:-1] + "x"),
        replace(STEP, shape=Shape(preset="step", at=3), cursor=cursor),
        replace(STEP, invariances=(), cursor=cursor),
        replace(STEP, filters=FILTERS["drop"], cursor=cursor),
        replace(STEP, sort="drop", cursor=cursor),
        replace(STEP, axis="S", cursor=cursor),
    ]
    for query in others:
        with pytest.raises(InvalidInputError) as caught:
            search(mini_store, query)
        assert caught.value.parameter == "cursor"


def test_the_hash_in_a_cursor_outlives_a_release() -> None:
    """The literal was computed by an older version, whose cursors must stay valid."""
    query = SearchRequest(
        shape=Shape(preset="step", at=2),
        filters=SearchFilters(text=TextFilter(token="a"), drop=(0.1, None)),
    )
    context = SimpleNamespace(curve_set=SimpleNamespace(key="key"), request=query)
    assert query_hash(cast(SearchContext, context)) == "1b31d90d4f0436c5"


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        (SearchRequest(limit=0), "limit"),
        (SearchRequest(limit=201), "limit"),
        (SearchRequest(sort="distance"), "sort"),
        (replace(STEP, order="desc"), "order"),
        (SearchRequest(shape=Shape(preset="step", at=9)), "at"),
        (SearchRequest(shape=Shape(sketch=((0.0, 1.0), (1.0, 1.0)))), "sketch"),
        (SearchRequest(shape=Shape(preset="flat"), invariances=("scale",)), "inv"),
        (SearchRequest(filters=SearchFilters(classes=("no such",))), "cls"),
        (SearchRequest(filters=SearchFilters(drop=(2, 1))), "drop_min"),
        (SearchRequest(filters=SearchFilters(published="both")), "published"),
        (SearchRequest(axis="S", filters=SearchFilters(only_largest=1)), "only_largest"),
        (SearchRequest(filters=SearchFilters(text=TextFilter(regex="("))), "regex"),
    ],
)
def test_an_invalid_parameter_is_named(
    mini_store: Store, query: SearchRequest, parameter: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        search(mini_store, query)
    assert caught.value.parameter == parameter


@pytest.mark.parametrize(
    "query",
    [
        SearchRequest(corpus="none"),
        SearchRequest(suite="none"),
        SearchRequest(axis="S", model="none"),
        SearchRequest(shape=Shape(example=10**9)),
        SearchRequest(filters=SearchFilters(cluster=10**9)),
        SearchRequest(filters=SearchFilters(text=TextFilter(document=10**9))),
    ],
)
def test_unknown_names_are_not_found(mini_store: Store, query: SearchRequest) -> None:
    with pytest.raises(NotFoundError):
        search(mini_store, query)


def test_without_curves_there_is_nothing_to_search(store: Store) -> None:
    with pytest.raises(NotReadyError, match="quanta classify"):
        search(store, SearchRequest())


def test_axes_without_curves_say_what_there_is(mini_store: Store) -> None:
    result = search(mini_store, SearchRequest(axis="S", shape=Shape(preset="late")))
    assert result.axis == "S"
    assert result.model is not None
    with pytest.raises(NotReadyError, match="axis=N"):
        search(mini_store, SearchRequest(axis="S", model="s5"))


def test_the_axis_of_a_search_has_the_corpus_mean(mini_store: Store, stored: Stored) -> None:
    axis = search_axis(mini_store, SearchRequest())
    assert (axis.axis, axis.model, axis.x) == ("N", None, tuple(stored.axis))
    assert len(axis.labels) == len(axis.x)
    expected = stored.losses.astype(np.float64).mean(axis=0)
    assert axis.mean_nats == pytest.approx(expected, rel=1e-3)
    with pytest.raises(NotFoundError):
        search_axis(mini_store, SearchRequest(suite="none"))


def test_a_curve_set_is_found_by_name_or_by_default(mini_store: Store, stored: Stored) -> None:
    assert stored.curve_set is not None
    with mini_store.session() as session:
        default = find_curve_set(session, None, None, "N", None)
        names = (default.corpus.name, default.suite.name)
        assert default.id == stored.curve_set.id
        assert find_curve_set(session, *names, "N", "no model of this axis").id == default.id
        assert find_curve_set(session, *names, "S", None).axis == "S"
        with pytest.raises(InvalidInputError, match="Choose N or S"):
            find_curve_set(session, *names, "X", None)


def test_the_same_on_both_databases(
    any_store: Store, mini_store: Store, suite_folder: Path
) -> None:
    run_pipeline(any_store, suite_folder)
    stored = Stored(any_store)
    for invariances in ((), ("level", "scale", "shift")):
        curve = query_curve(preset_curve("smooth", stored.axis), stored.axis, invariances)
        query = SearchRequest(shape=Shape(preset="smooth"), invariances=invariances, limit=100)
        result = search(any_store, query)
        expected = nearest_by_brute_force(stored.losses, curve, 100)
        assert indices(result) == expected.indices.tolist()
        assert [match.distance for match in result.matches] == expected.distances.tolist()
    assert curve_map(any_store, SearchRequest()).n_predictions == len(stored.losses)


def test_the_map_is_the_principal_components(mini_store: Store, stored: Stored) -> None:
    result = curve_map(mini_store, SearchRequest(filters=FILTERS["classes"]))
    assert result.index.tolist() == list(range(len(stored.losses)))  # all of them: few enough
    curves = stored.losses.astype(np.float64)
    centred = curves - curves.mean(axis=0)
    places = np.stack([result.x, result.y], axis=1).astype(np.float64)
    spread = np.linalg.eigvalsh(centred.T @ centred)[::-1]
    np.testing.assert_allclose(places.T @ places, np.diag(spread[:2]), rtol=1e-3, atol=1)
    np.testing.assert_allclose(result.shares, spread[:2] / spread.sum(), rtol=1e-6)
    np.testing.assert_array_equal(result.matching, expected_mask(stored, "classes"))
    np.testing.assert_array_equal(result.curve_class, stored.score("curve_class"))


def _corners(result: CurveMap) -> tuple[tuple[float, float], ...]:
    low, high = np.quantile(result.x, [0.3, 0.6])
    left, right = np.quantile(result.y, [0.2, 0.7])
    return ((low, left), (high, left), (high, right), (low, right))


def test_a_lasso_selects_the_points_inside(mini_store: Store) -> None:
    results = curve_map(mini_store, SearchRequest())
    corners = _corners(results)
    (low, left), (high, right) = corners[0], corners[2]
    inside = (results.x > low) & (results.x < high) & (results.y > left) & (results.y < right)
    result = search(mini_store, SearchRequest(filters=SearchFilters(lasso=corners), limit=200))
    edge = 1e-4  # the map is float32: points this near to a side may be on either side of it
    sides = [results.x - low, results.x - high, results.y - left, results.y - right]
    near = (np.abs(sides) < edge).any(axis=0)
    assert np.count_nonzero(inside) > 1000
    assert abs(result.n_matching - np.count_nonzero(inside)) <= np.count_nonzero(near) <= 10
    assert set(indices(result)) <= set(np.flatnonzero(inside | near).tolist())
