"""Suites and how their mean loss scales."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query

from app.requests import dependencies as deps
from app.requests.scaling import FitBound, FitParameter, SubsetParameter
from backend.read.views import Axis
from backend.scaling import suites
from backend.scaling.detail import scaling_detail
from backend.scaling.views import ScalingDetail, ScalingRequest, SuiteView

router = APIRouter(prefix="/api/v1")


@dataclass(frozen=True)
class SuiteList:
    """All suites."""

    suites: tuple[SuiteView, ...]
    next_cursor: str | None = None


@router.get("/suites", tags=["suites"])
def list_suites(store: deps.StoreDep, corpus: deps.OptionalCorpus = None) -> SuiteList:
    """All suites: models with N, checkpoints, and their mean losses on one corpus."""
    return SuiteList(suites.list_suites(store, corpus))


@router.get("/suites/{suite}", tags=["suites"])
def suite_by_name(
    store: deps.StoreDep, suite: deps.SuiteName, corpus: deps.OptionalCorpus = None
) -> SuiteView:
    """One suite."""
    return suites.suite(store, suite, corpus)


@router.get("/scaling", tags=["scaling"])
def scaling(
    store: deps.StoreDep,
    suite: deps.SuiteQuery,
    corpus: deps.CorpusQuery,
    axis: Annotated[Axis, Query(description="N: model size; S: training step")] = "N",
    model: deps.OptionalModel = None,
    fit: FitParameter = "power",
    first: FitBound = None,
    last: FitBound = None,
    subset: SubsetParameter = "all",
) -> ScalingDetail:
    """Mean loss along an axis with its law, p(L), classes and their contributions to the fall."""
    return scaling_detail(
        store, ScalingRequest(suite, corpus, axis, model, fit, first, last, subset)
    )
