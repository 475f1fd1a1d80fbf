"""Masks of the predictions that match a search: text, classes, scores, models, clusters, lasso."""

from collections import OrderedDict
from dataclasses import dataclass
from functools import reduce
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from backend.errors import InvalidInputError, NotFoundError
from backend.read.clusters import cluster_predictions
from backend.read.curve_index import half_bits
from backend.read.losses import curve_scores
from backend.search.context import SearchContext
from backend.search.plane import lasso_mask
from backend.search.request import Range, SearchFilters
from backend.search.text_filters import TextMatches, text_mask

TEXT_SECONDS = 2.0
CACHE_BYTES = 256 << 20
Mask = NDArray[np.bool_]
_INFINITY = int(np.array(np.inf, np.float16).view(np.uint16))
# Fields of SearchFilters that bound a score, and the stored score of each.
SCORES = {
    "drop": "total_drop",
    "sharpness": "sharpness",
    "emergence": "emergence",
    "final": "final_loss",
}


@dataclass(frozen=True)
class FilterResult:
    """The predictions that match filters; a `mask` of None matches all.

    `truncated` tells why a text filter is incomplete, None if it is complete.
    """

    mask: Mask | None
    n_matching: int
    truncated: str | None = None


class FilterCache:
    """Least recently used results: the next page and a redrawn curve have the same filters."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._results: OrderedDict[str, FilterResult] = OrderedDict()

    def get(self, key: str) -> FilterResult | None:
        """Return a cached result."""
        with self._lock:
            result = self._results.get(key)
            if result is not None:
                self._results.move_to_end(key)
            return result

    def put(self, key: str, result: FilterResult) -> None:
        """Cache a complete result; the oldest ones make room for it within `CACHE_BYTES`."""
        if result.truncated or result.mask is None or result.mask.nbytes > CACHE_BYTES:
            return
        result.mask.flags.writeable = False
        with self._lock:
            self._results[key] = result
            while sum(_n_bytes(cached) for cached in self._results.values()) > CACHE_BYTES:
                self._results.popitem(last=False)


def _n_bytes(result: FilterResult) -> int:
    return 0 if result.mask is None else result.mask.nbytes


_cache = FilterCache()


def apply_filters(context: SearchContext, text_seconds: float = TEXT_SECONDS) -> FilterResult:
    """Return which predictions match a request's filters; text filters have `text_seconds`.

    Raises:
        InvalidInputError: a filter that cannot be used, by its name.
        NotFoundError: an unknown document or cluster.
    """
    filters = context.request.filters
    if filters == SearchFilters():
        return FilterResult(None, context.index.n_predictions)
    key = _cache_key(context, context.curve_set.key, filters)
    result = _cache.get(key)
    if result is None:
        result = _combine_masks(context, text_seconds)
        _cache.put(key, result)
    return result


def _cache_key(context: SearchContext, content_key: str, filters: object) -> str:
    store = context.store
    return f"{store.settings.cache_dir.resolve()}|{store.engine.url}|{content_key}|{filters!r}"


def _combine_masks(context: SearchContext, text_seconds: float) -> FilterResult:
    filters = context.request.filters
    text = _text_matches(context, text_seconds)
    masks = [
        text.mask,
        _class_mask(context, filters.classes),
        *(_score_mask(context, name, getattr(filters, name)) for name in SCORES),
        _published_mask(context, filters.published),
        _largest_mask(context, filters),
        _cluster_mask(context, filters.cluster),
        _lasso_mask(context, filters),
    ]
    active = [mask for mask in masks if mask is not None]
    if not active:
        return FilterResult(None, context.index.n_predictions, text.truncated)
    combined = reduce(np.logical_and, active)
    return FilterResult(combined, int(np.count_nonzero(combined)), text.truncated)


def _text_matches(context: SearchContext, text_seconds: float) -> TextMatches:
    """Return the matches of the text filter, cached apart from the other filters."""
    corpus, text = context.curve_set.corpus, context.request.filters.text
    if corpus.has_text and text.document is not None and text.document >= corpus.n_documents:
        raise NotFoundError(
            f"corpus {corpus.name} has no document {text.document}",
            f"Its documents are 0 to {corpus.n_documents - 1}",
        )
    key = _cache_key(context, corpus.key, text)
    cached = _cache.get(key)
    if cached is not None:
        return TextMatches(cached.mask)
    matches = text_mask(context.store, context.session, corpus, text, text_seconds)
    if matches.mask is not None:
        n_matching = int(np.count_nonzero(matches.mask))
        _cache.put(key, FilterResult(matches.mask, n_matching, matches.truncated))
    return matches


def _lasso_mask(context: SearchContext, filters: SearchFilters) -> Mask | None:
    curve_set = context.curve_set
    if not filters.lasso:
        return None
    if filters.lasso_of and not curve_set.key.startswith(filters.lasso_of):
        name = f"{curve_set.suite.name} on {curve_set.corpus.name} over {curve_set.axis}"
        raise InvalidInputError(
            f"the lasso was drawn on another map than that of {name}",
            "Remove it, and draw it again on this map",
            "lasso",
        )
    return lasso_mask(context.store, curve_set, context.index, filters.lasso)


def _class_mask(context: SearchContext, classes: tuple[str, ...]) -> Mask | None:
    from compute.curve_classes import CURVE_CLASSES

    if not classes:
        return None
    is_requested = np.zeros(256, np.bool_)
    for name in classes:
        if name not in CURVE_CLASSES:
            raise InvalidInputError(
                f"there is no curve class {name!r}",
                f"Choose from {', '.join(CURVE_CLASSES)}",
                "cls",
            )
        is_requested[CURVE_CLASSES.index(name)] = True
    mask: Mask = is_requested[curve_scores(context.store, context.curve_set, "curve_class")]
    return mask


def _score_mask(context: SearchContext, name: str, bounds: Range) -> Mask | None:
    low, high = bounds
    if low is None and high is None:
        return None
    if low is not None and high is not None and low > high:
        raise InvalidInputError(
            f"{name}_min {low:g} is above {name}_max {high:g}", "Swap them", f"{name}_min"
        )
    values = curve_scores(context.store, context.curve_set, SCORES[name])
    if values.dtype == np.float16:
        return _half_between(values, low, high)
    with np.errstate(over="ignore"):  # a bound beyond float32's range becomes infinite
        mask: Mask = values >= (-np.inf if low is None else low)  # NaN is neither above
        mask &= values <= (np.inf if high is None else high)  # nor below
    return mask


def _half_between(values: NDArray[np.float16], low: float | None, high: float | None) -> Mask:
    """Return which of some scores >= 0 lie in a range, ends included.

    The bits of float16 numbers >= 0 sort like the numbers, so they are compared without a
    conversion; NaN lies above infinity.
    """
    low_bits = 0 if low is None else half_bits(low)
    high_bits = _INFINITY if high is None else half_bits(np.nextafter(high, np.inf)) - 1
    bits = values.view(np.uint16)
    mask: Mask = (bits >= low_bits) & (bits <= min(high_bits, _INFINITY))
    return mask


def _published_mask(context: SearchContext, published: str | None) -> Mask | None:
    if published is None:
        return None
    if published not in {"monogenic", "polygenic"}:
        raise InvalidInputError(
            f"there is no published rule {published!r}",
            "Choose monogenic or polygenic",
            "published",
        )
    scores = curve_scores(context.store, context.curve_set, f"published_{published}")
    mask: Mask = scores >= 0 if published == "monogenic" else scores.astype(np.bool_)
    return mask


def _largest_mask(context: SearchContext, filters: SearchFilters) -> Mask | None:
    if filters.only_largest is None:
        return None
    if context.curve_set.axis != "N":
        raise InvalidInputError(
            "only_largest compares models, but the axis is the training step",
            "Choose axis=N, or leave it out",
            "only_largest",
        )
    first = max(0, len(context.index.axis) - filters.only_largest)
    return context.index.low_from(first, filters.right_nats)


def _cluster_mask(context: SearchContext, cluster: int | None) -> Mask | None:
    if cluster is None:
        return None
    corpus = context.curve_set.corpus
    mask = np.zeros(corpus.n_predictions, np.bool_)
    mask[cluster_predictions(context.session, corpus, cluster, "cluster")] = True
    return mask
