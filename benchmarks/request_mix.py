"""Random mix of the read requests of people and programs, reproducible by a seed.

Of 100 requests 62 are pages, 18 figures of these pages, 20 API calls. Documents and predictions are
sampled uniformly, clusters with weight 1/rank, since people start at the top of a list; words and
patterns come from short lists. There are no conditional requests: every response is complete, as
for the first visit of a browser.
"""

import json
import random
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from benchmarks.clients import Request

API = "/api/v1"
WORDS = ("the", "return", "number", " of the", "class", "import", "data", "value", "is", "matrix")
PATTERNS = (r"\d+", r"[A-Z]{3,}", r"\bself\b", r"\(\w+\)", r"ing\b", "[.]$")
PRESETS = ("step", "smooth", "inverse", "u", "hump", "late", "early")
INVARIANCES = ("level", "level,scale", "level,scale,shift", "none")
SORTS = ("drop", "sharpness", "emergence", "final")
MEASURES = ("loss", "loss", "p", "difference")


@dataclass(frozen=True)
class StoreContents:
    """Names and ids of a store that requests refer to."""

    corpus: str
    suite: str
    n_documents: int
    n_predictions: int
    models: tuple[str, ...]
    clusterings: tuple[int, ...]
    clusters: tuple[int, ...]
    similarity: int


def fetch_contents(base: str) -> StoreContents:
    """Fetch names and ids of a server's store."""

    def get(path: str) -> Any:
        with urllib.request.urlopen(f"{base}{API}{path}", timeout=60) as answer:
            return json.load(answer)

    corpus = get("/corpora")["corpora"][0]
    suite = get("/suites")["suites"][0]
    clusterings = get("/clusterings")["clusterings"]
    middle = min(clusterings, key=lambda row: abs(row["n_clusters"] - 100))["id"]
    listed = get(f"/clusterings/{middle}/clusters?limit=200")["clusters"]
    return StoreContents(
        corpus["id"],
        suite["id"],
        corpus["n_documents"],
        corpus["n_predictions"],
        tuple(model["name"] for model in suite["models"]),
        tuple(row["id"] for row in clusterings),
        tuple(row["id"] for row in listed),
        get(f"/clusterings/{middle}")["similarity_id"],
    )


class Sampler:
    """Random paths and query parameters."""

    def __init__(self, store: StoreContents, seed: int) -> None:
        self.store = store
        self.random = random.Random(seed)
        self._weights = [1 / rank for rank in range(1, len(store.clusters) + 1)]

    def choice(self, values: tuple[Any, ...]) -> Any:
        """Return a random value."""
        return self.random.choice(values)

    @property
    def cluster(self) -> int:
        """Id of a cluster, large clusters more often."""
        return self.random.choices(self.store.clusters, self._weights)[0]

    @property
    def document(self) -> str:
        """Corpus and number of a document, as in a path."""
        return f"{self.store.corpus}/{self.random.randrange(self.store.n_documents)}"

    @property
    def index(self) -> int:
        """Index of a prediction."""
        return self.random.randrange(self.store.n_predictions)

    @property
    def curves(self) -> str:
        """Query parameters that select curves."""
        return f"suite={self.store.suite}&corpus={self.store.corpus}"

    @property
    def filters(self) -> str:
        """Query parameters of a search by text, pattern or scores."""
        return str(
            self.choice(
                (
                    f"text={quote(self.choice(WORDS))}",
                    f"regex={quote(self.choice(PATTERNS))}",
                    f"text={quote(self.choice(WORDS))}&cls=monogenic&sort={self.choice(SORTS)}",
                    f"cls=polygenic&drop_min={self.random.randrange(1, 6)}&sort=drop&order=desc",
                )
            )
        )

    @property
    def shape(self) -> str:
        """Query parameters of a search by a preset curve."""
        preset, invariances = self.choice(PRESETS), self.choice(INVARIANCES)
        return f"axis={self.choice(('N', 'S'))}&preset={preset}&inv={invariances}"

    @property
    def sketch(self) -> bytes:
        """Body of a search by a sketched curve."""
        knots = [[10.0**k, round(self.random.uniform(0, 8), 2)] for k in (4, 5, 6, 7)]
        query = {"shape": {"sketch": knots}, "invariances": ["level"], "limit": 50}
        return json.dumps(query).encode()


MakePath = Callable[[Sampler], str]
_PAGES: tuple[tuple[str, int, MakePath], ...] = (
    ("overview", 5, lambda d: "/"),
    ("clustering", 5, lambda d: f"/clusterings/{d.choice(d.store.clusterings)}"),
    (
        "clustering sorted",
        2,
        lambda d: f"/clusterings/{d.choice(d.store.clusterings)}?sort=coherence",
    ),
    ("cluster", 11, lambda d: f"/clusters/{d.cluster}"),
    ("prediction", 10, lambda d: f"/predictions/{d.store.corpus}/{d.index}"),
    ("search, none", 2, lambda d: "/predictions"),
    ("search, filters", 4, lambda d: f"/predictions?{d.filters}"),
    ("search, shape", 4, lambda d: f"/predictions?{d.shape}"),
    ("documents", 2, lambda d: f"/documents/{d.store.corpus}?cursor={d.random.randrange(9) * 50}"),
    ("document heat", 8, lambda d: f"/documents/{d.document}?measure={d.choice(MEASURES)}"),
    ("scaling", 3, lambda d: f"/scaling?axis={d.choice(('N', 'S'))}"),
    ("jobs", 2, lambda d: "/jobs"),
    ("theory", 1, lambda d: "/theory"),
    ("parity", 1, lambda d: "/parity"),
    ("glossary", 1, lambda d: "/glossary"),
    ("api", 1, lambda d: "/api"),
)
_FIGURES: tuple[tuple[str, int, MakePath], ...] = (
    ("figure clustering", 2, lambda d: f"/figures/clusterings/{d.choice(d.store.clusterings)}"),
    ("figure cluster", 5, lambda d: f"/figures/clusters/{d.cluster}"),
    ("figure similarity", 3, lambda d: f"/figures/clusters/{d.cluster}/similarity"),
    ("figure prediction", 5, lambda d: f"/figures/predictions/{d.store.corpus}/{d.index}"),
    ("figure scaling", 2, lambda d: f"/figures/scaling?{d.curves}&axis={d.choice(('N', 'S'))}"),
    ("figure map", 1, lambda d: f"/figures/curve-map?{d.filters}"),
)
_ROUTES: tuple[tuple[str, int, MakePath], ...] = (
    ("healthz", 1, lambda d: "/healthz"),
    ("suites", 1, lambda d: f"{API}/suites"),
    ("corpora", 1, lambda d: f"{API}/corpora/{d.store.corpus}"),
    ("document", 1, lambda d: f"{API}/corpora/{d.document.replace('/', '/documents/')}"),
    (
        "heat",
        4,
        lambda d: (
            f"{API}/corpora/{d.document.replace('/', '/documents/')}/heat"
            f"?model={d.choice(d.store.models)}&measure={d.choice(MEASURES)}"
        ),
    ),
    ("prediction JSON", 2, lambda d: f"{API}/corpora/{d.store.corpus}/predictions/{d.index}"),
    (
        "losses Arrow",
        1,
        lambda d: (
            f"{API}/corpora/{d.store.corpus}/losses?suite={d.store.suite}&format=arrow"
            f"&first={d.index}&limit=4096"
        ),
    ),
    ("similarity Arrow", 1, lambda d: f"{API}/similarities/{d.store.similarity}?format=arrow"),
    ("search JSON", 2, lambda d: f"{API}/predictions?{d.filters}"),
    ("clusterings", 1, lambda d: f"{API}/clusterings"),
    ("clusters", 1, lambda d: f"{API}/clusterings/{d.choice(d.store.clusterings)}/clusters"),
    ("cluster JSON", 1, lambda d: f"{API}/clusters/{d.cluster}"),
    ("contexts", 1, lambda d: f"{API}/clusters/{d.cluster}/contexts"),
    ("scaling JSON", 1, lambda d: f"{API}/scaling?{d.curves}&axis={d.choice(('N', 'S'))}"),
)
_SEARCH_POST = ("search POST", 1)
BUDGETS = (("page", _PAGES), ("page", _FIGURES), ("API", _ROUTES))


class RequestMix:
    """Sample requests by their weights."""

    def __init__(self, store: StoreContents, seed: int) -> None:
        self._sampler = Sampler(store, seed)
        self._factories: list[Callable[[], Request]] = []
        self._weights: list[int] = []
        for budget, kinds in BUDGETS:
            for kind, weight, make_path in kinds:
                self._add(weight, kind, budget, make_path)
        self._factories.append(self._search_post)
        self._weights.append(_SEARCH_POST[1])

    def _add(self, weight: int, kind: str, budget: str, make_path: MakePath) -> None:
        self._factories.append(lambda: Request(kind, budget, make_path(self._sampler)))
        self._weights.append(weight)

    def _search_post(self) -> Request:
        return Request(_SEARCH_POST[0], "API", f"{API}/predictions/search", self._sampler.sketch)

    def sample(self, n: int) -> list[Request]:
        """Return the next `n` requests."""
        factories = self._sampler.random.choices(self._factories, self._weights, k=n)
        return [factory() for factory in factories]

    def one_per_kind(self) -> list[Request]:
        """Return one request of every kind."""
        return [factory() for factory in self._factories]
