"""Real worker processes and the units that they computed."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.processes import ROOT, command, environment

SECONDS = 240.0

# Committed units, in the format of the lines of quanta.log.
COMMITTED = """
SELECT 'evaluate ' || substr(e.key, 1, 16) || ' chunk ' || c.chunk
    FROM loss_chunk c JOIN evaluation e ON e.id = c.evaluation_id
UNION SELECT 'classify ' || substr(s.key, 1, 16) || ' chunk ' || c.chunk
    FROM curve_chunk c JOIN curve_set s ON s.id = c.curve_set_id
UNION SELECT 'select ' || substr(key, 1, 16) FROM selection
UNION SELECT 'similarity ' || substr(s.key, 1, 16) || ' stripe ' || t.stripe
    FROM similarity_stripe t JOIN similarity s ON s.id = t.similarity_id
UNION SELECT 'eigendecomposition ' || substr(d.key, 1, 16)
    FROM spectral_array a JOIN discovery d ON d.id = a.discovery_id
UNION SELECT 'cluster ' || substr(d.key, 1, 16) || ' n_clusters ' || c.n_clusters
    FROM clustering c JOIN discovery d ON d.id = c.discovery_id
UNION SELECT DISTINCT 'cluster curves ' || substr(s.key, 1, 16) || ' clustering ' || c.clustering_id
    FROM cluster_curve v JOIN curve_set s ON s.id = v.curve_set_id
    JOIN cluster c ON c.id = v.cluster_id
UNION SELECT 'measure ' || substr(e.key, 1, 16) || ' chunk ' || m.chunk
    FROM measure_chunk m JOIN evaluation e ON e.id = m.evaluation_id
UNION SELECT 'experiment ' || substr(e.key, 1, 16) || ' from cell ' || (c.cell - c.cell % 8)
    FROM experiment_cell c JOIN experiment e ON e.id = c.experiment_id AND e.kind = 'phase_diagram'
    GROUP BY e.key, e.n_cells, c.cell - c.cell % 8
    HAVING COUNT(*) = 8 OR COUNT(*) = e.n_cells - (c.cell - c.cell % 8)
UNION SELECT 'target ' || substr(key, 1, 16) FROM target_loss
    UNION SELECT 'import losses ' || substr(key, 1, 16) FROM corpus WHERE tokenizer_id IS NULL
"""


@contextmanager
def running_worker(
    folder: Path, log: Path | None = None, **extra: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process on a data directory; `extra` are settings, `log` is its standard error."""
    with (log or folder / "worker.log").open("ab") as stderr:
        process = subprocess.Popen(
            command("worker", "--with-parent"),
            env=environment(folder, **extra),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stderr=stderr,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()


def wait_until(true: Callable[[], Any], what: str, seconds: float = SECONDS) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def computed_units(folder: Path) -> list[str]:
    """The computed units of work, in order."""
    log = folder / "quanta.log"
    return [line.split(" ", 2)[2] for line in log.read_text().splitlines()] if log.exists() else []
