"""`quanta fit`: points from a file, laws as JSON, and what is wrong with a bad file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from backend.cli import cli
from backend.commands.points import read_points
from backend.errors import InvalidInputError

SIZES = [18915328, 85056000, 302311424, 805736448, 1208602624, 2517652480, 6444163072]
BITS = [4.22, 3.67, 3.30, 3.07, 2.99, 2.81, 2.70]


def written(folder: Path, x: Any, y: Any) -> Path:
    rows = "\n".join(f"{a!r},{b!r}" for a, b in zip(x, y, strict=True))
    file = folder / "points.csv"
    file.write_text(f"x,y\n{rows}\n")
    return file


def fitted(*arguments: Any) -> dict[str, Any]:
    answer = CliRunner().invoke(cli, ["fit", *map(str, arguments), "--json"])
    assert answer.exception is None, answer.exception
    fit: dict[str, Any] = json.loads(answer.stdout)
    return fit


def test_published_means_give_the_published_exponent(tmp_path: Path) -> None:
    fit = fitted("power", written(tmp_path, SIZES, BITS), "--fit-first", 6)
    assert fit["parameters"]["alpha"] == pytest.approx(0.083, abs=0.001)
    low, high = fit["interval"]["alpha"]
    assert low < 0.083 < high
    assert fit["n_held_out"] == 1
    assert fit["held_out_rmsle"] == pytest.approx(
        abs(np.log(fit["parameters"]["A"] * SIZES[-1] ** -fit["parameters"]["alpha"] / 2.70))
    )


@pytest.mark.parametrize("law", ["power", "bnsl"])
def test_a_power_law_above_a_floor_is_continued(law: str, tmp_path: Path) -> None:
    x = 1e7 * 2.5 ** np.arange(14)
    file = written(tmp_path, x.tolist(), (1.7 + 30 * x**-0.3).tolist())
    fit = fitted(law, file, "--fit-first", 10)
    names = {"power": ("L_inf", "A", "alpha"), "bnsl": ("a", "b", "c0")}[law]
    values = [fit["parameters"][name] for name in names]
    assert values == pytest.approx([1.7, 30, 0.3], rel=1e-4)
    assert fit["train_rmsle"] < 1e-6
    assert fit["held_out_rmsle"] < 1e-6
    assert set(fit["interval"]) == set(fit["parameters"])
    assert fitted(law, file, "--fit-first", 10) == fit  # by the seed
    assert fitted(law, file)["held_out_rmsle"] is None


def test_the_floor_can_be_asked_for_and_refused(tmp_path: Path) -> None:
    file = written(tmp_path, SIZES, BITS)
    assert fitted("power", file, "--floor", "zero")["parameters"]["L_inf"] == 0
    assert fitted("power", file, "--floor", "free")["parameters"]["L_inf"] > 1
    free, zero = (fitted("power", file, "--floor", rule) for rule in ("free", "zero"))
    assert free["train_rmsle"] < zero["train_rmsle"]


@pytest.mark.parametrize("law", ["power", "bnsl"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1.*nothing"),
        ("a,y\n1,2\n", "line 1: expected one column x, the header has a, y"),
        ("x,x,y\n1,2,3\n", "one column x"),
        ("x,y\n1,2\n2,one\n", "line 3: y is 'one'"),
        ("x,y\n1,2\n0,1\n", "line 3: x is '0'"),
        ("x,y\n1,2\n3,-1\n", "line 3: y is '-1'"),
        ("x,y\n1,nan\n", "line 2: y is 'nan'"),
        ("x,y\n1e999,2\n", "line 2: x is '1e999'"),
        ("x,y\n1,2\n2\n", "line 3: y is None"),
        ("x,y\n1,2\n2,1\n", "2 (points|distinct x)"),
        ("x,y\n", "0 (points|distinct x)"),
    ],
)
def test_a_bad_file_is_refused_by_line_and_value(
    law: str, text: str, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(text)
    answer = CliRunner().invoke(cli, ["fit", law, str(file)])
    assert isinstance(answer.exception, InvalidInputError)
    with pytest.raises(InvalidInputError, match=message):
        raise answer.exception


def test_a_repeated_x_a_missing_file_and_too_large_a_k_are_named(tmp_path: Path) -> None:
    file = written(tmp_path, [1, 2, 2, 3], [4, 3, 2, 1])
    for arguments, message in (
        (["power", file], "line 4: x is 2, as in line 3"),
        (["power", file, "--fit-first", "9"], "--fit-first is 9, the file has 4 points"),
        (["power", file, "--floor", "high"], "--floor is 'high'"),
        (["bnsl", tmp_path / "none.csv"], "none.csv cannot be read"),
        (["bnsl", tmp_path], "cannot be read"),
    ):
        answer = CliRunner().invoke(cli, ["fit", *map(str, arguments)])
        assert isinstance(answer.exception, InvalidInputError)
        assert message in str(answer.exception)


def test_text_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "latin.csv"
    file.write_bytes(b"x,y\n1,\xff\n")
    with pytest.raises(InvalidInputError, match="not CSV in UTF-8"):
        read_points(file)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(1e-300, 1e300), st.floats(1e-300, 1e300)), max_size=20))
def test_points_are_read_as_they_were_written(rows: list[tuple[float, float]]) -> None:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        points = read_points(written(Path(folder), [r[0] for r in rows], [r[1] for r in rows]))
    assert list(zip(points.x.tolist(), points.y.tolist(), strict=True)) == rows
    assert points.lines == tuple(range(2, 2 + len(rows)))


def test_a_byte_order_mark_blanks_and_other_columns_do_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "points.csv"
    file.write_bytes("﻿name, y ,x\na,2,1\n".encode())
    points = read_points(file)
    assert (points.x.tolist(), points.y.tolist()) == ([1.0], [2.0])


def test_people_read_parameters_with_intervals(tmp_path: Path) -> None:
    file = written(tmp_path, SIZES, BITS)
    text = CliRunner().invoke(cli, ["fit", "power", str(file), "--fit-first", "6"]).stdout
    assert "alpha = 0.0821" in text
    assert "1 points held out" in text
