"""Helpers of the tests of pruning."""

from typing import Any

from sqlalchemy import select

from backend.progress import Silent
from backend.store.database import Store
from backend.upkeep.prune import PruneResult, prune

DAYS = 30.0


def removed(store: Store, *, dry_run: bool = False) -> dict[str, PruneResult]:
    return {item.what: item for item in prune(store, DAYS, Silent(), dry_run=dry_run)}


def ids(store: Store, table: Any) -> set[Any]:
    with store.session() as session:
        return set(session.scalars(select(table.id)))
