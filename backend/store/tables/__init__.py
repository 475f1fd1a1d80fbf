"""Typed tables of the store, by topic."""

from backend.store.tables.access import AccessToken, LoginSession
from backend.store.tables.base import Base
from backend.store.tables.corpora import Corpus, Document, TokenChunk, Tokenizer
from backend.store.tables.evaluations import CurveChunk, CurveSet, Evaluation, LossChunk
from backend.store.tables.experiments import Experiment, ExperimentArray, ExperimentCell
from backend.store.tables.jobs import Claim, Job, JobMessage, JobRequest, JobUnit, Worker
from backend.store.tables.measures import MeasureChunk, TargetLoss
from backend.store.tables.quanta import (
    Annotation,
    Cluster,
    ClusterCurve,
    Clustering,
    ClusterMember,
    Discovery,
    Selection,
    Similarity,
    SimilarityStripe,
    SpectralArray,
)
from backend.store.tables.suites import Checkpoint, Model, Suite

__all__ = [
    "AccessToken",
    "Annotation",
    "Base",
    "Checkpoint",
    "Claim",
    "Cluster",
    "ClusterCurve",
    "ClusterMember",
    "Clustering",
    "Corpus",
    "CurveChunk",
    "CurveSet",
    "Discovery",
    "Document",
    "Evaluation",
    "Experiment",
    "ExperimentArray",
    "ExperimentCell",
    "Job",
    "JobMessage",
    "JobRequest",
    "JobUnit",
    "LoginSession",
    "LossChunk",
    "MeasureChunk",
    "Model",
    "Selection",
    "Similarity",
    "SimilarityStripe",
    "SpectralArray",
    "Suite",
    "TargetLoss",
    "TokenChunk",
    "Tokenizer",
    "Worker",
]
