"""Files of losses to import, and what a store holds after it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, select

from backend.exchange.losses import LossesSpec
from backend.read.losses import evaluation_losses
from backend.store.database import Store
from backend.store.tables import Base, Evaluation

MODELS = [
    {"name": "m70", "nonembedding_parameters": 18_915_328, "step": 1000},
    {"name": "m160", "nonembedding_parameters": 85_056_000, "step": 1000},
    {"name": "m410", "nonembedding_parameters": 302_311_424, "step": 1000},
    {"name": "m410", "nonembedding_parameters": 302_311_424, "step": 10},
    {"name": "m410", "nonembedding_parameters": 302_311_424, "step": 100},
]


def random_losses(n: int, seed: int = 0) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    return rng.gamma(0.6, 4, (n, len(MODELS))) * 10.0 ** rng.integers(-6, 3, (n, 1))


def written(folder: Path, losses: Any, models: Any = MODELS, **changes: Any) -> LossesSpec:
    folder.mkdir(exist_ok=True)
    np.save(folder / "losses.npy", losses)
    (folder / "models.json").write_text(json.dumps(models))
    spec = LossesSpec(folder / "losses.npy", folder / "models.json", "nats", "pythia")
    return replace(spec, **changes)


def read_back(store: Store, ids: tuple[int, ...]) -> NDArray[np.float64]:
    with store.session() as session:
        columns = [evaluation_losses(session, session.get_one(Evaluation, i)) for i in ids]
    return np.stack(columns, axis=1).astype(np.float64)


def tolerance(nats: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(1e-3, 5e-4 * nats)


def rows_of_every_table(store: Store) -> dict[str, int]:
    with store.session() as session:
        return {
            name: session.scalar(select(func.count()).select_from(table)) or 0
            for name, table in Base.metadata.tables.items()
        }
