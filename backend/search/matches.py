"""A match as pages and the API return it: its curve, its scores and the text around it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.read.losses import curve_scores
from backend.read.reader import Reader
from backend.read.values import finite_or_none
from backend.read.views import Token
from backend.search.context import SearchContext
from backend.search.views import Match, MatchScores

TOKENS_BEFORE = 32
TOKENS_AFTER = 8
MATCH_SCORES = ("total_drop", "sharpness", "emergence", "final_loss")


@dataclass(frozen=True)
class Rows:
    """Matches in order of their sort keys; the prediction's index breaks ties.

    `distances` to the query curve and `shifts` of it, in points, are None without a query curve.
    """

    indices: NDArray[np.int64]
    keys: NDArray[np.float64]
    distances: NDArray[np.float64] | None = None
    shifts: NDArray[np.int64] | None = None

    def first(self, limit: int) -> "Rows":
        """Return the first rows."""
        return Rows(
            self.indices[:limit],
            self.keys[:limit],
            None if self.distances is None else self.distances[:limit],
            None if self.shifts is None else self.shifts[:limit],
        )


def describe_matches(
    context: SearchContext, reader: Reader | None, rows: Rows
) -> tuple[Match, ...]:
    """Return matches with their curves, scores and texts."""
    from compute.curve_classes import class_name

    def score(name: str) -> NDArray[Any]:
        values: NDArray[Any] = curve_scores(context.store, context.curve_set, name)[rows.indices]
        return values

    codes, scores = score("curve_class"), [score(name) for name in MATCH_SCORES]
    curves = context.index.rows(rows.indices).astype(np.float64).tolist()
    matches = []
    for i, prediction in enumerate(rows.indices.tolist()):
        before, answer, after, document = _text(reader, prediction) if reader else _WITHOUT_TEXT
        distance = None if rows.distances is None else finite_or_none(rows.distances[i])
        matches.append(
            Match(
                index=prediction,
                document=document,
                distance=distance,
                shift=None if distance is None or rows.shifts is None else int(rows.shifts[i]),
                curve_class=class_name(int(codes[i])),
                scores=MatchScores(*(finite_or_none(values[i]) for values in scores)),
                loss_nats=tuple(curves[i]),
                before=before,
                answer=answer,
                after=after,
            )
        )
    return tuple(matches)


# Tokens before, answer, tokens after, document.
_Text = tuple[tuple[Token, ...], Token | None, tuple[Token, ...], int | None]
_WITHOUT_TEXT: _Text = ((), None, (), None)


def _text(reader: Reader, prediction: int) -> _Text:
    window = reader.window(prediction, TOKENS_BEFORE, TOKENS_AFTER)
    tokens, answer = tuple(value.token for value in window.tokens), window.answer
    return tokens[:answer], tokens[answer], tokens[answer + 1 :], window.place.document
