"""A mixed read: what people and their programs ask of a dashboard, drawn with a seed.

Of 100 reads 62 are pages, 18 the figures that these pages fetch, 20 calls of the API. Ids are
drawn from the store: documents and predictions evenly, clusters by rank with weight 1/rank, since
people begin at the top of a list; words and patterns from short lists. Nothing is revalidated:
every read is answered in full, as to a browser that comes for the first time.
"""

import json
import random
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from benchmarks.clients import Read

API = "/api/v1"
WORDS = ("the", "return", "number", " of the", "class", "import", "data", "value", "is", "matrix")
PATTERNS = (r"\d+", r"[A-Z]{3,}", r"\bself\b", r"\(\w+\)", r"ing\b", "[.]$")
PRESETS = ("step", "smooth", "inverse", "u", "hump", "late", "early")
INVARIANCES = ("level", "level,scale", "level,scale,shift", "none")
SORTS = ("drop", "sharpness", "emergence", "final")
MEASURES = ("loss", "loss", "p", "difference")


@dataclass(frozen=True)
class Known:
    """Names and ids of a store that reads are made of."""

    corpus: str
    suite: str
    n_documents: int
    n_predictions: int
    models: tuple[str, ...]
    clusterings: tuple[int, ...]
    clusters: tuple[int, ...]
    similarity: int


def known(base: str) -> Known:
    """Return what a server's store holds."""

    def get(path: str) -> Any:
        with urllib.request.urlopen(f"{base}{API}{path}", timeout=60) as answer:
            return json.load(answer)

    corpus = get("/corpora")["corpora"][0]
    suite = get("/suites")["suites"][0]
    clusterings = get("/clusterings")["clusterings"]
    middle = min(clusterings, key=lambda row: abs(row["n_clusters"] - 100))["id"]
    listed = get(f"/clusterings/{middle}/clusters?limit=200")["clusters"]
    return Known(
        corpus["id"],
        suite["id"],
        corpus["n_documents"],
        corpus["n_predictions"],
        tuple(model["name"] for model in suite["models"]),
        tuple(row["id"] for row in clusterings),
        tuple(row["id"] for row in listed),
        get(f"/clusterings/{middle}")["similarity_id"],
    )


class Draw:
    """Random parts of addresses."""

    def __init__(self, store: Known, seed: int) -> None:
        self.of = store
        self.random = random.Random(seed)
        self._weights = [1 / rank for rank in range(1, len(store.clusters) + 1)]

    def one(self, values: tuple[Any, ...]) -> Any:
        """Return one of several values."""
        return self.random.choice(values)

    @property
    def cluster(self) -> int:
        """A cluster, those of low rank more often."""
        return self.random.choices(self.of.clusters, self._weights)[0]

    @property
    def document(self) -> str:
        """The end of a document's address."""
        return f"{self.of.corpus}/{self.random.randrange(self.of.n_documents)}"

    @property
    def index(self) -> int:
        """The number of a prediction."""
        return self.random.randrange(self.of.n_predictions)

    @property
    def curves(self) -> str:
        """Parameters that name what scaling is drawn of."""
        return f"suite={self.of.suite}&corpus={self.of.corpus}"

    @property
    def filters(self) -> str:
        """Parameters of a search by text, pattern or scores."""
        return str(
            self.one(
                (
                    f"text={quote(self.one(WORDS))}",
                    f"regex={quote(self.one(PATTERNS))}",
                    f"text={quote(self.one(WORDS))}&cls=monogenic&sort={self.one(SORTS)}",
                    f"cls=polygenic&drop_min={self.random.randrange(1, 6)}&sort=drop&order=desc",
                )
            )
        )

    @property
    def shape(self) -> str:
        """Parameters of a search by a preset curve."""
        preset, ignored = self.one(PRESETS), self.one(INVARIANCES)
        return f"axis={self.one(('N', 'S'))}&preset={preset}&inv={ignored}"

    @property
    def sketch(self) -> bytes:
        """The body of a search by a drawn curve."""
        knots = [[10.0**k, round(self.random.uniform(0, 8), 2)] for k in (4, 5, 6, 7)]
        asked = {"shape": {"sketch": knots}, "invariances": ["level"], "limit": 50}
        return json.dumps(asked).encode()


Make = Callable[[Draw], str]
_PAGES: tuple[tuple[str, int, Make], ...] = (
    ("overview", 5, lambda d: "/"),
    ("clustering", 5, lambda d: f"/clusterings/{d.one(d.of.clusterings)}"),
    ("clustering sorted", 2, lambda d: f"/clusterings/{d.one(d.of.clusterings)}?sort=coherence"),
    ("cluster", 11, lambda d: f"/clusters/{d.cluster}"),
    ("prediction", 10, lambda d: f"/predictions/{d.of.corpus}/{d.index}"),
    ("search, none", 2, lambda d: "/predictions"),
    ("search, filters", 4, lambda d: f"/predictions?{d.filters}"),
    ("search, shape", 4, lambda d: f"/predictions?{d.shape}"),
    ("documents", 2, lambda d: f"/documents/{d.of.corpus}?cursor={d.random.randrange(9) * 50}"),
    ("document heat", 8, lambda d: f"/documents/{d.document}?measure={d.one(MEASURES)}"),
    ("scaling", 3, lambda d: f"/scaling?axis={d.one(('N', 'S'))}"),
    ("jobs", 2, lambda d: "/jobs"),
    ("compare", 1, lambda d: f"/compare/{d.of.clusterings[0]}/{d.of.clusterings[-1]}"),
    ("quanta-sequence", 1, lambda d: "/quanta-sequence"),
    ("glossary", 1, lambda d: "/glossary"),
    ("api", 1, lambda d: "/api"),
)
_FIGURES: tuple[tuple[str, int, Make], ...] = (
    ("figure clustering", 2, lambda d: f"/figures/clusterings/{d.one(d.of.clusterings)}"),
    ("figure cluster", 5, lambda d: f"/figures/clusters/{d.cluster}"),
    ("figure similarity", 3, lambda d: f"/figures/clusters/{d.cluster}/similarity"),
    ("figure prediction", 5, lambda d: f"/figures/predictions/{d.of.corpus}/{d.index}"),
    ("figure scaling", 2, lambda d: f"/figures/scaling?{d.curves}&axis={d.one(('N', 'S'))}"),
    ("figure map", 1, lambda d: f"/figures/curve-map?{d.filters}"),
)
_ROUTES: tuple[tuple[str, int, Make], ...] = (
    ("healthz", 1, lambda d: "/healthz"),
    ("suites", 1, lambda d: f"{API}/suites"),
    ("corpora", 1, lambda d: f"{API}/corpora/{d.of.corpus}"),
    ("document", 1, lambda d: f"{API}/corpora/{d.document.replace('/', '/documents/')}"),
    (
        "heat",
        4,
        lambda d: (
            f"{API}/corpora/{d.document.replace('/', '/documents/')}/heat"
            f"?model={d.one(d.of.models)}&measure={d.one(MEASURES)}"
        ),
    ),
    ("prediction JSON", 2, lambda d: f"{API}/corpora/{d.of.corpus}/predictions/{d.index}"),
    (
        "losses Arrow",
        1,
        lambda d: (
            f"{API}/corpora/{d.of.corpus}/losses?suite={d.of.suite}&format=arrow"
            f"&first={d.index}&limit=4096"
        ),
    ),
    ("similarity Arrow", 1, lambda d: f"{API}/similarities/{d.of.similarity}?format=arrow"),
    ("search JSON", 2, lambda d: f"{API}/predictions?{d.filters}"),
    ("clusterings", 1, lambda d: f"{API}/clusterings"),
    ("clusters", 1, lambda d: f"{API}/clusterings/{d.one(d.of.clusterings)}/clusters"),
    ("cluster JSON", 1, lambda d: f"{API}/clusters/{d.cluster}"),
    ("contexts", 1, lambda d: f"{API}/clusters/{d.cluster}/contexts"),
    ("scaling JSON", 1, lambda d: f"{API}/scaling?{d.curves}&axis={d.one(('N', 'S'))}"),
)
_POSTED = ("search POST", 1)
BUDGETS = (("page", _PAGES), ("page", _FIGURES), ("API", _ROUTES))


class Mix:
    """Draws reads by their weights; `without` names kinds that this server does not have."""

    def __init__(self, store: Known, seed: int, without: frozenset[str] = frozenset()) -> None:
        self._draw = Draw(store, seed)
        self._makes: list[Callable[[], Read]] = []
        self._weights: list[int] = []
        for budget, kinds in BUDGETS:
            for kind, weight, make in kinds:
                if kind not in without:
                    self._add(weight, kind, budget, make)
        self._makes.append(self._posted)
        self._weights.append(_POSTED[1])

    def _add(self, weight: int, kind: str, budget: str, make: Make) -> None:
        self._makes.append(lambda: Read(kind, budget, make(self._draw)))
        self._weights.append(weight)

    def _posted(self) -> Read:
        return Read(_POSTED[0], "API", f"{API}/predictions/search", self._draw.sketch)

    def reads(self, n: int) -> list[Read]:
        """Return the next `n` reads."""
        return [make() for make in self._draw.random.choices(self._makes, self._weights, k=n)]

    def each(self) -> list[Read]:
        """Return one read of every kind."""
        return [make() for make in self._makes]
