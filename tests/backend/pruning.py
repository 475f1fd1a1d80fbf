"""What tests of pruning share."""

from typing import Any

from sqlalchemy import select

from backend.db import Store
from backend.prunes import Pruned, prune
from backend.stages.progress import Silent

DAYS = 30.0


def removed(store: Store, *, really: bool = True) -> dict[str, Pruned]:
    return {item.what: item for item in prune(store, DAYS, Silent(), really=really)}


def ids(store: Store, table: Any) -> set[Any]:
    with store.session() as session:
        return set(session.scalars(select(table.id)))
