"""The wheel holds everything that the program needs, and runs without the checkout."""

import json
import os
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path

import pytest

from tests.processes import ROOT, running_server

PARTS = [
    "app/templates/base.html",
    "app/static/app.css",
    "app/client/client.py",
    "app/py.typed",
    "backend/alembic/env.py",
    "backend/alembic/versions/",
    "backend/data/mini-suite/documents.jsonl",
    "backend/data/mini-suite/tokenizer.json",
    "backend/data/mini-suite/models/s5/step2000/model.safetensors",
    "backend/data/mini-suite/licenses/",
    "compute/losses.py",
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    arguments = ["-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    built = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    arguments = ["install", "--no-deps", "--no-index", "--target", str(target), str(wheel)]
    subprocess.run(
        [sys.executable, "-m", "pip", *arguments], check=True, capture_output=True, text=True
    )
    return target


@pytest.mark.slow
def test_the_wheel_holds_pages_migrations_and_bundled_data(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for part in PARTS:
        assert any(name.startswith(part) for name in names), part
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"app", "backend", "compute"}
    for folder in ("templates", "static"):
        tracked = {
            f"app/{path.relative_to(ROOT)}" for path in (ROOT / folder).rglob("*") if path.is_file()
        }
        assert tracked <= set(names)


@pytest.mark.slow
def test_the_wheel_computes_and_serves_without_the_checkout(
    installed: Path, tmp_path: Path
) -> None:
    # -S leaves out the editable install's own paths; libraries come from PYTHONPATH.
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    extra = {"PYTHONPATH": os.pathsep.join([str(installed), *libraries])}
    run = [sys.executable, "-S", "-m", "backend.cli"]
    environment = {**os.environ, **extra, "QUANTA_DATA_DIR": str(tmp_path / "data")}
    where = subprocess.run(
        [sys.executable, "-S", "-c", "import app, backend, compute; print(backend.__file__)"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(where.stdout.strip()).is_relative_to(installed)
    demo = subprocess.run(
        [*run, "demo", "--documents", "12", "--n-clusters", "3,5", "--workers", "1", "--json"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert demo.returncode == 0, demo.stderr
    assert set(json.loads(demo.stdout)["clusterings"]) == {"3", "5"}
    with running_server(tmp_path / "data", run=run, cwd=tmp_path, **extra) as server:
        with urllib.request.urlopen(f"{server.url}/") as page:
            assert b"Quanta Explorer" in page.read()
        with urllib.request.urlopen(f"{server.url}/static/app.css") as style:
            assert style.status == 200
        with urllib.request.urlopen(f"{server.url}/api/v1/clusterings") as answer:
            assert len(json.load(answer)["clusterings"]) == 2
