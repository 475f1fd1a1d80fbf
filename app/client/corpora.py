"""Suites, corpora, documents, predictions and losses."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from app.client import types
from app.client.calls import Calls, path_of
from app.client.paging import Listing
from app.client.tables import STREAM, streamed_table, table_metadata, wide_losses

BLOCK_ROWS = 65_536  # most rows in a response


class CorporaCalls(Calls):
    """Calls about suites, corpora and evaluations."""

    def suites(self, corpus: str | None = None) -> tuple[types.SuiteView, ...]:
        """Return all suites, with mean losses on one corpus (default: the first)."""
        return self._rows(types.SuiteView, path_of("/suites"), "suites", {"corpus": corpus})

    def suite(self, suite: str, corpus: str | None = None) -> types.SuiteView:
        """Return one suite: models with N, checkpoints, and their mean losses on one corpus."""
        return self._get(types.SuiteView, path_of("/suites/{}", suite), {"corpus": corpus})

    def corpora(self) -> tuple[types.CorpusRow, ...]:
        """Return all corpora."""
        return self._rows(types.CorpusRow, path_of("/corpora"), "corpora", {})

    def corpus(self, corpus: str) -> types.CorpusRow:
        """Return one corpus."""
        return self._get(types.CorpusRow, path_of("/corpora/{}", corpus))

    def documents(
        self, corpus: str, *, source: str | None = None, page_size: int = 200
    ) -> Listing[types.DocumentRow, types.DocumentPage]:
        """Return the documents of a corpus in order, all or those of one source."""
        query = {"source": source, "limit": page_size}
        path = path_of("/corpora/{}/documents", corpus)
        return self._listing(types.DocumentRow, types.DocumentPage, path, "documents", query)

    def document(self, corpus: str, document: int) -> types.DocumentView:
        """Return one document: its tokens as strings and ids, with their prediction indexes."""
        return self._get(types.DocumentView, path_of("/corpora/{}/documents/{}", corpus, document))

    def heat(
        self,
        corpus: str,
        document: int,
        *,
        suite: str | None = None,
        model: str | None = None,
        step: int | None = None,
        measure: types.Measure = "loss",
        other_model: str | None = None,
        other_step: int | None = None,
        target: str | None = None,
        lo: float | None = None,
        hi: float | None = None,
        lock: bool = True,
        log: bool = False,
    ) -> types.Heat:
        """Return one value for each token of a document under one checkpoint.

        Args:
            corpus: name.
            document: number of the document, from 0.
            suite, model, step: checkpoint; default: first suite, largest model, last step.
            measure: "loss" and "entropy" are in nats, "difference" is the loss minus that of
                `other_model` at `other_step`, "p_token" the probability of `target`.
            other_model, other_step: default: the next smaller model, its last step.
            target: a token as text, or "id:198".
            lo, hi: ends of the colour scale.
            lock: use the same scale for all documents, models and steps.
            log: use a log scale for probabilities.

        Raises:
            ConflictError: the measure is not computed; a job (measure or evaluate) computes it.
        """
        params = {
            "suite": suite,
            "model": model,
            "step": step,
            "measure": measure,
            "other_model": other_model,
            "other_step": other_step,
            "target": target,
            "lo": lo,
            "hi": hi,
            "lock": lock,
            "log": log,
        }
        return self._get(
            types.Heat, path_of("/corpora/{}/documents/{}/heat", corpus, document), params
        )

    def prediction(
        self, corpus: str, prediction: int, *, suite: str | None = None, context: int = 128
    ) -> types.PredictionView:
        """Return one prediction: token, curves over size and step, class, scores and clusters.

        Args:
            corpus: name.
            prediction: canonical number, from 0.
            suite: default: the first.
            context: number of tokens before it.
        """
        path = path_of("/corpora/{}/predictions/{}", corpus, prediction)
        return self._get(types.PredictionView, path, {"suite": suite, "context": context})

    def losses(self, corpus: str, suite: str, *, first: int = 0, limit: int | None = None) -> Any:
        """Return losses (nats) of predictions `first` … under every evaluated checkpoint.

        `limit` None returns all, in memory: 4 bytes for each prediction and checkpoint. Use
        `loss_blocks` for a larger corpus.

        Returns:
            A `pyarrow.Table` of `prediction` and one float32 column `loss_nats_MODEL_stepS` for
            each checkpoint; `.to_pandas()` makes a DataFrame of it.
        """
        return pa.concat_tables(self.loss_blocks(corpus, suite, first=first, limit=limit))

    def loss_blocks(
        self, corpus: str, suite: str, *, first: int = 0, limit: int | None = None
    ) -> Iterator[Any]:
        """Yield `losses` in tables of at most 65,536 predictions, in order."""
        if limit is not None and limit < 1:
            raise ValueError(f"limit is {limit}; use at least 1")
        path, remaining, has_more = path_of("/corpora/{}/losses", corpus), limit, True
        while has_more and (remaining is None or remaining > 0):
            n = BLOCK_ROWS if remaining is None else min(remaining, BLOCK_ROWS)
            params = {"suite": suite, "first": first, "limit": n, "format": "arrow"}
            block = streamed_table(self._transport.read(path, params, accept=STREAM).content)
            yield wide_losses(block)
            has_more = table_metadata(block)["truncated"] == "true" and len(block) > 0
            first += len(block)
            remaining = None if remaining is None else remaining - len(block)

    def scaling(
        self,
        suite: str,
        corpus: str,
        *,
        axis: types.Axis = "N",
        model: str | None = None,
        fit: types.FitKind = "power",
        first: float | None = None,
        last: float | None = None,
        subset: str = "all",
    ) -> types.ScalingDetail:
        """Return the mean loss along an axis with its law, p(L) and classes.

        Args:
            suite, corpus: names.
            axis: "N": model size, "S": training step of `model`.
            model: default: the largest.
            fit: the law to fit.
            first, last: smallest and largest N or step in the fit.
            subset: "all", a class of curves, or "cluster:ID".
        """
        params = {
            "suite": suite,
            "corpus": corpus,
            "axis": axis,
            "model": model,
            "fit": fit,
            "first": first,
            "last": last,
            "subset": subset,
        }
        return self._get(types.ScalingDetail, path_of("/scaling"), params)
