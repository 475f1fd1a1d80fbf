"""Suites and how their mean loss scales."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query

from app.deps import CorpusQuery, OptionalCorpus, OptionalModel, StoreDep, SuiteName, SuiteQuery
from backend.queries import suites
from backend.queries.views import Axis, ScalingView, SuiteView

router = APIRouter(prefix="/api/v1")


@dataclass(frozen=True)
class SuiteList:
    """All suites."""

    suites: tuple[SuiteView, ...]
    next_cursor: str | None = None


@router.get("/suites", tags=["suites"])
def list_suites(store: StoreDep, corpus: OptionalCorpus = None) -> SuiteList:
    """All suites: models with N, checkpoints, and their mean losses on one corpus."""
    return SuiteList(suites.list_suites(store, corpus))


@router.get("/suites/{suite}", tags=["suites"])
def suite_by_name(store: StoreDep, suite: SuiteName, corpus: OptionalCorpus = None) -> SuiteView:
    """One suite."""
    return suites.suite(store, suite, corpus)


@router.get("/scaling", tags=["scaling"])
def scaling(
    store: StoreDep,
    suite: SuiteQuery,
    corpus: CorpusQuery,
    axis: Annotated[Axis, Query(description="N: model size; S: training step")] = "N",
    model: OptionalModel = None,
) -> ScalingView:
    """Mean loss along an axis with its power law, loss histograms and shares by curve class."""
    return suites.scaling(store, suite, corpus, axis, model)
