"""compute/ runs on a machine that has torch, transformers, scikit-learn and jaxtyping only.

Only the compiled curve search needs numba; it serves requests, so a remote worker never imports it.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

ABSENT = (
    "alembic app backend beartype fastapi jinja2 orjson plotly psycopg pyarrow pydantic "
    "llvmlite numba pydantic_settings rich sqlalchemy starlette typer uvicorn"
)
SERVING = {"compute.curve_block_search", "compute.curve_kernels"}
# A module that is None is not found, and importing it fails.
IMPORT_ALL = f"""
import importlib, pkgutil, sys
sys.modules.update(dict.fromkeys({ABSENT.split()!r}))
import compute
names = [m.name for m in pkgutil.walk_packages(compute.__path__, "compute.")]
for name in sorted(set(names) - {SERVING!r}):
    importlib.import_module(name)
print(len(names))
"""


def test_every_module_of_compute_imports_alone() -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "error::ImportWarning", "-c", IMPORT_ALL],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    files = [path for path in (ROOT / "compute").rglob("*.py") if path.name != "__init__.py"]
    assert int(ran.stdout) >= len(files)
