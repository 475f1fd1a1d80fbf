"""`quanta fit`: scaling laws of the points in a CSV file."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from backend.commands.common import Json, print_result
from backend.commands.points import Points, read_points
from backend.errors import InvalidInputError

fit_cli = typer.Typer(no_args_is_help=True, help="Scaling laws of points in a CSV file.")

LEVEL = 0.95
N_BOOTSTRAP = {"zero": 1000, "free": 200, "bnsl": 100}

File = Annotated[Path, typer.Argument(help="CSV with the columns x and y.")]
FitFirst = Annotated[
    int | None, typer.Option(min=1, help="Fit the first K points; the others are held out.")
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")]


@dataclass(frozen=True)
class _Split:
    """Points to fit, and those held out."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    later_x: NDArray[np.float64]
    later_y: NDArray[np.float64]


def _split(points: Points, first: int | None) -> _Split:
    total = len(points.x)
    if first is not None and first > total:
        raise InvalidInputError(
            f"--fit-first is {first}, the file has {total} points", f"Choose 3 to {total}"
        )
    k = total if first is None else first
    return _Split(points.x[:k], points.y[:k], points.x[k:], points.y[k:])


def _refuse_repeats(points: Points, used: int) -> None:
    lines: dict[float, int] = {}
    for value, line in zip(points.x[:used].tolist(), points.lines, strict=False):
        if value in lines:
            raise InvalidInputError(
                f"line {line}: x is {value:g}, as in line {lines[value]}",
                "Average the points that share an x",
            )
        lines[value] = line


def _json(value: Any) -> Any:
    """Return a value with null for every number that is not finite."""
    if isinstance(value, dict):
        return {key: _json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _print(as_json: bool, fields: dict[str, Any]) -> None:
    lines = [f"{fields['law']}: {fields['formula']}"]
    for name, value in fields["parameters"].items():
        low, high = fields["interval"].get(name, (math.nan, math.nan))
        lines.append(f"  {name} = {value:.6g}  [{low:.6g}, {high:.6g}]")
    lines.append(f"  intervals: {LEVEL:.0%}, {fields['n_bootstrap']} {fields['interval_of']}")
    lines.append(f"  RMSLE of the {fields['n_train']} points fitted: {fields['train_rmsle']:.6g}")
    if fields["held_out_rmsle"] is not None:
        held_out = f"{fields['n_held_out']} points held out: {fields['held_out_rmsle']:.6g}"
        lines.append(f"  RMSLE of the {held_out}")
    print_result(as_json, "\n".join(lines), **_json(fields))


def _errors(split: _Split, ln_y: NDArray[Any], ln_later: NDArray[Any]) -> dict[str, Any]:
    from compute.bnsl import rmsle

    later = rmsle(ln_later, np.log(split.later_y)) if len(split.later_x) else None
    return {
        "train_rmsle": rmsle(ln_y, np.log(split.y)),
        "held_out_rmsle": later,
        "n_train": len(split.x),
        "n_held_out": len(split.later_x),
        "interval_level": LEVEL,
    }


@fit_cli.command("power")
def fit_power(
    file: File,
    fit_first: FitFirst = None,
    floor: Annotated[
        str, typer.Option(help="L_inf: zero, free, or auto: free if AICc prefers it.")
    ] = "auto",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Fit L = L_inf + A·x^-alpha by least squares in log space."""
    from compute.power_law import choose_floor, fit_power_law, ln_power_law

    if floor not in {"zero", "free", "auto"}:
        raise InvalidInputError(f"--floor is {floor!r}", "Choose zero, free or auto")
    points = read_points(file)
    split = _split(points, fit_first)
    _refuse_repeats(points, len(split.x))
    if floor == "free" and len(split.x) < 4:
        raise InvalidInputError(
            f"{len(split.x)} points for 3 parameters", "Give at least 4, or --floor zero"
        )
    try:
        rule: Any = choose_floor(split.x, split.y) if floor == "auto" else floor
        law = fit_power_law(
            split.x, split.y, floor=rule, n_bootstrap=N_BOOTSTRAP[rule], level=LEVEL, seed=seed
        )
    except ValueError as error:
        raise InvalidInputError(f"{file}: {error}", "Nothing was fitted") from error
    ln_y, ln_later = (
        ln_power_law(x, law.exponent, law.amplitude, law.floor) for x in (split.x, split.later_x)
    )
    fields = {
        "law": "power",
        "formula": "L = L_inf + A·x^-alpha",
        "parameters": {"L_inf": law.floor, "A": law.amplitude, "alpha": law.exponent},
        "interval": {
            "L_inf": law.floor_interval,
            "A": law.amplitude_interval,
            "alpha": law.interval,
        },
        **_errors(split, ln_y, ln_later),
        "interval_of": "resamples of points",
        "n_bootstrap": law.n_bootstrap,
        "r_squared": law.r_squared,
        "seed": seed,
        "floor": rule,
    }
    _print(as_json, fields)


@fit_cli.command("bnsl")
def fit_bnsl(
    file: File,
    fit_first: FitFirst = None,
    breaks: Annotated[
        int | None,
        typer.Option(min=0, max=3, help="Number of breaks (default: chosen on held-out points)."),
    ] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Fit a broken neural scaling law (arXiv:2210.14891) in log space."""
    from compute import bnsl

    split = _split(read_points(file), fit_first)
    try:
        fit = bnsl.fit_broken_law(split.x, split.y, breaks)
        band = bnsl.bootstrap_broken_law(
            split.x,
            split.y,
            fit.law,
            split.x,
            n_bootstrap=N_BOOTSTRAP["bnsl"],
            level=LEVEL,
            seed=seed,
        )
    except ValueError as error:
        raise InvalidInputError(f"{file}: {error}", "Nothing was fitted") from error
    fields = {
        "law": "bnsl",
        "formula": "y = a + b·x^-c0 · Π (1 + (x/d_i)^(1/f_i))^(-c_i·f_i)",
        "parameters": bnsl.named_parameters(fit.law),
        "interval": band.parameters,
        **_errors(split, fit.law.ln_y(split.x), fit.law.ln_y(split.later_x)),
        "interval_of": "resamples of residuals of ln y",
        "n_bootstrap": band.n_bootstrap,
        "r_squared": fit.r_squared,
        "seed": seed,
        "n_breaks": len(fit.law.breaks),
        "choice": {"n_held_out": fit.n_held_out, "rmsle_by_n_breaks": fit.choice},
    }
    _print(as_json, fields)
