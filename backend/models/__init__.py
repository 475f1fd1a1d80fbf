"""Typed tables of the store, by topic."""

from backend.models.access import AccessToken, LoginSession
from backend.models.base import Base
from backend.models.corpora import Corpus, Document, TokenChunk, Tokenizer
from backend.models.evaluations import CurveChunk, CurveSet, Evaluation, LossChunk
from backend.models.experiments import Experiment, ExperimentArray, ExperimentCell
from backend.models.jobs import Claim, Job, JobMessage, JobRequest, JobUnit, Worker
from backend.models.measures import MeasureChunk, TargetLoss
from backend.models.quanta import (
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
from backend.models.suites import Checkpoint, Model, Suite

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
