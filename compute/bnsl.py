"""Broken neural scaling laws (BNSL): smooth curves of several power-law segments.

y = a + b·x^-c0 · Π_i (1 + (x/d_i)^(1/f_i))^(-c_i·f_i), i = 1 … n. Source: arXiv:2210.14891.
Break i is at x = d_i with width f_i and increases the exponent by c_i; n = 0 is a power law with a
floor. All arithmetic uses ln x and ln y, so that no power overflows. The fit minimises the squared
residuals of ln y: a grid of starts, then non-linear least squares.
"""

from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import least_squares
from scipy.special import expit

from compute.power_law import positive_points

MAX_BREAKS = 3
SHARE_HELD_OUT = 0.2  # of the points, those of largest x, to choose the number of breaks
FLOOR_SHARES = (0.0, 0.5, 0.8, 0.95, 0.99)  # initial values of a, as shares of the least y
WIDTHS = (0.1, 0.5)  # initial values of f
N_POSITIONS = 6  # initial positions of breaks along the axis
N_STARTS = 6  # starts of the local search
F_LIMITS = (1e-3, 10.0)
ROUNDING = 1e-9
QUICK, THOROUGH = (1e-7, 40), (1e-13, 400)  # (tolerance, maximum evaluations) of a local search
C_LIMIT = 50.0  # a larger |c| is a jump that data do not resolve

Values = Float[np.ndarray, " points"] | Int[np.ndarray, " points"]
EvalPoints = Float[np.ndarray, " eval_points"] | Int[np.ndarray, " eval_points"]
_Vector = Float[np.ndarray, " parameters"]
_Points = Float[np.ndarray, " points"]


@dataclass(frozen=True)
class Break:
    """One break: its position `d` (in x), the change `c` of the exponent, and its width `f`."""

    c: float
    d: float
    f: float


@dataclass(frozen=True)
class BrokenLaw:
    """A broken neural scaling law; b may overflow a float, so `ln_b` is stored."""

    a: float
    ln_b: float
    c0: float
    breaks: tuple[Break, ...] = ()

    def ln_y(self, x: Values) -> _Points:
        """Return ln y at x > 0."""
        return _ln_law(_vector(self), np.log(np.asarray(x, dtype=np.float64)))

    def y(self, x: Values) -> _Points:
        """Return y at x > 0."""
        values: _Points = np.exp(self.ln_y(x))
        return values


@dataclass(frozen=True)
class BrokenFit:
    """A fitted broken law.

    Attributes:
        law: fit to all points.
        train_rmsle: root mean squared error of ln y on all points.
        r_squared: R² of ln y; NaN if y is constant.
        choice: RMSLE on the held-out points of larger x for each number of breaks, by fits to the
            other points; empty if the number of breaks was given.
        n_held_out: number of held-out points.
    """

    law: BrokenLaw
    train_rmsle: float
    r_squared: float
    choice: tuple[float, ...]
    n_held_out: int


@dataclass(frozen=True)
class BrokenBand:
    """Percentile interval of refits to resampled residuals of ln y.

    `low` and `high` are its ends for y at each evaluation point; `parameters` has the interval of
    each parameter by name, such as "c0" or "d1". `level` is the nominal coverage.
    """

    low: Float[np.ndarray, " eval_points"]
    high: Float[np.ndarray, " eval_points"]
    parameters: dict[str, tuple[float, float]]
    n_bootstrap: int
    level: float


def named_parameters(law: BrokenLaw) -> dict[str, float]:
    """Return the parameters by their names in the formula, and ln b; b may be infinite."""
    with np.errstate(over="ignore"):
        b = float(np.exp(law.ln_b))
    parameters = {"a": law.a, "b": b, "ln_b": law.ln_b, "c0": law.c0}
    for i, bend in enumerate(law.breaks, start=1):
        parameters |= {f"c{i}": bend.c, f"d{i}": bend.d, f"f{i}": bend.f}
    return parameters


def n_parameters(n_breaks: int) -> int:
    """Return the number of parameters of a law."""
    return 3 + 3 * n_breaks


def rmsle(ln_predicted: _Points, ln_y: _Points) -> float:
    """Return the root mean squared error of ln y (RMSLE)."""
    return float(np.sqrt(np.mean((ln_predicted - ln_y) ** 2)))


def fit_broken_law(x: Values, y: Values, n_breaks: int | None = None) -> BrokenFit:
    """Fit a broken law; held-out points of larger x choose the number of breaks.

    Args:
        x: positive, in any order, repeats allowed.
        y: positive.
        n_breaks: 0 … 3, or None to choose the number of least error on the last fifth of the
            points by a fit to the others (or of least residual standard deviation of that fit, if
            larger); ties go to fewer breaks.

    Raises:
        ValueError: too few points for the parameters, or values without a logarithm.
    """
    ln_x, ln_y = _ln_points(x, y)
    choice: tuple[float, ...] = ()
    n_held_out = 0
    if n_breaks is None:
        n_held_out = max(1, round(SHARE_HELD_OUT * len(ln_x)))
        n_breaks, choice = _choose_n_breaks(ln_x, ln_y, n_held_out)
    elif not 0 <= n_breaks <= MAX_BREAKS:
        raise ValueError(f"n_breaks is {n_breaks}, want 0 to {MAX_BREAKS}")
    elif len(np.unique(ln_x)) < n_parameters(n_breaks):
        raise ValueError(
            f"{len(np.unique(ln_x))} distinct x for the {n_parameters(n_breaks)} parameters of "
            f"{n_breaks} breaks; give more points or fewer breaks"
        )
    vector = _fit_each(ln_x, ln_y, n_breaks)[-1]
    predicted = _ln_law(vector, ln_x)
    variance = float(((ln_y - ln_y.mean()) ** 2).sum())
    varies = float(ln_y.max()) > float(ln_y.min())
    return BrokenFit(
        law=_law(vector),
        train_rmsle=rmsle(predicted, ln_y),
        r_squared=1 - float(((predicted - ln_y) ** 2).sum()) / variance if varies else np.nan,
        choice=choice,
        n_held_out=n_held_out,
    )


def bootstrap_broken_law(
    x: Values,
    y: Values,
    law: BrokenLaw,
    at: EvalPoints,
    *,
    n_bootstrap: int = 100,
    level: float = 0.95,
    seed: int = 0,
) -> BrokenBand:
    """Refit a law to y with resampled residuals of ln y, with the law as the start.

    Args:
        x, y: points of the fit.
        law: fit to x and y.
        at: x > 0 at which to evaluate the interval of y.
        n_bootstrap: number of refits, at least 1.
        level: nominal coverage of the percentile interval.
        seed: seed of the resamples.

    Raises:
        ValueError: values without a logarithm, or arguments out of range.
    """
    ln_x, ln_y = _ln_points(x, y)
    if not 0 < level < 1 or n_bootstrap < 1:
        raise ValueError(f"level {level}, n_bootstrap {n_bootstrap}; want 0 < level < 1 and >= 1")
    start = _vector(law)
    predicted = _ln_law(start, ln_x)
    # Fitted parameters reduce the residuals; rescale by the degrees of freedom.
    n_fitted = min(len(start), len(ln_x) - 1)
    residuals = (ln_y - predicted) * np.sqrt(len(ln_x) / (len(ln_x) - n_fitted))
    generator = np.random.default_rng(seed)
    vectors = []
    for _ in range(n_bootstrap):
        resampled = predicted + generator.choice(residuals, len(residuals))
        vectors.append(_minimize(start, ln_x, resampled, QUICK)[0])
    ln_at = np.log(np.asarray(at, dtype=np.float64))
    ends = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile([np.exp(_ln_law(vector, ln_at)) for vector in vectors], ends, axis=0)
    refits = [named_parameters(_law(vector)) for vector in vectors]
    quantiles = {key: np.quantile([refit[key] for refit in refits], ends) for key in refits[0]}
    intervals = {key: (float(pair[0]), float(pair[1])) for key, pair in quantiles.items()}
    return BrokenBand(low, high, intervals, n_bootstrap, level)


def _ln_points(x: Values, y: Values) -> tuple[_Points, _Points]:
    """Return ln x and ln y in ascending order of x."""
    xs, ys = positive_points(x, y)
    order = np.argsort(xs, kind="stable")
    if len(np.unique(xs)) < n_parameters(0):
        raise ValueError(f"{len(np.unique(xs))} distinct x, want at least {n_parameters(0)}")
    return np.log(xs[order]), np.log(ys[order])


def _choose_n_breaks(
    ln_x: _Points, ln_y: _Points, n_held_out: int
) -> tuple[int, tuple[float, ...]]:
    """Return the number of breaks, and the held-out RMSLE with 0, 1, … breaks.

    A held-out error below the residual standard deviation of the fit is chance, so the larger of
    the two is the score. With h held-out points its relative uncertainty is about 1/√h; scores
    within that of the best are ties, which go to the fewest breaks.
    """
    early_x, early_y = ln_x[:-n_held_out], ln_y[:-n_held_out]
    n_distinct = len(np.unique(early_x))
    # One point more than parameters: a fit through every point does not predict the next one.
    max_breaks = min(MAX_BREAKS, (n_distinct - 1) // 3 - 1)
    if max_breaks < 0:
        raise ValueError(
            f"{len(ln_x)} points, {n_held_out} of them held out, leave {n_distinct} distinct x; "
            f"a choice of the number of breaks needs {n_parameters(0) + 1}: give more points"
        )
    errors, scores = [], []
    for n, vector in enumerate(_fit_each(early_x, early_y, max_breaks)):
        errors.append(rmsle(_ln_law(vector, ln_x[-n_held_out:]), ln_y[-n_held_out:]))
        dof = len(early_x) - n_parameters(n)
        deviation = rmsle(_ln_law(vector, early_x), early_y) * np.sqrt(len(early_x) / dof)
        scores.append(max(errors[-1], float(deviation)))
    tie = (1 + n_held_out**-0.5) * min(scores) + ROUNDING
    return next(n for n, score in enumerate(scores) if score <= tie), tuple(errors)


def _vector(law: BrokenLaw) -> _Vector:
    """Return (a, ln b, c0, then c, ln d, ln f of every break)."""
    values = [law.a, law.ln_b, law.c0]
    for bend in law.breaks:
        values += [bend.c, float(np.log(bend.d)), float(np.log(bend.f))]
    return np.array(values)


def _law(vector: _Vector) -> BrokenLaw:
    triples = sorted((tuple(row) for row in vector[3:].reshape(-1, 3)), key=lambda row: row[1])
    breaks = tuple(Break(float(c), float(np.exp(d)), float(np.exp(f))) for c, d, f in triples)
    return BrokenLaw(float(vector[0]), float(vector[1]), float(vector[2]), breaks)


def _ln_power(vector: _Vector, ln_x: _Points) -> _Points:
    """Return ln(y - a)."""
    value: _Points = vector[1] - vector[2] * ln_x
    for c, ln_d, ln_f in vector[3:].reshape(-1, 3):
        f = np.exp(ln_f)
        value = value - c * f * np.logaddexp(0, (ln_x - ln_d) / f)
    return value


def _ln_law(vector: _Vector, ln_x: _Points) -> _Points:
    with np.errstate(divide="ignore"):  # ln(a) = -inf for a floor of 0
        value: _Points = np.logaddexp(np.log(vector[0]), _ln_power(vector, ln_x))
    return value


def _jacobian(vector: _Vector, ln_x: _Points) -> Float[np.ndarray, "points parameters"]:
    """Return the derivatives of ln y with respect to the vector."""
    ln_y = _ln_law(vector, ln_x)
    share = np.exp(_ln_power(vector, ln_x) - ln_y)  # (y - a) / y
    columns = [np.exp(-ln_y), share, -share * ln_x]
    for c, ln_d, ln_f in vector[3:].reshape(-1, 3):
        f = np.exp(ln_f)
        z = (ln_x - ln_d) / f
        bend = np.logaddexp(0, z)
        columns += [-share * f * bend, share * c * expit(z), -share * c * f * (bend - z * expit(z))]
    return np.stack(columns, axis=1)


def _bounds(ln_x: _Points, ln_y: _Points, n_breaks: int) -> tuple[_Vector, _Vector]:
    # A break far outside the points only changes b and c0; half a span allows partial breaks.
    margin = (ln_x[-1] - ln_x[0]) / 2
    ends = (ln_x[0] - margin, ln_x[-1] + margin)
    ln_f = np.log(F_LIMITS)
    low = [0.0, -np.inf, -C_LIMIT, *[-C_LIMIT, ends[0], ln_f[0]] * n_breaks]
    high = [float(np.exp(ln_y.max())), np.inf, C_LIMIT, *[C_LIMIT, ends[1], ln_f[1]] * n_breaks]
    return np.array(low), np.array(high)


def _minimize(
    start: _Vector, ln_x: _Points, ln_y: _Points, effort: tuple[float, int]
) -> tuple[_Vector, float]:
    """Return the least-squares vector of a local search, and its sum of squares."""
    tolerance, max_evaluations = effort

    def residuals(vector: _Vector) -> _Points:
        differences: _Points = _ln_law(vector, ln_x) - ln_y
        return differences

    def jacobian(vector: _Vector) -> Float[np.ndarray, "points parameters"]:
        return _jacobian(vector, ln_x)

    low, high = _bounds(ln_x, ln_y, (len(start) - 3) // 3)
    solution = least_squares(
        residuals,
        np.clip(start, low, high),
        jacobian,
        (low, high),
        x_scale="jac",
        ftol=tolerance,
        xtol=tolerance,
        gtol=tolerance,
        max_nfev=max_evaluations,
    )
    return solution.x, float(2 * solution.cost)


def _fit_each(ln_x: _Points, ln_y: _Points, n_breaks: int) -> list[_Vector]:
    """Return the best fits with 0, 1, … n_breaks breaks, each from several starts.

    The fit with one break less, plus a break of c = 0, is also a start, so that the sum of squares
    never increases with the number of breaks.
    """
    centre = float(ln_x.mean())
    centred = ln_x - centre
    vectors: list[_Vector] = []
    for n in range(n_breaks + 1):
        starts = _starts(centred, ln_y, n)
        if vectors:
            null_break = np.array([0.0, float(np.median(centred)), np.log(WIDTHS[1])])
            starts.append(np.concatenate([vectors[-1], null_break]))
        rough = [_minimize(start, centred, ln_y, QUICK) for start in starts]
        best = min(rough, key=lambda fit: fit[1])[0]
        vectors.append(_minimize(best, centred, ln_y, THOROUGH)[0])
    for vector in vectors:
        vector[1] += vector[2] * centre
        vector[4::3] += centre
    return vectors


def _starts(ln_x: _Points, ln_y: _Points, n_breaks: int) -> list[_Vector]:
    """Return the best starts of a grid over floor, positions and widths of breaks.

    With these fixed, ln(y - a) is linear in ln b and every c: one small least-squares problem.
    """
    y = np.exp(ln_y)
    quantiles = np.linspace(0, 1, N_POSITIONS + 2)[1:-1]
    positions = np.interp(quantiles, np.linspace(0, 1, len(ln_x)), ln_x)
    candidates: list[tuple[float, int, _Vector]] = []
    for share, f in product(FLOOR_SHARES, WIDTHS if n_breaks else WIDTHS[:1]):
        floor = share * y.min()
        for ln_ds in combinations(positions, n_breaks):
            bends = [-f * np.logaddexp(0, (ln_x - d) / f) for d in ln_ds]
            basis = np.stack([np.ones_like(ln_x), -ln_x, *bends], axis=1)
            weights = np.linalg.lstsq(basis, np.log(y - floor), rcond=None)[0]
            breaks = [(c, d, np.log(f)) for c, d in zip(weights[2:], ln_ds, strict=True)]
            start = np.array([floor, *weights[:2], *np.ravel(breaks)])
            squares = float(((_ln_law(start, ln_x) - ln_y) ** 2).sum())
            candidates.append((squares, len(candidates), start))
    best = sorted(candidates, key=lambda candidate: candidate[:2])[:N_STARTS]
    return [start for _, _, start in best]
