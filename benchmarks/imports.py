"""Import 10^7 x 7 losses into SQLite, read them back, and classify their curves.

Baseline, in the same run: inserts of the same number of chunks and bytes into the same table in one
transaction, without conversion, checks or hashes. `python -m benchmarks.imports [PREDICTIONS]`.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from sqlalchemy import insert

from backend.exchange.losses import LossesSpec, import_losses
from backend.progress import Silent
from backend.read.documents import chunk_spans
from backend.read.losses import SCORE_DTYPES, loss_matrix
from backend.settings import Settings
from backend.store import arrays
from backend.store.database import Store, open_store
from backend.store.lookup import corpus_named
from backend.store.tables import Evaluation, LossChunk
from compute.curve_classes import curve_scores

SIZES = (18_915_328, 85_056_000, 302_311_424, 805_736_448, 1_208_602_624, 2_517_652_480)
PARAMETERS = (*SIZES, 6_444_163_072)
CHUNK, BLOCK = 65_536, 1 << 20
CLASSIFIED_CHUNKS = 16


@dataclass(frozen=True)
class Seconds:
    """Wall-clock time, and CPU time of this process, which is more robust on a busy machine."""

    wall: float
    cpu: float

    def rates(self, n: int) -> str:
        """Return both rates in millions per second."""
        return f"{n / self.wall / 1e6:6.2f} M predictions/s, {n / self.cpu / 1e6:.2f} by CPU time"


def stopwatch() -> Callable[[], Seconds]:
    """Start a stopwatch; the returned function gives the elapsed time."""
    wall, cpu = time.perf_counter(), time.process_time()
    return lambda: Seconds(time.perf_counter() - wall, time.process_time() - cpu)


def write_losses(path: Path, n_predictions: int) -> None:
    """Write float32 losses that fall with size, block by block."""
    rng = np.random.default_rng(0)
    shape = (n_predictions, len(PARAMETERS))
    array = np.lib.format.open_memmap(path, "w+", dtype="<f4", shape=shape)
    for first in range(0, n_predictions, BLOCK):
        rows = min(BLOCK, n_predictions - first)
        falling = np.sort(rng.gamma(0.6, 3, (rows, 7)).astype(np.float32), axis=1)[:, ::-1]
        noise = rng.normal(0, 0.05, (rows, 7)).astype(np.float32)
        array[first : first + rows] = (falling + noise).clip(0, 20)
    array.flush()


def bare_seconds(folder: Path, n_predictions: int) -> Seconds:
    """Return the time of inserting the same number of bytes."""
    store = open_store(Settings(data_dir=folder))
    table = LossChunk.__table__
    row = {"dtype": "float16", "shape": [CHUNK], "checksum": "0" * 32, "data": bytes(2 * CHUNK)}
    with store.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")  # the evaluations do not exist
        connection.commit()
        watch = stopwatch()
        with connection.begin():
            for chunk in range(-(-n_predictions // CHUNK)):
                rows = [{"evaluation_id": e, "chunk": chunk, **row} for e in range(7)]
                connection.execute(insert(table), rows)
        seconds = watch()
    store.engine.dispose()
    return seconds


def timed_import(store: Store, folder: Path) -> tuple[Seconds, tuple[int, ...]]:
    """Return (seconds of an import, ids of the evaluations)."""
    models = [
        {"name": f"m{i}", "nonembedding_parameters": n, "step": 143_000}
        for i, n in enumerate(PARAMETERS)
    ]
    (folder / "models.json").write_text(json.dumps(models))
    spec = LossesSpec(folder / "losses.npy", folder / "models.json", "nats", "bench")
    watch = stopwatch()
    report = import_losses(store, spec, Silent())
    return watch(), report.evaluations


def worst_error(store: Store, folder: Path, ids: tuple[int, ...]) -> tuple[float, float]:
    """Return (largest error over the tolerance, seconds to map all losses)."""
    exact_losses = np.load(folder / "losses.npy", mmap_mode="r")
    start = time.perf_counter()
    with store.session() as session:
        corpus = corpus_named(session, "bench")
        stored = loss_matrix(store, corpus, [session.get_one(Evaluation, i) for i in ids])
    seconds, worst = time.perf_counter() - start, 0.0
    for first in range(0, len(exact_losses), BLOCK):
        exact = exact_losses[first : first + BLOCK].astype(np.float64)
        error = np.abs(stored[first : first + BLOCK] - exact)
        worst = max(worst, float((error / np.maximum(1e-3, 5e-4 * exact)).max()))
    return worst, seconds


def classify_rates(store: Store, ids: tuple[int, ...]) -> tuple[float, float]:
    """Return curves per second by wall-clock and by CPU time, over the first chunks.

    Classes and scores are computed and encoded for storage.
    """
    with store.session() as session:
        corpus = corpus_named(session, "bench")
        losses = loss_matrix(store, corpus, [session.get_one(Evaluation, i) for i in ids])
        spans = chunk_spans(session, corpus)[:CLASSIFIED_CHUNKS]
    axis = np.array(PARAMETERS, np.float64)
    watch = stopwatch()
    for span in spans:
        part = losses[span.first_prediction : span.first_prediction + span.n_predictions]
        scores = curve_scores(part, axis)
        for name, dtype in SCORE_DTYPES.items():
            arrays.columns(np.clip(getattr(scores, name), -6e4, 6e4).astype(dtype))
    n, seconds = sum(span.n_predictions for span in spans), watch()
    return n / seconds.wall, n / seconds.cpu


def main() -> None:
    """Print rates, bytes per loss and precision."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    with TemporaryDirectory(prefix="quanta-bench-") as name:
        folder = Path(name)
        write_losses(folder / "losses.npy", n)
        bare = bare_seconds(folder / "bare", n)
        store = open_store(Settings(data_dir=folder / "data"))
        seconds, ids = timed_import(store, folder)
        with store.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        size = (folder / "data" / "quanta.sqlite").stat().st_size
        worst, mapped = worst_error(store, folder, ids)
        print(f"{n:,} predictions x {len(ids)}, float32 file")
        print(f"bare chunk inserts  {bare.rates(n)}")
        print(f"import              {seconds.rates(n)}")
        ratios = bare.wall / seconds.wall, bare.cpu / seconds.cpu
        print(f"ratio to bare       {ratios[0]:6.2f}, {ratios[1]:.2f} by CPU time")
        print(f"store               {size / (n * len(ids)):6.3f} bytes per loss")
        print(f"largest error       {worst:6.3f} of the tolerance")
        print(f"prediction-major    {n / mapped / 1e6:6.2f} M predictions/s")
        rates = classify_rates(store, ids)
        print(
            f"classes and scores  {rates[0]:,.0f} curves/s, {rates[1]:,.0f} by CPU time, one core"
        )
        store.engine.dispose()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory         {peak:,.0f} MiB, mapped pages included")


if __name__ == "__main__":
    main()
