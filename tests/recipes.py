"""Recipes, their text and a stand-in for a package index."""

import io
import json
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from backend.training.recipe import Source
from tests.stores import BUNDLED

TEXTS = BUNDLED / "documents.jsonl"


def source(**changes: object) -> Source:
    fields: dict[str, object] = {
        "name": "text",
        "kind": "folder",
        "package": "",
        "license": "MIT",
        "category": "prose",
        "include": ("**/*.txt",),
    }
    return Source.model_validate(fields | changes)


def recipe_file(root: Path, text: Path, steps: int = 6) -> Path:
    path = root / "recipe.toml"
    path.write_text(
        f"""
name = "tiny"
description = "A test"
[data]
vocabulary_size = 400
context = 32
held_out_share = 0.2
held_out_windows = 20
[training]
steps = {steps}
batch_windows = 8
save_every = 3
precision = "float32"
[[source]]
name = "text"
kind = "folder"
package = "{text}"
license = "see file"
category = "prose"
include = ["**/*.txt"]
[[model]]
name = "a"
hidden_size = 16
layers = 1
heads = 1
learning_rate = 3e-3
[[model]]
name = "b"
hidden_size = 32
layers = 2
heads = 2
learning_rate = 3e-3
[[model]]
name = "c"
hidden_size = 48
layers = 2
heads = 2
learning_rate = 3e-3
""",
        encoding="utf-8",
    )
    return path


def archive_of(files: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as bundle:
        for name, content in files.items():
            info = tarfile.TarInfo(f"pkg-1.0/{name}")
            info.size = len(content)
            bundle.addfile(info, io.BytesIO(content))
    return data.getvalue()


@contextmanager
def registry(archive: bytes) -> Iterator[str]:
    """A stand-in for a package index."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/simple/pkg/":
                host = f"http://{self.headers['Host']}"
                files = [{"filename": "pkg-1.0.tar.gz", "url": f"{host}/f"}]
                body = json.dumps({"files": files}).encode()
            else:
                body = archive
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def text_files(root: Path) -> Path:
    """Fill a folder with real text: bundled held-out documents, one file each."""
    with TEXTS.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            if number < 300:
                (root / f"{number:04}.txt").write_text(json.loads(line)["text"], encoding="utf-8")
    return root
