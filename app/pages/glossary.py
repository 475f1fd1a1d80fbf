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


_QM, _PYTHIA, _GROKKING = "arXiv:2303.13506", "arXiv:2304.01373", "arXiv:2205.10343"
_OMNIGROK = "arXiv:2210.01117"
_CLOCK = "arXiv:2301.05217"

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
    Term(
        "Capacity",
        "Parameters that a quantum takes in the theory: a model of N parameters knows N/C quanta.",
        "n = N/C",
        _QM,
    ),
    Term("Checkpoint", "One model at one training step.", source=_PYTHIA),
    Term(
        "Class contribution",
        "What the predictions of one class of curves add to the fall of the mean loss from one "
        "point to the next. Over all classes the contributions sum to the fall.",
        "Σ of a class (L before − L after) / number of all predictions",
        _QM,
    ),
    Term(
        "Clock",
        "How a network may add modulo p: numbers are angles, and logits say how near c is to "
        "a + b on a circle, for a few key frequencies k.",
        "logit(c) = Σ aₖ cos(2πk(a + b − c)/p)",
        _CLOCK,
    ),
    Term("Cluster", "Predictions that spectral clustering groups; candidates for a quantum."),
    Term(
        "Coherence",
        "How much closer members of a cluster are to each other than to the rest.",
        "mean Ĉ within − mean Ĉ to all others",
    ),
    Term(
        "Convergence step",
        "First look at which a subtask's test loss is under 0.1 bits.",
        "T ∝ 1/p in theory",
        _QM,
    ),
    Term("Corpus", "An ordered list of documents, tokenised once, each cut to a largest length."),
    Term(
        "Curve",
        "Loss of one prediction along model size N or training step S. On step axes, step 0 is "
        "drawn left of a break, because a logarithmic axis has no place for it.",
    ),
    Term(
        "Curve distance",
        "How far a prediction's curve is from the one asked for: mean square of their difference, "
        "nats², every point weighted by the stretch of the log axis that it stands for. What an "
        "invariance ignores is taken out first: a constant (level), a factor (scale), a move along "
        "the axis (shift).",
        "Σ wᵢ (ℓᵢ − qᵢ)², Σ wᵢ = 1",
    ),
    Term(
        "Effective theory",
        "What is left of training a toy network once its decoder is taken as given: a loss of "
        "the representation E alone, over the parallelograms of the training set. λ3 is the "
        "third eigenvalue of AᵀA, η the learning rate of the representation.",
        "n_h = Z0 / (2 η λ3)",
        _GROKKING,
    ),
    Term(
        "Emergence",
        "Where on the axis a curve's decreasing fit has fallen by half of its drop, between points "
        "by the logarithm of the axis. Not defined where the curve never falls, or has already "
        "fallen at the first point.",
    ),
    Term(
        "Entropy",
        "How undecided a model is about the next token, in nats, whatever the token then is.",
        "H = −Σ p ln p over the vocabulary",
    ),
    Term("Envelope", "At each rank, the largest cluster size over all n_clusters.", source=_QM),
    Term(
        "Excluded loss",
        "Loss on training pairs once the directions cos and sin of w_k(a + b) over all key "
        "frequencies are taken out of the logits: it rises as memory is given up for the clock.",
        source=_CLOCK,
    ),
    Term(
        "Finite slope",
        "Slope of L − a on log axes for a sum over m quanta, between 2 and 20 learned ones. For a "
        "few dozen quanta it is by far steeper than the limit of infinitely many, because the sum "
        "ends; for many thousand it is a little shallower.",
        "L − a = (b − a)·Σ p_k, n < k ≤ m",
        _QM,
    ),
    Term(
        "Finite-sum prediction",
        "The slope that a run of sparse parity should have: that of the exact loss over its own m "
        "subtasks, at its own widths, steps or sample sizes. Width w: w/C are learned, C the "
        "geometric mean of width over (number learned + ½). Steps s: those with p above τ/s, τ "
        "the geometric mean of convergence step times p. Sample D: those with p above τ/D, "
        "likewise. Nothing is fitted to the loss.",
        "L(n) = Σ p_k, n < k ≤ m",
        _QM,
    ),
    Term(
        "Flat-high",
        "Class of a curve: lowest loss above 3 nats, range below 1 nat.",
    ),
    Term(
        "Gini",
        "How unequal the norms of the Fourier rows of a matrix are: 0 all alike, towards 1 when "
        "few frequencies hold everything. W_E is the embedding, W_L the map from neurons to "
        "logits.",
        source=_CLOCK,
    ),
    Term(
        "Goldilocks zone",
        "Norms of all parameters at which a network generalises: below, it cannot fit; above, it "
        "fits without generalising. Here: the initial sizes alpha around the lowest test loss on "
        "a sphere where it is at most twice that.",
        "L_test(α) ≤ 2 min L_test",
        _OMNIGROK,
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
    Term(
        "Ideal accuracy",
        "Share of all pairs that a training set alone can lead to: its own, and those that share "
        "a parallelogram with one of them, where that parallelogram follows from those of the "
        "training set. Predicted accuracy is the same for the parallelograms that the "
        "representation closes.",
        source=_GROKKING,
    ),
    Term("Inverse", "Class of a curve: loss rises by 1 nat or more from first to last point."),
    Term("Irregular", "Class of a curve that no other class holds."),
    Term("Job", "Computing that was asked for on a page or by the API; it survives restarts."),
    Term(
        "Key frequency",
        "A frequency k of the Fourier basis on 0 to p − 1 that at least 1 % of the final "
        "network's neurons compute: each neuron counts for the one whose block {1, cos, sin} × "
        "{1, cos, sin} holds most of its centred activations' energy.",
        "w_k = 2πk/p",
        _CLOCK,
    ),
    Term(
        "L·p(L)",
        "The integrand of the mean loss: loss times its density. The area under it is the mean.",
        "mean = ∫ L·p(L) dL",
        _QM,
    ),
    Term("Learned", "Class of a curve: loss below 0.3 nats everywhere."),
    Term("Loss", "How surprised a model is by the actual token, in nats.", "−ln p(actual token)"),
    Term(
        "Map of curves",
        "Every curve as a point: the two principal components of the loss curves, so that near "
        "points have curves of similar height and shape. Large corpora show a fixed sample.",
    ),
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
        "Only the k largest get right",
        "The k largest models each give the answer a probability above one half, every smaller "
        "model one half or less: above one half, it is certainly a model's first choice.",
        "ℓ < ln 2",
    ),
    Term(
        "p(chosen token)",
        "Probability that a model gives to one chosen token in the place of every token of a text.",
        source=_QM,
    ),
    Term(
        "Parallelogram",
        "Four numbers with i + n = j + m. A representation closes it when the vectors do the "
        "same; a training set holds it when both its pairs are in it.",
        "E_i + E_n = E_j + E_m",
        _GROKKING,
    ),
    Term(
        "Pattern",
        "The pair (last token, answer) that fits a cluster best, by F1. Precision: of all "
        "clustered predictions that follow it, the share in this cluster; recall: of this "
        "cluster's members, the share that follow it.",
    ),
    Term("p(L)", "Distribution of single predictions' losses; its mean is the mean loss.", "", _QM),
    Term(
        "Phase of learning",
        "What a network has done within its budget of S steps. Comprehension (C): train and test "
        "accuracy are reached, less than the gap apart. Grokking (G): both, the gap or more "
        "apart. Memorisation (M): train alone. Confusion (X): not train; test without train "
        "counts as confusion too, and is marked *.",
        source=_GROKKING,
    ),
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
    Term(
        "Quantization model",
        "Knowledge comes in quanta, learned in the order of how often they are used, which falls "
        "as a power law. A sample's loss falls from b to a once its quantum is learned. Hence "
        "α_N = α and α_D = α_S = α/(1 + α).",
        "p_k = k^−(1+α)/ζ(1+α)",
        _QM,
    ),
    Term("Quantum", "A piece of knowledge or skill that is either learned or not.", source=_QM),
    Term(
        "Rank of a token",
        "Place of the actual token among all tokens by probability; 1 is the model's first choice.",
        "1 + number of tokens with a larger logit, at most 65,535",
    ),
    Term(
        "Rank–frequency",
        "Cluster sizes by rank. The quantization model says that quanta are used with power-law "
        "frequencies, so the envelope should be a line with slope −(1 + α_N).",
        "p_k ∝ k^−(1+α)",
        _QM,
    ),
    Term(
        "Reduced landscape",
        "Train and test loss over the norm of the parameters: each network is trained on a sphere, "
        "brought back to its initial norm after every step. Train loss is L-shaped, test loss "
        "U-shaped.",
        source=_OMNIGROK,
    ),
    Term(
        "Restricted loss",
        "Loss over all pairs if of the logits only cos and sin of w_k(a + b) over the key "
        "frequencies are kept, and every answer's mean: low once the clock works.",
        source=_CLOCK,
    ),
    Term(
        "RMSLE",
        "Root mean squared error of ln L between a law and the measured means.",
        "√(mean of (ln L − ln law)²)",
    ),
    Term(
        "RQI",
        "Representation quality index: the share of all parallelograms that a representation, "
        "at zero mean and unit spread, closes to within 0.01 (squared, mean over dimensions).",
        source=_GROKKING,
    ),
    Term("S", "Training step."),
    Term("Selection", "The predictions that QDG starts from: those with a loss below a threshold."),
    Term(
        "Sharpness",
        "Share of a curve's drop inside its best half-decade window of the axis.",
    ),
    Term(
        "Sparse parity",
        "Inputs are m control bits, one of them set, and n random bits; control bit i asks for "
        "the parity of subset i of k random bits. Subtask i is asked with frequency p_i. Each is "
        "a quantum by construction: until it is learned, its loss is 1 bit.",
        "p_i ∝ i^−(α+1)",
        _QM,
    ),
    Term("Suite", "Models of one family trained on the same data in one order.", source=_PYTHIA),
    Term(
        "Threshold",
        "Samples of a quantum that it takes to learn it in the theory, however often these are "
        "repeated: D samples teach the quanta with p_k at least τ/D.",
        "D·p_n = τ",
        _QM,
    ),
    Term("Token", "A piece of text that models read and predict; split characters share tokens."),
    Term("U-shaped and hump", "Classes of a curve: an inner extreme 1 nat beyond both ends."),
)
