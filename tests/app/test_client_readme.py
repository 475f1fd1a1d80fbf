"""The README's Python is run as it is printed, against a real server and its worker."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.client import Client
from backend.store.database import Store
from tests.processes import ROOT, Server, environment, running_server
from tests.stores import copy_store

BLOCK = re.compile(r"## From Python\n.*?```python\n(.*?)```", re.DOTALL)


@pytest.fixture
def alone(mini_store: Store, tmp_path: Path) -> Iterator[Server]:
    """A server that nobody else asks for anything: the example's job is still to be done."""
    with running_server(copy_store(mini_store, tmp_path / "data")) as server:
        yield server


@pytest.mark.slow
def test_the_example_of_the_readme_runs(alone: Server, tmp_path: Path) -> None:
    (code,) = BLOCK.findall((ROOT / "README.md").read_text())
    script = tmp_path / "example.py"
    script.write_text(code)
    with Client(alone.url) as client:
        corpus = client.corpora()[0].id
        before = {job.id for job in client.jobs()}
        ran = subprocess.run(
            [sys.executable, "-W", "error", str(script)],
            env=environment(alone.data_dir, QUANTA_URL=alone.url, PYTHONPATH=str(ROOT)),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        (new_job,) = (job for job in client.jobs() if job.id not in before)
        assert (new_job.kind, new_job.state) == ("measure", "finished")
        mean = client.heat(corpus, 0, measure="p_token", target="⏎").mean
    assert "L = " in ran.stdout
    assert str(new_job.result) in ran.stdout
    assert ran.stdout.splitlines()[-1] == f"s5 {mean}"
    assert "measure" in ran.stderr  # the bar
