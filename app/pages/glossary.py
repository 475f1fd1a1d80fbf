"""Words of the dashboard with their definitions; arXiv ids name the sources."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Term:
    """A word, what it means here, and where it comes from."""

    name: str
    meaning: str
    formula: str = ""
    source: str = ""

    @property
    def anchor(self) -> str:
        """Name of its place on the page."""
        return self.name.lower().replace(" ", "-")


_QM, _PYTHIA = "arXiv:2303.13506", "arXiv:2304.01373"

TERMS = (
    Term("Affinity", "Similarity as spectral clustering takes it.", "Ĉ = 1 − arccos(C)/π", _QM),
    Term("Answer", "The token that a prediction has to predict: the last token of its context."),
    Term(
        "Answer entropy",
        "Spread of the answer tokens of a cluster, in nats. 0: all members have the same answer.",
        "H = −Σ pₐ ln pₐ",
    ),
    Term(
        "BNSL",
        "Broken neural scaling law: power-law segments joined by smooth breaks, above a floor a. "
        "The number of breaks is the one that best predicts the last fifth of the points from "
        "the others. The interval refits resampled residuals.",
        "L = a + b·x^−c₀ · Π (1 + (x/dᵢ)^(1/fᵢ))^(−cᵢ·fᵢ)",
        "arXiv:2210.14891",
    ),
    Term("Checkpoint", "One model at one training step.", source=_PYTHIA),
    Term(
        "Class contribution",
        "What the predictions of one class of curves add to the fall of the mean loss from one "
        "point to the next. Over all classes the contributions sum to the fall.",
        "Σ of a class (L before − L after) / number of all predictions",
        _QM,
    ),
    Term("Cluster", "Predictions that spectral clustering groups; candidates for a quantum."),
    Term(
        "Coherence",
        "How much closer members of a cluster are to each other than to the rest.",
        "mean Ĉ within − mean Ĉ to all others",
    ),
    Term("Corpus", "An ordered list of documents, tokenised once, each cut to a largest length."),
    Term(
        "Curve",
        "Loss of one prediction along model size N or training step S. On step axes, step 0 is "
        "drawn left of a break, because a logarithmic axis has no place for it.",
    ),
    Term("Envelope", "At each rank, the largest cluster size over all n_clusters.", source=_QM),
    Term(
        "Flat-high",
        "Class of a curve: lowest loss above 3 nats, range below 1 nat.",
    ),
    Term(
        "Heat",
        "A token's value as background colour. The scale is the same for every model, step and "
        "document, so colours can be compared.",
    ),
    Term(
        "Induction filter",
        "Leaves out predictions whose last three tokens already occurred in the document: copying "
        "explains them.",
        source=_QM,
    ),
    Term(
        "Induction mean",
        "Mean loss of the predictions whose last three tokens, answer included, already occurred "
        "in the document: those that copying can explain.",
        "the trigram ending at p also ends at some p′ < p",
        _QM,
    ),
    Term("Inverse", "Class of a curve: loss rises by 1 nat or more from first to last point."),
    Term(
        "L·p(L)",
        "The integrand of the mean loss: loss times its density. The area under it is the mean.",
        "mean = ∫ L·p(L) dL",
        _QM,
    ),
    Term("Learned", "Class of a curve: loss below 0.3 nats everywhere."),
    Term("Loss", "How surprised a model is by the actual token, in nats.", "−ln p(actual token)"),
    Term(
        "Monogenic",
        "Class of a curve that falls in one place: a decreasing isotonic fit drops by 2 nats or "
        "more, at least 70 % of it inside half a decade. Thought to depend on a single quantum.",
        "drop ≥ 2, sharpness ≥ 0.7",
        _QM,
    ),
    Term("N", "Non-embedding parameters of a model.", source=_QM),
    Term("n_clusters", "How many clusters spectral clustering was asked for."),
    Term(
        "Pattern",
        "The pair (last token, answer) that fits a cluster best, by F1. Precision: of all "
        "clustered predictions that follow it, the share in this cluster; recall: of this "
        "cluster's members, the share that follow it.",
    ),
    Term("p(L)", "Distribution of single predictions' losses; its mean is the mean loss.", "", _QM),
    Term(
        "Polygenic",
        "Class of a curve that falls gradually: a drop of 1 nat or more, spread out. Thought to "
        "depend on many quanta.",
        "drop ≥ 1, sharpness < 0.7",
        _QM,
    ),
    Term(
        "Power law",
        "Mean loss falls as a power of size or step. The interval is a bootstrap over documents.",
        "L = A·x^−α",
        _QM,
    ),
    Term(
        "Prediction",
        "One position of a document after the first: the model sees all tokens before it and "
        "predicts this one. Predictions are numbered from 0 through the corpus.",
    ),
    Term(
        "QDG",
        "Quanta discovery from gradients: predictions a model gets right are clustered by the "
        "direction of their loss gradients.",
        "C = cos(∇ℓᵢ, ∇ℓⱼ)",
        _QM,
    ),
    Term("Quantum", "A piece of knowledge or skill that is either learned or not.", source=_QM),
    Term(
        "Rank–frequency",
        "Cluster sizes by rank. The quantization model says that quanta are used with power-law "
        "frequencies, so the envelope should be a line with slope −(1 + α_N).",
        "p_k ∝ k^−(1+α)",
        _QM,
    ),
    Term(
        "RMSLE",
        "Root mean squared error of ln L between a law and the measured means.",
        "√(mean of (ln L − ln law)²)",
    ),
    Term("S", "Training step."),
    Term("Selection", "The predictions that QDG starts from: those with a loss below a threshold."),
    Term(
        "Sharpness",
        "Share of a curve's drop inside its best half-decade window of the axis.",
    ),
    Term("Suite", "Models of one family trained on the same data in one order.", source=_PYTHIA),
    Term("Token", "A piece of text that models read and predict; split characters share tokens."),
    Term("U-shaped and hump", "Classes of a curve: an inner extreme 1 nat beyond both ends."),
)
