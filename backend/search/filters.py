"""Which predictions a search may find: text, class, scores, published rules, sizes, clusters."""

from collections import OrderedDict
from dataclasses import dataclass, field
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.errors import InvalidInputError, NotFoundError
from backend.read.curve_index import CurveIndex, half_bits
from backend.read.losses import curve_scores
from backend.search.curve_map import lasso_mask
from backend.search.text_filters import TextFilter, TextMatches, text_mask
from backend.store.database import Store
from backend.store.tables import (
    Cluster,
    Clustering,
    ClusterMember,
    CurveSet,
    Discovery,
    Selection,
    Similarity,
)

TEXT_SECONDS = 2.0
CACHE_BYTES = 256 << 20
# A loss below ln 2 is p > 1/2: certainly the model's first choice.
RIGHT_NATS = float(np.log(2))
Range = tuple[float | None, float | None]
Mask = NDArray[np.bool_]
ANY: Range = (None, None)


@dataclass(frozen=True)
class SearchFilters:
    """What a prediction must have to be found; all that is given must hold.

    Attributes:
        text: of the document, the answer and where it is.
        classes: names of curve classes, any of them; empty for all.
        drop: (least, most) total drop, nats.
        sharpness: (least, most) sharpness.
        emergence: (least, most) emergence, in units of the axis; censored ones are out.
        final: (least, most) final loss, nats.
        published: "monogenic" or "polygenic" by the published rule.
        only_largest: right under each of the so many largest models and under no smaller one.
        right_nats: a model is right where its loss is below this.
        cluster: id of a cluster that holds it.
        lasso: corners of a polygon on the map of curves, in its units.
        lasso_of: first digits of the key of the curves that it was drawn on; None for any.
    """

    text: TextFilter = field(default_factory=TextFilter)
    classes: tuple[str, ...] = ()
    drop: Range = ANY
    sharpness: Range = ANY
    emergence: Range = ANY
    final: Range = ANY
    published: str | None = None
    only_largest: int | None = None
    right_nats: float = RIGHT_NATS
    cluster: int | None = None
    lasso: tuple[tuple[float, float], ...] = ()
    lasso_of: str | None = None


@dataclass(frozen=True)
class FilterResult:
    """Which predictions match (None: all), how many, and what was left out of a text search."""

    mask: Mask | None
    n_matching: int
    truncated: str | None = None


class FilterCache:
    """The last few answers of filters: pages and redrawn curves mostly ask for the same again."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._found: OrderedDict[str, FilterResult] = OrderedDict()

    def get(self, key: str) -> FilterResult | None:
        """Return an answer that is kept."""
        with self._lock:
            found = self._found.get(key)
            if found is not None:
                self._found.move_to_end(key)
            return found

    def put(self, key: str, found: FilterResult) -> None:
        """Keep an answer in place of the oldest ones, within `CACHE_BYTES`."""
        if found.mask is None or found.mask.nbytes > CACHE_BYTES:
            return
        found.mask.flags.writeable = False
        with self._lock:
            self._found[key] = found
            while sum(one.mask.nbytes for one in self._found.values() if one.mask is not None) > (
                CACHE_BYTES
            ):
                self._found.popitem(last=False)


_cache = FilterCache()


def apply_filters(
    store: Store,
    session: Session,
    curve_set: CurveSet,
    index: CurveIndex,
    wanted: SearchFilters,
    text_seconds: float = TEXT_SECONDS,
) -> FilterResult:
    """Return which predictions have all that `wanted` asks for, text within `text_seconds`.

    Raises:
        InvalidInputError: a filter that cannot be used, by its name.
        NotFoundError: an unknown document or cluster.
    """
    if wanted == SearchFilters():
        return FilterResult(None, index.n_predictions)
    key = f"{_store_name(store)}|{curve_set.key}|{wanted!r}"
    found = _cache.get(key)
    if found is None:
        found = _combine_masks(store, session, curve_set, index, wanted, text_seconds)
        # What a time limit cut off may be whole the next time.
        if found.truncated is None:
            _cache.put(key, found)
    return found


def _combine_masks(
    store: Store,
    session: Session,
    curve_set: CurveSet,
    index: CurveIndex,
    wanted: SearchFilters,
    text_seconds: float,
) -> FilterResult:
    corpus, document = curve_set.corpus, wanted.text.document
    if corpus.has_text and document is not None and document >= corpus.n_documents:
        raise NotFoundError(
            f"corpus {corpus.name} has no document {document}",
            f"Its documents are 0 to {corpus.n_documents - 1}",
        )
    found = _text_matches(store, session, curve_set, wanted.text, text_seconds)
    masks = [
        found.mask,
        _class_mask(store, curve_set, wanted.classes),
        _score_mask(store, curve_set, "total_drop", "drop", wanted.drop),
        _score_mask(store, curve_set, "sharpness", "sharpness", wanted.sharpness),
        _score_mask(store, curve_set, "emergence", "emergence", wanted.emergence),
        _score_mask(store, curve_set, "final_loss", "final", wanted.final),
        _published_mask(store, curve_set, wanted.published),
        _largest_mask(curve_set, index, wanted),
        _cluster_mask(session, curve_set, wanted.cluster),
        _lasso_mask(store, curve_set, index, wanted),
    ]
    mask = None
    for one in masks:
        if one is not None:
            mask = one if mask is None else mask & one
    n_matching = index.n_predictions if mask is None else int(np.count_nonzero(mask))
    return FilterResult(mask, n_matching, found.truncated)


def _text_matches(
    store: Store, session: Session, curve_set: CurveSet, wanted: TextFilter, text_seconds: float
) -> TextMatches:
    """Return what a text is found in; kept, for the same text is asked for with other filters."""
    key = f"{_store_name(store)}|{curve_set.corpus.key}|{wanted!r}"
    known = _cache.get(key)
    if known is not None:
        return TextMatches(known.mask)
    found = text_mask(store, session, curve_set.corpus, wanted, text_seconds)
    if found.mask is not None and found.truncated is None:
        _cache.put(key, FilterResult(found.mask, int(np.count_nonzero(found.mask))))
    return found


def _store_name(store: Store) -> str:
    return f"{store.settings.cache_dir.resolve()}|{store.engine.url}"


def _lasso_mask(
    store: Store, curve_set: CurveSet, index: CurveIndex, wanted: SearchFilters
) -> Mask | None:
    if not wanted.lasso:
        return None
    if wanted.lasso_of and not curve_set.key.startswith(wanted.lasso_of):
        of = f"{curve_set.suite.name} on {curve_set.corpus.name} over {curve_set.axis}"
        raise InvalidInputError(
            f"the lasso was drawn on another map than that of {of}",
            "Remove it, and draw it again on this map",
            "lasso",
        )
    return lasso_mask(store, curve_set, index, wanted.lasso)


def _class_mask(store: Store, curve_set: CurveSet, classes: tuple[str, ...]) -> Mask | None:
    from compute.curve_classes import CURVE_CLASSES

    if not classes:
        return None
    table = np.zeros(256, np.bool_)
    for name in classes:
        if name not in CURVE_CLASSES:
            raise InvalidInputError(
                f"there is no curve class {name!r}", f"Choose of {', '.join(CURVE_CLASSES)}", "cls"
            )
        table[CURVE_CLASSES.index(name)] = True
    mask: Mask = table[curve_scores(store, curve_set, "curve_class")]
    return mask


def _score_mask(
    store: Store, curve_set: CurveSet, score: str, name: str, wanted: Range
) -> Mask | None:
    least, most = wanted
    if least is None and most is None:
        return None
    if least is not None and most is not None and least > most:
        raise InvalidInputError(
            f"{name}_min {least:g} is above {name}_max {most:g}", "Swap them", f"{name}_min"
        )
    values = curve_scores(store, curve_set, score)
    if values.dtype == np.float16:
        return _half_between(values, least, most)
    low, high = -np.inf if least is None else least, np.inf if most is None else most
    with np.errstate(over="ignore"):  # a bound past float32's range is infinite there
        mask: Mask = (values >= low) & (values <= high)  # NaN is neither
    return mask


def _half_between(values: NDArray[np.float16], least: float | None, most: float | None) -> Mask:
    """Return which of some scores >= 0 lie in a range, ends included.

    Bits of float16 numbers >= 0 have the order of the numbers, and comparing them needs no
    conversion; NaN lies beyond infinity.
    """
    low = 0 if least is None else half_bits(least)
    high = _INFINITY if most is None else half_bits(np.nextafter(most, np.inf)) - 1
    bits = values.view(np.uint16)
    mask: Mask = (bits >= low) & (bits <= min(high, _INFINITY))
    return mask


_INFINITY = int(np.array(np.inf, np.float16).view(np.uint16))


def _published_mask(store: Store, curve_set: CurveSet, published: str | None) -> Mask | None:
    if published is None:
        return None
    if published == "monogenic":
        mask: Mask = curve_scores(store, curve_set, "published_monogenic") >= 0
        return mask
    if published == "polygenic":
        return curve_scores(store, curve_set, "published_polygenic").astype(np.bool_)
    raise InvalidInputError(
        f"there is no published rule {published!r}", "Choose monogenic or polygenic", "published"
    )


def _largest_mask(curve_set: CurveSet, index: CurveIndex, wanted: SearchFilters) -> Mask | None:
    if wanted.only_largest is None:
        return None
    if curve_set.axis != "N":
        raise InvalidInputError(
            "only_largest compares models, but the axis is the training step",
            "Choose axis=N, or leave it out",
            "only_largest",
        )
    first = max(0, len(index.axis) - wanted.only_largest)
    return index.low_from(first, wanted.right_nats)


def _cluster_mask(session: Session, curve_set: CurveSet, cluster: int | None) -> Mask | None:
    if cluster is None:
        return None
    home = session.scalars(
        select(Selection.corpus_id)
        .join(Similarity, Similarity.selection_id == Selection.id)
        .join(Discovery, Discovery.similarity_id == Similarity.id)
        .join(Clustering, Clustering.discovery_id == Discovery.id)
        .join(Cluster, Cluster.clustering_id == Clustering.id)
        .where(Cluster.id == cluster, Discovery.completed_at.is_not(None))
    ).one_or_none()
    if home is None:
        raise NotFoundError(f"there is no cluster {cluster}", "GET /api/v1/clusterings lists them")
    if home != curve_set.corpus_id:
        raise InvalidInputError(
            f"cluster {cluster} is not of corpus {curve_set.corpus.name}",
            "Choose its corpus, or another cluster",
            "cluster",
        )
    mask = np.zeros(curve_set.corpus.n_predictions, np.bool_)
    mask[
        session.scalars(
            select(ClusterMember.prediction).where(ClusterMember.cluster_id == cluster)
        ).all()
    ] = True
    return mask
