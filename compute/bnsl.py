"""Broken neural scaling laws: smooth curves of several power-law segments.

y = a + b·x^-c0 · Π_i (1 + (x/d_i)^(1/f_i))^(-c_i·f_i), i = 1 … n. Source: arXiv:2210.14891.
Break i sits at x = d_i, f_i is how wide it is, and beyond it the exponent has grown by c_i; n = 0
is a power law above a floor. Everything is computed from ln x and ln y, so that no power can
overflow. The fit minimises the squared residuals of ln y: a grid of starts, then non-linear least
squares.
"""

from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import least_squares
from scipy.special import expit

MAX_BREAKS = 3
SHARE_HELD_OUT = 0.2  # of the points, those with the largest x: they choose the number of breaks
FLOOR_SHARES = (0.0, 0.5, 0.8, 0.95, 0.99)  # starts of a, as shares of the least y
WIDTHS = (0.1, 0.5)  # starts of f
N_PLACES = 6  # places along the axis where breaks start
N_STARTS = 6  # starts that are followed to their minimum
F_LIMITS = (1e-3, 10.0)
ROUNDING = 1e-9
QUICK, THOROUGH = (1e-7, 40), (1e-13, 400)  # tolerance and most evaluations of one search
C_LIMIT = 50.0  # |c| beyond it stands for a jump that no data resolve

Values = Float[np.ndarray, " points"] | Int[np.ndarray, " points"]
Asked = Float[np.ndarray, " asked"] | Int[np.ndarray, " asked"]
_Vector = Float[np.ndarray, " parameters"]
_Points = Float[np.ndarray, " points"]


@dataclass(frozen=True)
class Break:
    """One break: its place `d` in the unit of x, the change `c` of the exponent, its width `f`."""

    c: float
    d: float
    f: float


@dataclass(frozen=True)
class BrokenLaw:
    """A broken neural scaling law; `ln_b` is ln b, which alone can pass what a float holds."""

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
        law: fitted to all points given.
        train_rmsle: root mean squared error of ln y on those points.
        r_squared: share of the variance of ln y explained; NaN if y is constant.
        choice: for each number of breaks tried, the error of ln y on held-out points with larger x,
            by a fit to the others; empty where the number was given.
        n_held_out: points held out for that choice.
    """

    law: BrokenLaw
    train_rmsle: float
    r_squared: float
    choice: tuple[float, ...]
    n_held_out: int


@dataclass(frozen=True)
class BrokenBand:
    """Percentile interval of refits to resampled residuals of ln y.

    Attributes:
        low: of y at each asked x.
        high: likewise.
        parameters: interval of each parameter by name, such as "c0" or "d1".
        n_bootstrap: refits.
        level: coverage that the interval aims at.
    """

    low: Float[np.ndarray, " asked"]
    high: Float[np.ndarray, " asked"]
    parameters: dict[str, tuple[float, float]]
    n_bootstrap: int
    level: float


def named_parameters(law: BrokenLaw) -> dict[str, float]:
    """Return the parameters by the names of the formula, and ln b; b may be infinite."""
    with np.errstate(over="ignore"):
        b = float(np.exp(law.ln_b))
    named = {"a": law.a, "b": b, "ln_b": law.ln_b, "c0": law.c0}
    for i, one in enumerate(law.breaks, start=1):
        named |= {f"c{i}": one.c, f"d{i}": one.d, f"f{i}": one.f}
    return named


def n_parameters(n_breaks: int) -> int:
    """Return how many parameters a law has."""
    return 3 + 3 * n_breaks


def rmsle(ln_predicted: _Points, ln_y: _Points) -> float:
    """Return the root mean squared error of ln y."""
    return float(np.sqrt(np.mean((ln_predicted - ln_y) ** 2)))


def fit_broken_law(x: Values, y: Values, n_breaks: int | None = None) -> BrokenFit:
    """Fit a broken law; the number of breaks is chosen on held-out larger x.

    Args:
        x: positive, in any order, repeats allowed.
        y: positive.
        n_breaks: 0 … 3, None to choose: the least error on the last fifth of the points by a fit
            to the others (or that fit's residual standard deviation, if it is larger), fewer
            breaks on a tie.

    Raises:
        ValueError: too few points for the parameters, or values that have no logarithm.
    """
    ln_x, ln_y = _checked(x, y)
    choice: tuple[float, ...] = ()
    n_held_out = 0
    if n_breaks is None:
        n_held_out = max(1, round(SHARE_HELD_OUT * len(ln_x)))
        n_breaks, choice = _chosen(ln_x, ln_y, n_held_out)
    elif not 0 <= n_breaks <= MAX_BREAKS:
        raise ValueError(f"n_breaks is {n_breaks}, want 0 to {MAX_BREAKS}")
    elif len(np.unique(ln_x)) < n_parameters(n_breaks):
        raise ValueError(
            f"{len(np.unique(ln_x))} distinct x for the {n_parameters(n_breaks)} parameters of "
            f"{n_breaks} breaks; give more points or fewer breaks"
        )
    vector = _bests(ln_x, ln_y, n_breaks)[-1]
    predicted = _ln_law(vector, ln_x)
    spread = float(((ln_y - ln_y.mean()) ** 2).sum())
    varies = float(ln_y.max()) > float(ln_y.min())
    return BrokenFit(
        law=_law(vector),
        train_rmsle=rmsle(predicted, ln_y),
        r_squared=1 - float(((predicted - ln_y) ** 2).sum()) / spread if varies else np.nan,
        choice=choice,
        n_held_out=n_held_out,
    )


def bootstrap_broken_law(
    x: Values,
    y: Values,
    law: BrokenLaw,
    at: Asked,
    *,
    n_bootstrap: int = 100,
    level: float = 0.95,
    seed: int = 0,
) -> BrokenBand:
    """Refit a law to y with resampled residuals of ln y, starting at the law itself.

    Args:
        x: the points that the law was fitted to.
        y: likewise.
        law: the fit to them.
        at: where the interval of y is wanted, > 0.
        n_bootstrap: refits, at least 1.
        level: coverage of the percentile interval.
        seed: of the resamples.

    Raises:
        ValueError: values that have no logarithm, or arguments out of range.
    """
    ln_x, ln_y = _checked(x, y)
    if not 0 < level < 1 or n_bootstrap < 1:
        raise ValueError(f"level {level}, n_bootstrap {n_bootstrap}; want 0 < level < 1 and >= 1")
    start = _vector(law)
    predicted = _ln_law(start, ln_x)
    # Residuals of a fit are too small by the parameters it spent.
    spent = min(len(start), len(ln_x) - 1)
    residuals = (ln_y - predicted) * np.sqrt(len(ln_x) / (len(ln_x) - spent))
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(n_bootstrap):
        noisy = predicted + generator.choice(residuals, len(residuals))
        found.append(_refined(start, ln_x, noisy, QUICK)[0])
    ln_at = np.log(np.asarray(at, dtype=np.float64))
    ends = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile([np.exp(_ln_law(vector, ln_at)) for vector in found], ends, axis=0)
    named = [named_parameters(_law(vector)) for vector in found]
    intervals = {key: np.quantile([one[key] for one in named], ends) for key in named[0]}
    pairs = {key: (float(pair[0]), float(pair[1])) for key, pair in intervals.items()}
    return BrokenBand(low, high, pairs, n_bootstrap, level)


def _checked(x: Values, y: Values) -> tuple[_Points, _Points]:
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if xs.ndim != 1 or xs.shape != ys.shape:
        raise ValueError(f"x {xs.shape} and y {ys.shape} differ; give one y for each x")
    for name, values in (("x", xs), ("y", ys)):
        unusable = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
        if unusable.size:
            index = int(unusable[0])
            raise ValueError(
                f"{name}[{index}] is {values[index]:g}, want finite and > 0 for a logarithm; "
                "drop that point"
            )
    order = np.argsort(xs, kind="stable")
    if len(np.unique(xs)) < n_parameters(0):
        raise ValueError(f"{len(np.unique(xs))} distinct x, want at least {n_parameters(0)}")
    return np.log(xs[order]), np.log(ys[order])


def _chosen(ln_x: _Points, ln_y: _Points, n_held_out: int) -> tuple[int, tuple[float, ...]]:
    """Return the number of breaks, and the errors on the last points with 0, 1, … breaks.

    An error below the standard deviation of the fit's own residuals is luck, so the larger of the
    two counts. With h points held out an error is known to about one part in √h; whatever is no
    worse than the best within that is a tie, and the fewest breaks win it.
    """
    early_x, early_y = ln_x[:-n_held_out], ln_y[:-n_held_out]
    distinct = len(np.unique(early_x))
    # One point more than parameters: a curve through every point says nothing of the next one.
    most = min(MAX_BREAKS, (distinct - 1) // 3 - 1)
    if most < 0:
        raise ValueError(
            f"{len(ln_x)} points, {n_held_out} of them held out, leave {distinct} distinct x; "
            f"choosing the number of breaks needs {n_parameters(0) + 1}: give more points"
        )
    errors, scores = [], []
    for n, vector in enumerate(_bests(early_x, early_y, most)):
        errors.append(rmsle(_ln_law(vector, ln_x[-n_held_out:]), ln_y[-n_held_out:]))
        left = len(early_x) - n_parameters(n)
        deviation = rmsle(_ln_law(vector, early_x), early_y) * np.sqrt(len(early_x) / left)
        scores.append(max(errors[-1], float(deviation)))
    enough = (1 + n_held_out**-0.5) * min(scores) + ROUNDING
    return next(n for n, score in enumerate(scores) if score <= enough), tuple(errors)


def _vector(law: BrokenLaw) -> _Vector:
    """Return (a, ln b, c0, then c, ln d, ln f of every break)."""
    parts = [law.a, law.ln_b, law.c0]
    for one in law.breaks:
        parts += [one.c, float(np.log(one.d)), float(np.log(one.f))]
    return np.array(parts)


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
    with np.errstate(divide="ignore"):  # ln 0 = -inf is what a floor of 0 means
        value: _Points = np.logaddexp(np.log(vector[0]), _ln_power(vector, ln_x))
    return value


def _jacobian(vector: _Vector, ln_x: _Points) -> Float[np.ndarray, "points parameters"]:
    """Derivatives of ln y by the entries of the vector."""
    ln_y = _ln_law(vector, ln_x)
    share = np.exp(_ln_power(vector, ln_x) - ln_y)  # of y that is not the floor
    columns = [np.exp(-ln_y), share, -share * ln_x]
    for c, ln_d, ln_f in vector[3:].reshape(-1, 3):
        f = np.exp(ln_f)
        z = (ln_x - ln_d) / f
        bend = np.logaddexp(0, z)
        columns += [-share * f * bend, share * c * expit(z), -share * c * f * (bend - z * expit(z))]
    return np.stack(columns, axis=1)


def _bounds(ln_x: _Points, ln_y: _Points, n_breaks: int) -> tuple[_Vector, _Vector]:
    # A break outside of the points is a change of b and c0; half a span keeps partial ones.
    room = (ln_x[-1] - ln_x[0]) / 2
    ends = (ln_x[0] - room, ln_x[-1] + room)
    ln_f = np.log(F_LIMITS)
    low = [0.0, -np.inf, -C_LIMIT, *[-C_LIMIT, ends[0], ln_f[0]] * n_breaks]
    high = [float(np.exp(ln_y.max())), np.inf, C_LIMIT, *[C_LIMIT, ends[1], ln_f[1]] * n_breaks]
    return np.array(low), np.array(high)


def _refined(
    start: _Vector, ln_x: _Points, ln_y: _Points, effort: tuple[float, int]
) -> tuple[_Vector, float]:
    """Return the least-squares vector near a start, and its sum of squares."""
    tolerance, most = effort

    def residuals(vector: _Vector) -> _Points:
        missed: _Points = _ln_law(vector, ln_x) - ln_y
        return missed

    def jacobian(vector: _Vector) -> Float[np.ndarray, "points parameters"]:
        return _jacobian(vector, ln_x)

    low, high = _bounds(ln_x, ln_y, (len(start) - 3) // 3)
    found = least_squares(
        residuals,
        np.clip(start, low, high),
        jacobian,
        (low, high),
        x_scale="jac",
        ftol=tolerance,
        xtol=tolerance,
        gtol=tolerance,
        max_nfev=most,
    )
    return found.x, float(2 * found.cost)


def _bests(ln_x: _Points, ln_y: _Points, n_breaks: int) -> list[_Vector]:
    """Return the best fits with 0, 1, … n_breaks breaks, each the best of several starts.

    Fewer breaks are a special case: the one before, with an idle break, is a start as well, so that
    the sum of squares never grows with their number.
    """
    centre = float(ln_x.mean())
    places = ln_x - centre
    found: list[_Vector] = []
    for n in range(n_breaks + 1):
        starts = _starts(places, ln_y, n)
        if found:
            idle = np.array([0.0, float(np.median(places)), np.log(WIDTHS[1])])
            starts.append(np.concatenate([found[-1], idle]))
        rough = [_refined(start, places, ln_y, QUICK) for start in starts]
        best = min(rough, key=lambda one: one[1])[0]
        found.append(_refined(best, places, ln_y, THOROUGH)[0])
    for vector in found:
        vector[1] += vector[2] * centre
        vector[4::3] += centre
    return found


def _starts(ln_x: _Points, ln_y: _Points, n_breaks: int) -> list[_Vector]:
    """Return the best starts of a grid over floor, places and widths of breaks.

    With those given, ln(y - a) is linear in ln b and every c: one small least-squares problem each.
    """
    y = np.exp(ln_y)
    places = np.interp(np.linspace(0, 1, N_PLACES + 2)[1:-1], np.linspace(0, 1, len(ln_x)), ln_x)
    found: list[tuple[float, int, _Vector]] = []
    for share, f in product(FLOOR_SHARES, WIDTHS if n_breaks else WIDTHS[:1]):
        floor = share * y.min()
        for chosen in combinations(places, n_breaks):
            bends = [-f * np.logaddexp(0, (ln_x - d) / f) for d in chosen]
            basis = np.stack([np.ones_like(ln_x), -ln_x, *bends], axis=1)
            weights = np.linalg.lstsq(basis, np.log(y - floor), rcond=None)[0]
            breaks = [(c, d, np.log(f)) for c, d in zip(weights[2:], chosen, strict=True)]
            start = np.array([floor, *weights[:2], *np.ravel(breaks)])
            squares = float(((_ln_law(start, ln_x) - ln_y) ** 2).sum())
            found.append((squares, len(found), start))
    return [start for _, _, start in sorted(found, key=lambda one: one[:2])[:N_STARTS]]
