"""Selections, similarities, clusterings and clusters, and annotations."""

from collections.abc import Sequence
from os import PathLike
from typing import Any

from app.client import types
from app.client.calls import path_of
from app.client.files import FileCalls
from app.client.paging import Listing
from app.client.tables import STREAM, streamed_table


class QuantaCalls(FileCalls):
    """Calls about discovered quanta."""

    def selections(self) -> tuple[types.SelectionRow, ...]:
        """Return all selections of predictions for discovery."""
        return self._rows(types.SelectionRow, path_of("/selections"), "selections", {})

    def similarity(self, similarity: int) -> types.SimilarityView:
        """Return a cosine matrix: its selection, parameters, mean and quantiles."""
        return self._get(types.SimilarityView, path_of("/similarities/{}", similarity))

    def similarity_rows(self, similarity: int, *, first: int = 0, limit: int = 64) -> Any:
        """Return rows of a cosine matrix, at most 256 at once.

        Returns:
            A `pyarrow.Table` of `row` (from 0) and `cosine`, a list as long as the matrix;
            `numpy.stack(table["cosine"].to_numpy())` makes a matrix of it.
        """
        params = {"first": first, "limit": limit, "format": "arrow"}
        path = path_of("/similarities/{}", similarity)
        return streamed_table(self._transport.read(path, params, accept=STREAM).content)

    def clusterings(self) -> tuple[types.ClusteringRow, ...]:
        """Return all clusterings, of every discovery and n_clusters."""
        return self._rows(types.ClusteringRow, path_of("/clusterings"), "clusterings", {})

    def clustering(self, clustering: int) -> types.ClusteringView:
        """Return one clustering: rank and frequency, scores, siblings with other n_clusters."""
        return self._get(types.ClusteringView, path_of("/clusterings/{}", clustering))

    def clusters(
        self,
        clustering: int,
        *,
        sort: types.ClusterSort = "rank",
        descending: bool = False,
        min_size: int | None = None,
        max_size: int | None = None,
        min_coherence: float | None = None,
        max_coherence: float | None = None,
        min_loss: float | None = None,
        max_loss: float | None = None,
        min_entropy: float | None = None,
        max_entropy: float | None = None,
        answer: str | None = None,
        page_size: int = 200,
    ) -> Listing[types.ClusterRow, types.ClusterPage]:
        """Return clusters by rank or score, filtered; losses and entropies in nats.

        `answer` is a part of the most common answer or of the label.
        """
        query = {
            "sort": sort,
            "descending": descending,
            "min_size": min_size,
            "max_size": max_size,
            "min_coherence": min_coherence,
            "max_coherence": max_coherence,
            "min_loss": min_loss,
            "max_loss": max_loss,
            "min_entropy": min_entropy,
            "max_entropy": max_entropy,
            "answer": answer,
            "limit": page_size,
        }
        path = path_of("/clusterings/{}/clusters", clustering)
        return self._listing(types.ClusterRow, types.ClusterPage, path, "clusters", query)

    def download_clusters(self, clustering: int, path: str | PathLike[str]) -> types.Download:
        """Write the clusters of a clustering, at most 10,000, to a CSV file."""
        params = {"format": "csv"}
        return self._download(path_of("/clusterings/{}/clusters", clustering), params, path)

    def cluster(self, cluster: int, *, members: int = 50) -> types.ClusterView:
        """Return one cluster: scores, answers, neighbours and curves of up to `members` members."""
        return self._get(types.ClusterView, path_of("/clusters/{}", cluster), {"members": members})

    def contexts(
        self,
        cluster: int,
        *,
        order: types.ContextOrder = "similarity",
        context: int = 64,
        answer: int | None = None,
        last: int | None = None,
        page_size: int = 100,
    ) -> Listing[types.Context, types.ContextPage]:
        """Return members of a cluster in their documents.

        Args:
            cluster: id.
            order: "similarity": most central first; "loss": best predicted first; "document".
            context: tokens before the answer.
            answer: id of a token: only members with this answer.
            last: id of a token: only members with this token before the answer.
            page_size: rows in a page; fewer for long contexts.
        """
        query = {
            "order": order,
            "context": context,
            "answer": answer,
            "last": last,
            "limit": page_size,
        }
        path = path_of("/clusters/{}/contexts", cluster)
        return self._listing(types.Context, types.ContextPage, path, "contexts", query)

    def download_contexts(
        self, cluster: int, path: str | PathLike[str], *, context: int = 64
    ) -> types.Download:
        """Write the members of a cluster in their contexts, at most 10,000, to a CSV file."""
        params = {"format": "csv", "context": context}
        return self._download(path_of("/clusters/{}/contexts", cluster), params, path)

    def cluster_similarity(self, cluster: int, *, limit: int = 200) -> types.SubMatrix:
        """Return cosines between a cluster's members; a sample of at most `limit`."""
        path = path_of("/clusters/{}/similarity", cluster)
        return self._get(types.SubMatrix, path, {"limit": limit})

    def annotate(
        self, cluster: int, *, label: str = "", note: str = "", tags: Sequence[str] = ()
    ) -> types.Annotation:
        """Replace a cluster's label, note and tags; omitted ones become empty."""
        body = {"label": label, "note": note, "tags": list(tags)}
        return self._send(
            types.Annotation, "PUT", path_of("/clusters/{}/annotation", cluster), body
        )

    def compare(self, a: int, b: int, *, limit: int = 100) -> types.Comparison:
        """Return the agreement of two clusterings: ARI, NMI, overlaps of `limit` ranks, matches."""
        path = path_of("/clusterings/{}/compare/{}", a, b)
        return self._get(types.Comparison, path, {"limit": limit})
