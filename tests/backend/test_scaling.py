"""Aggregates of a scaling curve against a slow reading of the stored losses."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import select

from backend.errors import InvalidInputError, NotFoundError
from backend.read import tallies
from backend.read.documents import read_all
from backend.read.losses import curve_scores, loss_matrix
from backend.scaling.detail import scaling_detail
from backend.scaling.views import ScalingDetail, ScalingRequest
from backend.store.database import Store
from backend.store.tables import (
    Cluster,
    ClusterMember,
    Corpus,
    CurveChunk,
    CurveSet,
    Evaluation,
    Suite,
)
from compute.curve_classes import CURVE_CLASSES
from compute.power_law import fit_power_law
from tests.compute.induction import reference_induction_mask
from tests.stores import MINI


def names(store: Store) -> tuple[str, str]:
    with store.session() as session:
        suite, corpus = session.scalars(select(Suite)).one(), session.scalars(select(Corpus)).one()
        return suite.name, corpus.name


def detail(store: Store, **params: object) -> ScalingDetail:
    return scaling_detail(store, ScalingRequest(*names(store), **params))  # type: ignore[arg-type]


def losses_and_classes(
    store: Store, axis: str, model: str | None = None
) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    with store.session() as session:
        rows = [
            row
            for row in session.scalars(select(CurveSet).where(CurveSet.axis == axis))
            if model is None or (row.model and row.model.name == model)
        ]
        row = rows[-1]
        evaluations = [session.get_one(Evaluation, i) for i in row.evaluation_ids]
        losses = loss_matrix(store, row.corpus, evaluations).astype(np.float64)
        return losses, curve_scores(store, row, "curve_class")


def test_means_and_classes_are_those_of_the_stored_losses(mini_store: Store) -> None:
    for axis, model in (("N", None), ("S", "s1")):
        losses, codes = losses_and_classes(mini_store, axis, model)
        view = detail(mini_store, axis=axis, model=model)
        np.testing.assert_allclose(view.mean_nats, losses.mean(axis=0), rtol=1e-13)
        assert sum(part.n_predictions for part in view.classes) == len(losses)
        for part in view.classes:
            chosen = losses[codes == CURVE_CLASSES.index(part.name)]
            assert part.n_predictions == len(chosen)
            assert (part.mean_nats is None) == (not len(chosen))
            if part.mean_nats is not None:
                np.testing.assert_allclose(part.mean_nats, chosen.mean(axis=0), rtol=1e-13)


@pytest.mark.parametrize("axis", ["N", "S"])
def test_contributions_of_classes_sum_to_the_fall_of_the_mean(mini_store: Store, axis: str) -> None:
    view = detail(mini_store, axis=axis)
    added = np.sum([part.drop_nats for part in view.classes], axis=0)
    np.testing.assert_allclose(added, -np.diff(view.mean_nats), rtol=0, atol=1e-14)
    with mini_store.session() as session:
        row = session.scalars(select(CurveSet).where(CurveSet.axis == axis)).all()[-1]
        sums = (row.summary or {})["class_sums_nats"]
        losses, _ = losses_and_classes(mini_store, axis)
        # Of the sums themselves, not a bit is lost.
        assert np.sum(list(sums.values()), axis=0).tolist() == losses.sum(axis=0).tolist()


def test_induction_is_the_mean_over_what_the_definition_explains(mini_store: Store) -> None:
    with mini_store.session() as session:
        corpus = session.scalars(select(Corpus)).one()
        documents = read_all(session, corpus)
    mask = np.concatenate([reference_induction_mask(document) for document in documents])
    losses, _ = losses_and_classes(mini_store, "N")
    result = detail(mini_store).induction
    assert result is not None
    assert result.n_predictions == mask.sum() > 100
    np.testing.assert_allclose(result.mean_nats, losses[mask].mean(axis=0), rtol=1e-13)


def test_the_distribution_is_what_numpy_counts_and_its_mean_is_the_mean(mini_store: Store) -> None:
    losses, _ = losses_and_classes(mini_store, "N")
    view = detail(mini_store)
    assert view.distribution is not None
    edges = [*view.distribution.edges_nats[:-1], np.inf]
    for index, shares in zip(view.distribution.indexes, view.distribution.shares, strict=True):
        counts, _ = np.histogram(losses[:, index], np.array(edges, dtype=float))
        np.testing.assert_allclose(shares, counts / len(losses), atol=1e-15)
        centres = np.array(edges[:-1], dtype=float) + 1 / 16
        assert np.dot(centres, shares) == pytest.approx(view.mean_nats[index], abs=0.02)


def test_the_power_law_is_that_of_the_documents(mini_store: Store) -> None:
    view = detail(mini_store)
    with mini_store.session() as session:
        row = session.scalars(select(CurveSet).where(CurveSet.axis == "N")).one()
        sums = tallies.units(session, row)
    x = np.array([point.x for point in view.points])
    fit = fit_power_law(
        x, np.array(view.mean_nats), y_by_unit=sums[:, 1:] / sums[:, :1], weights=sums[:, 0], seed=0
    )
    assert view.fit is not None
    assert view.law is not None
    assert (view.fit.alpha, view.fit.interval) == (fit.exponent, fit.interval)
    assert len(sums) == MINI.n_documents
    assert view.law.interval_of == "documents"
    residuals = np.log(np.array(view.mean_nats) / (fit.amplitude * x**-fit.exponent))
    np.testing.assert_allclose(view.law.residuals, residuals, atol=1e-12)
    curve = view.law.curve
    assert all(low < y < high for low, y, high in zip(curve.low, curve.y, curve.high, strict=True))


def test_points_outside_of_the_window_have_no_say(mini_store: Store) -> None:
    whole = detail(mini_store)
    x = [point.x for point in whole.points]
    part = detail(mini_store, last=x[-2])
    assert part.law is not None
    assert (part.law.first, part.law.last, part.law.n_points) == (x[0], x[-2], len(x) - 1)
    fit = fit_power_law(np.array(x[:-1]), np.array(whole.mean_nats[:-1]), n_bootstrap=0)
    assert part.fit is not None
    assert part.fit.alpha == pytest.approx(fit.exponent)
    assert len(part.law.residuals) == len(x)
    few = detail(mini_store, last=x[1])
    assert few.law is None
    assert "2 points" in (few.no_law_reason or "")
    with pytest.raises(InvalidInputError, match="no point lies"):
        detail(mini_store, first=2 * x[-1])


def test_a_broken_law_wants_five_points_and_says_so(mini_store: Store) -> None:
    whole = detail(mini_store, fit="bnsl")
    assert whole.law is not None
    assert whole.law.kind == "bnsl"
    assert whole.fit is not None  # the power law stays
    x = [point.x for point in whole.points]
    few = detail(mini_store, fit="bnsl", last=x[3])
    assert few.law is None
    assert "4 points" in (few.no_law_reason or "")


def test_subsets_are_means_over_their_predictions(mini_store: Store) -> None:
    losses, codes = losses_and_classes(mini_store, "N")
    view = detail(mini_store, subset="polygenic")
    chosen = codes == CURVE_CLASSES.index("polygenic")
    assert view.n_predictions == chosen.sum()
    np.testing.assert_allclose(view.mean_nats, losses[chosen].mean(axis=0), rtol=1e-13)
    with mini_store.session() as session:
        cluster = session.scalars(select(Cluster.id).order_by(Cluster.size.desc())).first()
        members = session.scalars(
            select(ClusterMember.prediction).where(ClusterMember.cluster_id == cluster)
        ).all()
    view = detail(mini_store, subset=f"cluster:{cluster}")
    np.testing.assert_allclose(view.mean_nats, losses[list(members)].mean(axis=0), rtol=1e-13)
    assert view.law is None or view.law.interval_of == "members of the cluster"
    with pytest.raises(NotFoundError, match="no cluster 99999"):
        detail(mini_store, subset="cluster:99999")
    with pytest.raises(InvalidInputError, match="Choose all, cluster:ID, or a class: learned"):
        detail(mini_store, subset="nothing")


def test_step_zero_stands_apart(mini_store: Store) -> None:
    view = detail(mini_store, axis="S", model="s1")
    assert view.step_zero is not None
    assert view.step_zero.x == 0
    assert view.step_zero.mean_loss_nats > view.points[0].mean_loss_nats
    assert all(point.x > 0 for point in view.points)
    assert detail(mini_store).step_zero is None


def test_curves_of_an_older_version_say_what_is_missing(writable_store: Store) -> None:
    with writable_store.begin() as session:
        for row in session.scalars(select(CurveSet)):
            retained = dict(row.summary or {})
            for name in ("class_sums_nats", "class_counts", "induction"):
                del retained[name]
            row.summary = retained
        for chunk in session.scalars(
            select(CurveChunk).where(CurveChunk.name.in_(tallies.TALLIES))
        ):
            session.delete(chunk)
    view = detail(writable_store)
    assert view.missing is not None
    assert "quanta classify" in view.missing
    assert (view.distribution, view.classes, view.induction) == (None, (), None)
    assert view.law is not None
    assert view.law.interval_of == "points"
    assert len(view.histograms) == len(view.points)
