"""Search by shape: exact top-100 of n curves of 7 points on two cores, after a warm-up.

Budgets at 10^7, in units of a float32 sum over the same curves in the same rounds: 4 without
invariances, 6 with level and scale, 15 with shift, at most as slow with a token filter; p95 at most
2 x p50. At 10^8: p95 at most 1.5 s, peak memory (mapped pages included) at most 6 GB.

    python -m benchmarks.search [--n 10000000] [--real] [--rounds 40]

Synthetic curves fall by a random amount at a random position, with noise; `--real` uses the curves
in `QUANTA_DATA_DIR` over seven sizes or steps. Curves are repeated up to n, each copy scaled by up
to 10 %. Every round searches for a new sketch. The results of the first round are checked by brute
force in float64.
"""

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compute.curve_block_search import nearest_in_blocks
from compute.curve_layout import BLOCK, block_shape, fill_blocks
from compute.curve_search import NearestCurves, QueryCurve, nearest_by_brute_force, query_curve
from compute.query_curves import sketched_curve

PYTHIA = (18915328, 85056000, 302311424, 805736448, 1208602624, 2517652480, 6444163072)
POINTS, TOP, CORES = 7, 100, 2
BLOCK_ROWS = 1 << 20
MAX_BASELINE = 20_000_000
# A common token ("the", a comma) and a rarer one.
TOKEN_SHARES = (0.03, 0.001)
CASES: dict[str, tuple[tuple[str, ...], float]] = {
    "no invariances": ((), 4),
    "level, scale": (("level", "scale"), 6),
    "shift": (("shift",), 15),
    "level, scale, shift": (("level", "scale", "shift"), 15),
}
Curves = Callable[[int, int], NDArray[np.float16]]


def repeat_curves(stored: NDArray[np.float16]) -> Curves:
    """Return a function that gives rows first … last of repeated, scaled curves."""

    def curves(first: int, last: int) -> NDArray[np.float16]:
        rows = np.arange(first, last)
        factor = (1 + 0.1 * np.sin(rows // len(stored))).astype(np.float32)
        return (stored[rows % len(stored)] * factor[:, None]).astype(np.float16)

    return curves


def synthetic() -> tuple[NDArray[np.float64], Curves]:
    """Return (axis, synthetic curves)."""
    rng, rows = np.random.default_rng(0), BLOCK_ROWS
    level, fall = rng.gamma(2.0, 2.0, (2, rows, 1))
    position, noise = rng.random((rows, 1)), rng.normal(0, 0.2, (rows, POINTS))
    trend = 1 / (1 + np.exp(12 * (np.linspace(0, 1, POINTS) - position)))
    curves = np.abs(level * 0.3 + fall * trend + noise).astype(np.float16)
    return np.array(PYTHIA, np.float64), repeat_curves(curves)


def real() -> tuple[NDArray[np.float64], Curves]:
    """Return (axis, curves of the store)."""
    from sqlalchemy import select

    from backend.read.curve_index import curve_index
    from backend.settings import settings
    from backend.store.database import open_store
    from backend.store.tables import CurveSet

    store = open_store(settings())
    with store.session() as session:
        sets = session.scalars(select(CurveSet).where(CurveSet.completed_at.is_not(None))).all()
        long_sets = [row for row in sets if len(row.axis_values) >= POINTS]
        if not long_sets:
            raise SystemExit(f"no curves of {POINTS} points; run `quanta demo` first")
        index = curve_index(store, session, long_sets[-1])
    stored = np.array(index.losses[:, -POINTS:])
    return index.axis[-POINTS:], repeat_curves(stored)


def sketches(axis: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    """Yield random sketches of two to six knots."""
    rng = np.random.default_rng(7)
    while True:
        positions = np.sort(rng.uniform(np.log(axis[0]), np.log(axis[-1]), rng.integers(2, 7)))
        yield sketched_curve(
            [(float(np.exp(x)), float(rng.uniform(0, 8))) for x in positions], axis
        )


def build_index(folder: Path, n: int, curves: Curves) -> NDArray[np.float16]:
    """Write the index to a file and map it, like the cache of the product."""
    path = folder / "blocks.npy"
    blocks = np.lib.format.open_memmap(path, "w+", np.float16, block_shape(n, POINTS))
    for first in range(0, n, BLOCK_ROWS):
        part = curves(first, min(first + BLOCK_ROWS, n))
        fill_blocks(part, blocks[first // BLOCK : first // BLOCK + -(-len(part) // BLOCK)])
    blocks.flush()
    del blocks
    return np.asarray(np.load(path, mmap_mode="r"))


def seconds(work: Callable[[], object]) -> float:
    """Return the run time of `work`."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def quantile_ms(times: list[float], share: float) -> float:
    """Return a quantile in milliseconds."""
    return float(np.quantile(times, share) * 1e3)


def check_result(curves: Curves, n: int, query: QueryCurve, result: NearestCurves) -> None:
    """Compare a result with a brute-force search in blocks."""
    parts = [
        (first, nearest_by_brute_force(curves(first, min(first + BLOCK_ROWS, n)), query, TOP))
        for first in range(0, n, BLOCK_ROWS)
    ]
    indices = np.concatenate([part.indices + first for first, part in parts])
    distances = np.concatenate([part.distances for _, part in parts])
    order = np.lexsort((indices, distances))[:TOP]
    assert np.array_equal(result.indices, indices[order]), "the top-100 is not the nearest 100"
    assert np.array_equal(result.distances, distances[order])


def time_cases(
    blocks: NDArray[np.float16], n: int, axis: NDArray[np.float64], rounds: int, curves: Curves
) -> dict[str, list[float]]:
    """Return the times of every case; each round times all cases and the sum in turn."""
    random = np.random.default_rng(3).random(n, np.float32)
    tokens = {f"token of {share:.1%}": random < share for share in TOKEN_SHARES}
    flat = np.ones(n * POINTS, np.float32) if n <= MAX_BASELINE else None
    times: dict[str, list[float]] = {name: [] for name in CASES}
    times |= {name: [] for name in ("sum", *tokens)}
    curve_sketches = sketches(axis)
    nearest_in_blocks(blocks, n, query_curve(next(curve_sketches), axis), TOP)  # warm
    for turn in range(rounds):
        sketch = next(curve_sketches)
        if flat is not None:
            times["sum"].append(seconds(flat.sum))
        for name, (invariances, _) in CASES.items():
            query = query_curve(sketch, axis, invariances)
            results: list[NearestCurves] = []
            times[name].append(
                seconds(
                    lambda q=query, r=results: r.append(  # type: ignore[misc]
                        nearest_in_blocks(blocks, n, q, TOP, n_threads=CORES)
                    )
                )
            )
            if turn == 0 and n <= MAX_BASELINE:
                check_result(curves, n, query, results[0])
        query = query_curve(sketch, axis)
        for name, mask in tokens.items():
            times[name].append(
                seconds(
                    lambda q=query, m=mask: nearest_in_blocks(  # type: ignore[misc]
                        blocks, n, q, TOP, m, n_threads=CORES
                    )
                )
            )
    return times


def report(times: dict[str, list[float]]) -> None:
    """Print p50, p95 and the ratios to the sum."""
    base = quantile_ms(times["sum"], 0.5) if times["sum"] else None
    if base is not None:
        best = quantile_ms(times["sum"], 0)
        print(f"{'float32 sum, one thread':26s} p50 {base:8.1f} ms  best {best:8.1f} ms")
    no_invariances = quantile_ms(times["no invariances"], 0.5)
    for name in [name for name in times if name != "sum"]:
        p50, p95 = quantile_ms(times[name], 0.5), quantile_ms(times[name], 0.95)
        line = f"{name:26s} p50 {p50:8.1f} ms  p95 {p95:8.1f} ms  p95/p50 {p95 / p50:4.1f}"
        line += f"  best {quantile_ms(times[name], 0):8.1f} ms"
        if base is not None and name in CASES:
            line += f"  p50/sum {p50 / base:5.2f} (at most {CASES[name][1]:g})"
        elif name not in CASES:
            line += f"  to none {p50 / no_invariances:5.2f} (at most 1)"
        print(line)


def main() -> None:
    """Build an index, time searches and print the results."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, default=10_000_000)
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    axis, curves = real() if arguments.real else synthetic()
    with tempfile.TemporaryDirectory(dir=os.environ.get("QUANTA_DATA_DIR")) as folder:
        start = time.perf_counter()
        blocks = build_index(Path(folder), arguments.n, curves)
        elapsed = time.perf_counter() - start
        print(
            f"{arguments.n:,} {'real' if arguments.real else 'synthetic'} curves x {POINTS}, index "
            f"{blocks.nbytes / 1e9:.2f} GB built in {elapsed:.0f} s, load {os.getloadavg()[0]:.1f}"
        )
        times = time_cases(blocks, arguments.n, axis, arguments.rounds, curves)
        report(times)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"peak resident memory {peak:.2f} GB, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
