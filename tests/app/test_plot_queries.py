"""Plots load less than their page, and the same numbers."""

from backend.corpora.corpora import list_corpora
from backend.corpora.predictions import prediction, prediction_curves
from backend.quanta.cluster_list import ClusterFilter, list_clusters
from backend.quanta.clusterings import (
    clustering,
    clustering_rank_frequency,
    list_clusterings,
)
from backend.quanta.clusters import cluster, cluster_plots
from backend.store.database import Store


def test_curves_of_a_plot_are_those_of_the_prediction(app_store: Store) -> None:
    corpus = list_corpora(app_store)[0].id
    curves = prediction_curves(app_store, corpus, 5)
    assert curves
    assert curves == prediction(app_store, corpus, 5).curves


def test_plots_of_a_cluster_are_those_of_its_view(app_store: Store) -> None:
    number = list_clusterings(app_store)[0].id
    first = list_clusters(app_store, number, ClusterFilter()).clusters[0].id
    plots, view = cluster_plots(app_store, first), cluster(app_store, first)
    assert plots.curves
    assert plots.answers
    assert (plots.curves, plots.answers, plots.last_tokens) == (
        view.curves,
        view.answers,
        view.last_tokens,
    )
    assert (
        clustering_rank_frequency(app_store, number) == clustering(app_store, number).rank_frequency
    )
