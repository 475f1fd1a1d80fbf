"""A run that is killed at any moment is finished by the same command, computing nothing twice."""

import json
import random
import re
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from backend.settings import Settings
from backend.store.content_hash import content_hash
from backend.store.database import open_store
from tests.processes import ROOT, command, environment, quanta
from tests.stores import DATABASE
from tests.workers import COMMITTED

DEMO = (
    *("demo", "--documents", "12", "--n-clusters", "3,5", "--workers", "2"),
    *("--chunk-predictions", "1200", "--json"),
)
ORPHAN_SECONDS = 60.0


@dataclass(frozen=True)
class Undisturbed:
    """A run that nobody killed."""

    content_hash: str
    work: frozenset[str]


@dataclass(frozen=True)
class Moment:
    """When to kill: so many units of work after the start, and a little later."""

    units: int
    seconds_more: float


def work_lines(data_dir: Path) -> list[str]:
    """Units of work in the order in which they were computed, without their times."""
    log = data_dir / "quanta.log"
    if not log.exists():
        return []
    return [re.sub(r"^\S+ \S+ ", "", line) for line in log.read_text().splitlines()]


def committed(data_dir: Path) -> set[str]:
    """Units of work whose results are in the database."""
    path = data_dir / DATABASE
    if not path.exists():
        return set()
    # Opened for writing: a reader alone could not recover what a killed writer left behind.
    with closing(sqlite3.connect(path)) as connection:
        tables = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
        lines = {row[0] for row in connection.execute(COMMITTED)} if tables else set()
    # Measures that are computed with the losses have no line of their own.
    return {line for line in lines if not line.startswith("measure ")}


def hash_of(data_dir: Path) -> str:
    checked = quanta(data_dir, "check", "--json")
    assert checked.returncode == 0, checked.stderr
    result: str = json.loads(checked.stdout)["content_hash"]
    return result


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    data_dir = tmp_path_factory.mktemp("undisturbed")
    ran = quanta(data_dir, *DEMO)
    assert ran.returncode == 0, ran.stderr
    lines = work_lines(data_dir)
    assert len(lines) == len(set(lines)), "an undisturbed run computes each unit once"
    assert committed(data_dir) == set(lines), "every computed unit is committed"
    return Undisturbed(hash_of(data_dir), frozenset(lines))


def group_members(group: int) -> list[int]:
    """Living processes of a process group; a zombie is not living."""
    members = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it ended while we looked
            continue
        if int(stat[2]) == group and stat[0] not in "ZX":
            members.append(int(entry.name))
    return members


def run_and_kill(data_dir: Path, moment: Moment) -> None:
    """Run the demo and kill its first process when so many units have been computed."""
    process = subprocess.Popen(
        command(*DEMO),
        env=environment(data_dir),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # a group of its own: its children can be found after its death
    )
    existing = len(work_lines(data_dir))
    while len(work_lines(data_dir)) < existing + moment.units and process.poll() is None:
        time.sleep(0.01)
    time.sleep(moment.seconds_more)
    process.kill()  # the process alone, not its children
    assert process.wait() == -signal.SIGKILL, "it ended before it was killed"
    deadline = time.monotonic() + ORPHAN_SECONDS
    while group_members(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert group_members(process.pid) == [], f"orphans {ORPHAN_SECONDS} s after the kill"


def kill_moments(cycles: int, units: int, seed: int) -> Iterator[Moment]:
    """One random moment in each equal part of an undisturbed run's work, the last part first."""
    rng = random.Random(seed)
    for part in reversed(range(cycles)):
        least, most = part * (units - 1) // cycles, (part + 1) * (units - 1) // cycles - 1
        yield Moment(rng.randint(least, max(least, most)), 0.05 * rng.random())


def assert_survives(data_dir: Path, undisturbed: Undisturbed, *moments: Moment) -> None:
    """Kill one run after another, each at its moment, then run to the end."""
    retained: set[str] = set()
    for moment in moments:
        existing = len(work_lines(data_dir))
        run_and_kill(data_dir, moment)
        repeated = set(work_lines(data_dir)[existing:]) & retained
        assert not repeated, f"committed before the kill and computed again: {sorted(repeated)}"
        now = committed(data_dir)
        assert retained <= now, "what was committed stays"
        retained = now
    existing = len(work_lines(data_dir))
    ended = quanta(data_dir, *DEMO)
    assert ended.returncode == 0, ended.stderr
    repeated = set(work_lines(data_dir)[existing:]) & retained
    assert not repeated, f"committed before the kill and computed again: {sorted(repeated)}"
    assert committed(data_dir) == undisturbed.work
    store = open_store(Settings(data_dir=data_dir))
    assert content_hash(store)[0] == undisturbed.content_hash
    store.engine.dispose()


@pytest.mark.slow
def test_a_killed_demo_is_finished_as_if_undisturbed(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    for cycle, moment in enumerate(kill_moments(1, len(undisturbed.work), seed=0)):
        assert_survives(tmp_path / str(cycle), undisturbed, moment)


@pytest.mark.soak
def test_a_demo_killed_at_many_moments_is_finished_as_if_undisturbed(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    for cycle, moment in enumerate(kill_moments(25, len(undisturbed.work), seed=1)):
        early = Moment(moment.units // 3, moment.seconds_more)
        assert_survives(tmp_path / str(cycle), undisturbed, early, early, early)
