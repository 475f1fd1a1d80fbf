"""Folders of templates and static files, in an installed wheel or in a checkout."""

from pathlib import Path

_HERE = Path(__file__).resolve().parent.parent


def _folder(name: str) -> Path:
    packaged = _HERE / name
    return packaged if packaged.is_dir() else _HERE.parent / name


def static_dir() -> Path:
    """Return the folder that `/static` serves."""
    return _folder("static")


def templates_dir() -> Path:
    """Return the folder of the Jinja2 templates."""
    return _folder("templates")
