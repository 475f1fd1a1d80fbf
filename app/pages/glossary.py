"""Terms of the dashboard with their definitions; sources are arXiv ids."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Term:
    """A term with its meaning, formula and source."""

    name: str
    meaning: str
    formula: str = ""
    source: str = ""

    @property
    def anchor(self) -> str:
        """Id of its element on the page."""
        return self.name.lower().replace(" ", "-")


_QM, _PYTHIA, _GROKKING = "arXiv:2303.13506", "arXiv:2304.01373", "arXiv:2205.10343"
_OMNIGROK = "arXiv:2210.01117"
_CLOCK = "arXiv:2301.05217"

TERMS = (
    Term(
        "Affinity",
        "Input of spectral clustering: similarity from 0 to 1.",
        "Ĉ = 1 − arccos(C)/π",
        _QM,
    ),
    Term("Answer", "The token to predict: the last token of a context."),
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
        "Parameters of one quantum in the theory: a model of N parameters learns N/C quanta.",
        "n = N/C",
        _QM,
    ),
    Term("Checkpoint", "One model at one training step.", source=_PYTHIA),
    Term(
        "Class contribution",
        "Contribution of one class of curves to the fall of the mean loss from one point to the "
        "next. The contributions of all classes sum to the fall.",
        "Σ of a class (L before − L after) / number of all predictions",
        _QM,
    ),
    Term(
        "Clock",
        "A circuit for addition modulo p: numbers are angles, and the logit of c is large if c is "
        "close to a + b on a circle, for a few key frequencies k.",
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
        "First evaluation step with a subtask's test loss under 0.1 bits.",
        "T ∝ 1/p in theory",
        _QM,
    ),
    Term(
        "Corpus",
        "An ordered list of documents, tokenised once, each truncated to a maximum length.",
    ),
    Term(
        "Curve",
        "Loss of one prediction along model size N or training step S. On step axes, step 0 is "
        "left of an axis break, because a log axis has no zero.",
    ),
    Term(
        "Curve distance",
        "Distance between a prediction's curve and the query curve: mean squared difference, "
        "nats², points weighted along the log axis. An invariance first removes a constant "
        "(level), a factor (scale) or a shift along the axis.",
        "Σ wᵢ (ℓᵢ − qᵢ)², Σ wᵢ = 1",
    ),
    Term(
        "Effective theory",
        "A model of training a toy network with a fixed decoder: a loss of the representation E "
        "alone, over the parallelograms of the training set. λ3 is the "
        "third eigenvalue of AᵀA, η the learning rate of the representation.",
        "n_h = Z0 / (2 η λ3)",
        _GROKKING,
    ),
    Term(
        "Emergence",
        "Axis value at which a curve's decreasing fit has fallen by half of its drop, interpolated "
        "on the log axis. Undefined if the curve never falls, or fell before the first point.",
    ),
    Term(
        "Entropy",
        "Uncertainty of a model about the next token, in nats.",
        "H = −Σ p ln p over the vocabulary",
    ),
    Term("Envelope", "At each rank, the largest cluster size over all n_clusters.", source=_QM),
    Term(
        "Excluded loss",
        "Loss on training pairs after removing cos and sin of w_k(a + b) over all key frequencies "
        "from the logits: it rises as the clock replaces memorisation.",
        source=_CLOCK,
    ),
    Term(
        "Finite slope",
        "Slope of L − a on log axes for a sum over m quanta, between 2 and 20 learned ones. For a "
        "few dozen quanta it is much steeper than the limit of infinitely many, because the sum is "
        "finite; for many thousands it is slightly shallower.",
        "L − a = (b − a)·Σ p_k, n < k ≤ m",
        _QM,
    ),
    Term(
        "Finite-sum prediction",
        "Predicted slope of a run of sparse parity: that of the exact loss over its m subtasks, at "
        "its widths, steps or sample sizes. Width w: w/C are learned, C the "
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
        "Inequality of the norms of the Fourier rows of a matrix: 0 if all are equal, towards 1 if "
        "few frequencies hold all energy. W_E is the embedding, W_L the map from neurons to "
        "logits.",
        source=_CLOCK,
    ),
    Term(
        "Goldilocks zone",
        "Range of parameter norms with generalisation: below, a network cannot fit; above, it fits "
        "without generalising. Here: the initial sizes alpha around the lowest test loss on "
        "a sphere where it is at most twice that.",
        "L_test(α) ≤ 2 min L_test",
        _OMNIGROK,
    ),
    Term(
        "Heat",
        "A token's value as background colour, on one scale for all models, steps and documents.",
    ),
    Term(
        "Induction filter",
        "Excludes predictions whose last three tokens already occurred in the document, because "
        "copying explains them.",
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
        "Largest accuracy over all pairs that a training set allows: its own pairs, and those that "
        "share a parallelogram with one of them, if that parallelogram follows from those of the "
        "training set. Predicted accuracy uses the parallelograms that the representation closes.",
        source=_GROKKING,
    ),
    Term("Inverse", "Class of a curve: loss rises by 1 nat or more from first to last point."),
    Term("Irregular", "Class of all other curves."),
    Term(
        "Job",
        "A computation in the queue, from a page, the API or a shell; it survives restarts.",
    ),
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
        "The integrand of the mean loss: loss times its density. Its area is the mean.",
        "mean = ∫ L·p(L) dL",
        _QM,
    ),
    Term("Learned", "Class of a curve: loss below 0.3 nats everywhere."),
    Term("Loss", "Negative log probability of the actual token, in nats.", "−ln p(actual token)"),
    Term(
        "Map of curves",
        "Every curve as a point at its first two principal components: near points have curves of "
        "similar height and shape. Large corpora show a fixed sample.",
    ),
    Term(
        "Monogenic",
        "Class of a curve that falls in one place: a decreasing isotonic fit drops by 2 nats or "
        "more, at least 70 % of it inside half a decade. Expected to depend on a single quantum.",
        "drop ≥ 2, sharpness ≥ 0.7",
        _QM,
    ),
    Term("N", "Non-embedding parameters of a model.", source=_QM),
    Term("n_clusters", "Number of clusters, a parameter of spectral clustering."),
    Term(
        "Only the k largest get right",
        "The k largest models each give the answer a probability above one half, every smaller "
        "model one half or less. Above one half the answer is certainly the first choice.",
        "ℓ < ln 2",
    ),
    Term(
        "p(chosen token)",
        "Probability of one chosen token at every position of a text.",
        source=_QM,
    ),
    Term(
        "Parallelogram",
        "Four numbers with i + n = j + m. A representation closes it if the same holds for the "
        "vectors; a training set contains it if it contains both pairs.",
        "E_i + E_n = E_j + E_m",
        _GROKKING,
    ),
    Term(
        "Pattern",
        "The pair (last token, answer) with the highest F1 for a cluster. Precision: share of the "
        "clustered predictions with this pair that are in the cluster; recall: share of the "
        "cluster's members with this pair.",
    ),
    Term("p(L)", "Distribution of single predictions' losses; its mean is the mean loss.", "", _QM),
    Term(
        "Phase of learning",
        "Outcome of training within a budget of S steps. Comprehension (C): train and test "
        "accuracy are reached, less than the gap apart. Grokking (G): both, the gap or more "
        "apart. Memorisation (M): train alone. Confusion (X): not train; test without train "
        "counts as confusion too, and is marked *.",
        source=_GROKKING,
    ),
    Term(
        "Polygenic",
        "Class of a curve that falls gradually by 1 nat or more. Expected to depend on many "
        "quanta.",
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
        "One position of a document after the first: the model predicts its token from all earlier "
        "ones. Predictions are numbered from 0 through the corpus.",
    ),
    Term(
        "QDG",
        "Quanta discovery from gradients: predictions that a model gets right are clustered by "
        "the direction of their loss gradients.",
        "C = cos(∇ℓᵢ, ∇ℓⱼ)",
        _QM,
    ),
    Term(
        "Quantization model",
        "Knowledge comes in quanta, learned in order of their frequency of use, a power law. The "
        "loss of a sample falls from b to a once its quantum is learned. Hence "
        "α_N = α and α_D = α_S = α/(1 + α).",
        "p_k = k^−(1+α)/ζ(1+α)",
        _QM,
    ),
    Term(
        "Quantum",
        "A piece of knowledge or a skill that a model has either learned or not.",
        source=_QM,
    ),
    Term(
        "Rank of a token",
        "Rank of the actual token among all tokens by probability; 1 is the model's first choice.",
        "1 + number of tokens with a larger logit, at most 65,535",
    ),
    Term(
        "Rank–frequency",
        "Cluster sizes by rank. The quantization model predicts power-law frequencies of quanta, "
        "hence an envelope with slope −(1 + α_N) on log axes.",
        "p_k ∝ k^−(1+α)",
        _QM,
    ),
    Term(
        "Reduced landscape",
        "Train and test loss over the norm of the parameters: each network is trained on a sphere: "
        "rescaled to its initial norm after every step. Train loss is L-shaped, test loss "
        "U-shaped.",
        source=_OMNIGROK,
    ),
    Term(
        "Restricted loss",
        "Loss over all pairs with logits reduced to cos and sin of w_k(a + b) over the key "
        "frequencies, and the mean of each answer: low once the clock works.",
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
    Term("Selection", "The predictions that QDG clusters: those with a loss below max_loss_nats."),
    Term(
        "Sharpness",
        "Share of a curve's drop inside its best half-decade window of the axis.",
    ),
    Term(
        "Sparse parity",
        "Inputs are m control bits, one of them set, and n random bits; control bit i selects "
        "subtask i: the parity of subset i of k random bits, with frequency p_i. Each is a quantum "
        "by construction: its loss is 1 bit until it is learned.",
        "p_i ∝ i^−(α+1)",
        _QM,
    ),
    Term("Suite", "Models of one family trained on the same data in one order.", source=_PYTHIA),
    Term(
        "Tau",
        "Number τ of distinct samples of a quantum that the theory requires to learn it: D samples "
        "teach the quanta with p_k at least τ/D.",
        "D·p_n = τ",
        _QM,
    ),
    Term(
        "Token",
        "A piece of text that models read and predict. A character may be split over tokens.",
    ),
    Term("U-shaped and hump", "Classes of a curve: an interior extreme 1 nat beyond both ends."),
)
