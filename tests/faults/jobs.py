"""A queue of small, different jobs of each kind, over a miniature store."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backend.progress import Silent
from backend.stages.corpora import CorpusSpec, add_corpus
from backend.stages.evaluate import evaluate
from backend.stages.suites import add_suite
from backend.store import data_files as files
from backend.store.database import Store
from backend.store.lookup import suite_named
from tests import stores

SUITE, BASE, FRESH = "mini", "first-12", "first-13"
MODELS, FIRST_STEPS = ("s1", "s2", "s3"), (0, 8, 32, 64, 128, 250, 500, 1000)
Request = tuple[str, dict[str, Any]]


def _evaluate(number: int) -> Request:
    # All checkpoints without measures, then with them: never the same job.
    step = (*FIRST_STEPS, 2000)[number // len(MODELS) % 9]
    measures = ("rank", "entropy") if number // len(MODELS) // 9 % 2 else ()
    return "evaluate", {
        "suite": SUITE,
        "corpus": FRESH,
        "models": [MODELS[number % len(MODELS)]],
        "steps": [step],
        "measures": list(measures),
    }


def _classify(number: int) -> Request:
    return "classify", {"suite": SUITE, "corpus": _classified(number)}


def _discover(number: int) -> Request:
    return "discover", {
        "suite": SUITE,
        "corpus": BASE,
        "model": "s1",
        "max_loss_nats": 1.0,
        "induction_filter": False,
        "limit": 30 + number,
        "n_clusters": [2, 4],
        "n_init": 2,
        "seed": number,
    }


def _measure(number: int) -> Request:
    params = {"corpus": BASE, "document": number % 12, "target": f"id:{20 + number}"}
    return "measure", {**params, "checkpoints": "final"}


def _paste(number: int) -> Request:
    text = f"the device number {number} returns memory to the kernel when the driver is cached"
    return "paste", {"text": text, "corpus": BASE}


def _import(number: int) -> Request:
    return "import_losses", {
        "file": f"losses-{number}.npy",
        "models": "models.json",
        "unit": "nats",
        "name": f"theirs-{number}",
    }


def _phase_diagram(number: int) -> Request:
    return "phase_diagram", {
        "x_values": [1e-3, 3e-3, 1e-2],
        "y_values": [1e-3, 2e-3, 3e-3, 4e-3],
        "width": 16,
        "steps": 300,
        "seed": number,
    }


Kinds = tuple[Callable[[int], Request], ...]
# One request of each kind for every number.
QUICK: Kinds = (
    _evaluate,
    _discover,
    _measure,
    _import,
    _phase_diagram,
)
# Kinds that compile the curve search, which takes a process ten seconds.
ALL: Kinds = (*QUICK, _paste, _classify)


@dataclass(frozen=True)
class Queue:
    """A number of jobs, of one kind after the other."""

    count: int
    kinds: Kinds

    def request(self, number: int) -> Request:
        """Return the kind and the parameters of a job."""
        return self.kinds[number % len(self.kinds)](number // len(self.kinds))


def _classified(number: int) -> str:
    return f"document-{number}"


def _write_losses(store: Store, queue: Queue) -> None:
    """Write files to import: losses of random models, one file for each job."""
    folder = files.imports_folder(store)
    folder.mkdir(parents=True, exist_ok=True)
    columns = [
        {"name": f"m{size}", "nonembedding_parameters": size, "step": 1000}
        for size in (10_000, 100_000, 1_000_000)
    ]
    (folder / "models.json").write_text(json.dumps(columns), encoding="utf-8")
    for number in range(-(-queue.count // len(queue.kinds))):
        losses = np.random.default_rng(number).gamma(0.6, 4, (200_000, len(columns)))
        np.save(folder / f"losses-{number}.npy", losses.astype(np.float16))


def build(store: Store, folder: Path, queue: Queue) -> None:
    """Build the inputs of a queue: a suite, corpora, and some evaluations.

    Args:
        store: an empty store.
        folder: for files that are read, once.
        queue: what is to be asked for.
    """
    suite = folder / "suite"
    if not suite.is_dir():
        suite.mkdir(parents=True)
        stores.small_suite(suite, **dict.fromkeys(MODELS, (*FIRST_STEPS, 2000)))
    add_suite(store, suite, SUITE, "three sizes", Silent())
    with store.session() as session:
        last = [m.checkpoints[-1].id for m in suite_named(session, SUITE).models]
    _write_losses(store, queue)
    base = stores.small_corpus(store, documents=12, chunk_predictions=700)
    stores.small_corpus(store, documents=13, chunk_predictions=700)
    evaluate(store, base, last, stores.ONE_CORE, Silent())
    lines = (stores.BUNDLED / "documents.jsonl").read_text(encoding="utf-8").splitlines()
    rounds = -(-queue.count // len(queue.kinds)) if _classify in queue.kinds else 0
    for number in range(rounds):
        file = folder / f"{number}.jsonl"
        document = json.loads(lines[number])
        file.write_text(json.dumps(document | {"text": document["text"][:600]}), encoding="utf-8")
        spec = CorpusSpec(
            name=_classified(number),
            files=[file],
            tokenizer=stores.TOKENIZER,
            max_tokens=256,
            prefix=[0],
            chunk_predictions=60,
        )
        evaluate(store, add_corpus(store, spec, Silent()), last, stores.ONE_CORE, Silent())
