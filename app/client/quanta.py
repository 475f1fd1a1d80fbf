"""Selections, similarities, clusterings and clusters, and annotations."""

from collections.abc import Sequence
from os import PathLike
from typing import Any

from app.client.calls import path_of
from app.client.files import FileCalls
from app.client.paging import Listing
from app.client.tables import STREAM, streamed_table
from app.client.types import (
    Annotation,
    ClusteringRow,
    ClusteringView,
    ClusterPage,
    ClusterRow,
    ClusterSort,
    ClusterView,
    Comparison,
    Context,
    ContextOrder,
    ContextPage,
    Download,
    SelectionRow,
    SimilarityView,
    SubMatrix,
)


class QuantaCalls(FileCalls):
    """Calls about discovered quanta."""

    def selections(self) -> tuple[SelectionRow, ...]:
        """Return all selections of predictions for discovery."""
        return self._rows(SelectionRow, path_of("/selections"), "selections", {})

    def similarity(self, similarity: int) -> SimilarityView:
        """Return a cosine matrix: its selection, parameters, mean and quantiles."""
        return self._get(SimilarityView, path_of("/similarities/{}", similarity))

    def similarity_rows(self, similarity: int, *, first: int = 0, limit: int = 64) -> Any:
        """Return rows of a cosine matrix, at most 256 at once.

        Returns:
            A `pyarrow.Table` of `row` (from 0) and `cosine`, a list as long as the matrix;
            `numpy.stack(table["cosine"].to_numpy())` makes a matrix of it.
        """
        params = {"first": first, "limit": limit, "format": "arrow"}
        path = path_of("/similarities/{}", similarity)
        return streamed_table(self._transport.read(path, params, accept=STREAM).content)

    def clusterings(self) -> tuple[ClusteringRow, ...]:
        """Return all clusterings, of every discovery and n_clusters."""
        return self._rows(ClusteringRow, path_of("/clusterings"), "clusterings", {})

    def clustering(self, clustering: int) -> ClusteringView:
        """Return one clustering: rank and frequency, scores, siblings with other n_clusters."""
        return self._get(ClusteringView, path_of("/clusterings/{}", clustering))

    def clusters(
        self,
        clustering: int,
        *,
        sort: ClusterSort = "rank",
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
    ) -> Listing[ClusterRow, ClusterPage]:
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
        return self._listing(ClusterRow, ClusterPage, path, "clusters", query)

    def download_clusters(self, clustering: int, path: str | PathLike[str]) -> Download:
        """Write the clusters of a clustering, at most 10,000, to a CSV file."""
        params = {"format": "csv"}
        return self._download(path_of("/clusterings/{}/clusters", clustering), params, path)

    def cluster(self, cluster: int, *, members: int = 50) -> ClusterView:
        """Return one cluster: scores, answers, neighbours and curves of up to `members` members."""
        return self._get(ClusterView, path_of("/clusters/{}", cluster), {"members": members})

    def contexts(
        self,
        cluster: int,
        *,
        order: ContextOrder = "similarity",
        context: int = 64,
        answer: int | None = None,
        last: int | None = None,
        page_size: int = 100,
    ) -> Listing[Context, ContextPage]:
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
        return self._listing(Context, ContextPage, path, "contexts", query)

    def download_contexts(
        self, cluster: int, path: str | PathLike[str], *, context: int = 64
    ) -> Download:
        """Write the members of a cluster in their contexts, at most 10,000, to a CSV file."""
        params = {"format": "csv", "context": context}
        return self._download(path_of("/clusters/{}/contexts", cluster), params, path)

    def cluster_similarity(self, cluster: int, *, limit: int = 200) -> SubMatrix:
        """Return cosines between a cluster's members; a sample of at most `limit`."""
        path = path_of("/clusters/{}/similarity", cluster)
        return self._get(SubMatrix, path, {"limit": limit})

    def annotate(
        self, cluster: int, *, label: str = "", note: str = "", tags: Sequence[str] = ()
    ) -> Annotation:
        """Replace a cluster's label, note and tags; omitted ones become empty."""
        body = {"label": label, "note": note, "tags": list(tags)}
        return self._send(Annotation, "PUT", path_of("/clusters/{}/annotation", cluster), body)

    def compare(self, a: int, b: int, *, limit: int = 100) -> Comparison:
        """Return the agreement of two clusterings: ARI, NMI, overlaps of `limit` ranks, matches."""
        path = path_of("/clusterings/{}/compare/{}", a, b)
        return self._get(Comparison, path, {"limit": limit})
