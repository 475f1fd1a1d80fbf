"""`quanta import steps`: grids of numbers in, counts of phases out."""

import json
from pathlib import Path

import numpy as np
import pytest

from backend.errors import InvalidInputError
from backend.exchange.step_grids import read_step_grids, read_steps
from tests.processes import quanta

TRAIN = np.array([[100, 200, 300], [9_999, 9_999, 400]])
TEST = np.array([[500, 1_200, 9_999], [9_999, 700, 1_399]])
FORMS = {
    "csv": "100,200,300\n9999,9999,400\n",
    "spaces": "  100 200\t300\n\n9999   9999 400",
    "floats of numpy": "1.000000e+02 2.000000e+02 3.000000e+02\n9.999e+03 9.999e+03 4e2\n",
    "comments, semicolons, mark": "\ufeff# steps\r\n100;200;300 # first\r\n9999; 9999; 400\r\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_grid_is_the_same_grid(tmp_path: Path, form: str) -> None:
    (tmp_path / "steps.txt").write_text(FORMS[form], encoding="utf-8")
    assert (read_steps(tmp_path / "steps.txt") == TRAIN).all()


def written(folder: Path, train: np.ndarray = TRAIN, test: np.ndarray = TEST) -> tuple[Path, Path]:
    np.savetxt(folder / "train.csv", train, delimiter=",")
    np.savetxt(folder / "test.txt", test)
    return folder / "train.csv", folder / "test.txt"


def test_the_command_prints_the_counts_of_phases(tmp_path: Path) -> None:
    train, test = written(tmp_path)
    words = ("import", "steps", str(train), str(test), "--budget", "10000")
    result = json.loads(quanta(tmp_path / "data", *words, "--gap", "1000", "--json").stdout)
    assert result["counts"] == {"C": 2, "G": 1, "M": 1, "X": 2, "test_only": 1}
    assert result["phases"] == [["C", "G", "M"], ["X", "X", "C"]]
    told = quanta(tmp_path / "data", *words, "--gap", "999").stdout
    assert "2 grokking (G)" in told
    assert "C G M" in told
    refused = quanta(tmp_path / "data", *words[:-1], "5000")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "step 9999 exceeds the budget of 5000" in refused.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "has no numbers"),
        (b"1,2\n3\n", "line 2: 1 numbers, the first row has 2"),
        (b"1,2\n3,x\n", "line 2, column 2: 'x' is not a step"),
        (b"1,-2\n", "line 1, column 2: '-2' is not a step"),
        (b"1,nan\n", "'nan' is not a step"),
        (b"1,inf\n", "'inf' is not a step"),
        (b"1.5\n", "'1.5' is not a step"),
        (b"\x93NUMPY\x01", "is not text"),
    ],
)
def test_what_is_no_grid_is_refused_with_its_place(
    tmp_path: Path, content: bytes, said: str
) -> None:
    (tmp_path / "steps.csv").write_bytes(content)
    with pytest.raises(InvalidInputError) as error:
        read_steps(tmp_path / "steps.csv")
    assert said in error.value.problem


def test_grids_must_be_of_the_same_cells(tmp_path: Path) -> None:
    train, test = written(tmp_path, test=TEST.T)
    with pytest.raises(InvalidInputError, match="2 x 3 cells"):
        read_step_grids(train, test, 10_000, 1_000)
    with pytest.raises(InvalidInputError, match="does not exist"):
        read_step_grids(train, tmp_path / "no.csv", 10_000, 1_000)
