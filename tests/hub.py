"""A local stand-in for the Hugging Face hub: its routes, small models, injected faults."""

import hashlib
import io
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote, urlsplit

import torch

CHARACTERS = [chr(code) for code in range(32, 127)]
SIZES = {"70m": 16, "160m": 32, "410m": 48}  # hidden units
STEPS = (0, 1, 1000, 2000)
LARGE = (".safetensors", ".bin")  # what the hub keeps as LFS
Files = dict[str, bytes]


@cache
def tokenizer_json() -> bytes:
    """A tokenizer of printable ASCII, one token per character, and an unknown token."""
    from tokenizers import Regex, Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split

    vocabulary = {"[UNK]": 0} | {c: i for i, c in enumerate(CHARACTERS, start=1)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Split(Regex("."), "isolated")
    return str(tokenizer.to_str(pretty=True)).encode()


def model(hidden: int, seed: int) -> Any:
    """A random GPT-NeoX model for `tokenizer_json`, its vocabulary padded."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    config = GPTNeoXConfig(
        vocab_size=128,
        hidden_size=hidden,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=2 * hidden,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=0,
    )
    network = GPTNeoXForCausalLM(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.35, generator=generator)
    return network


@cache
def model_files(hidden: int, seed: int, shard: str = "1GB") -> Files:
    """The files of a model as `save_pretrained` writes them, with the tokenizer."""
    with TemporaryDirectory() as folder:
        model(hidden, seed).save_pretrained(folder, max_shard_size=shard)
        files = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    files.pop("generation_config.json", None)
    return files | {"tokenizer.json": tokenizer_json()}


def pickled_model_files(hidden: int, seed: int, **extra: Any) -> Files:
    """The same model as an old export: half precision in `.bin`, with its mask's constants."""
    state = {name: t.half() for name, t in model(hidden, seed).state_dict().items()}
    for layer in range(2):
        attention = f"gpt_neox.layers.{layer}.attention"
        state[f"{attention}.masked_bias"] = torch.tensor(-1e9).half()
        state[f"{attention}.bias"] = torch.ones(1, 1, 64, 64, dtype=torch.bool).tril()
    buffer = io.BytesIO()
    torch.save(state | extra, buffer)
    files = {k: v for k, v in model_files(hidden, seed).items() if not k.endswith(".safetensors")}
    return files | {"pytorch_model.bin": buffer.getvalue()}


@dataclass
class StandInHub:
    """Content of the stand-in hub and its injected faults.

    Attributes:
        url: base URL.
        branches: {repository: {branch: commit}}.
        commits: {(repository, commit): files}.
        refusals: {part of a path: [(status, headers), …]}, each sent once, in order.
        cuts: {file name: [bytes after which the connection closes, …]}, each once, in order.
        stalls: {file name: bytes after which the response stalls until `resume` is set}.
        replaced_content: {file name: bytes sent instead}.
        ranges: support Range requests; if False, send the whole file.
        requests: (path, Range header) of every request, in order.
    """

    url: str = ""
    branches: dict[str, dict[str, str]] = field(default_factory=dict)
    commits: dict[tuple[str, str], Files] = field(default_factory=dict)
    refusals: dict[str, list[tuple[int, dict[str, str]]]] = field(default_factory=dict)
    cuts: dict[str, list[int]] = field(default_factory=dict)
    stalls: dict[str, int] = field(default_factory=dict)
    resume: threading.Event = field(default_factory=threading.Event)
    replaced_content: Files = field(default_factory=dict)
    ranges: bool = True
    requests: list[tuple[str, str]] = field(default_factory=list)
    authorizations: set[str | None] = field(default_factory=set)

    def add(self, repository: str, branch: str, files: Files) -> str:
        """Commit files to a branch; return the commit."""
        text = json.dumps({n: hashlib.sha256(b).hexdigest() for n, b in sorted(files.items())})
        commit = hashlib.sha1(f"{repository} {text}".encode()).hexdigest()
        self.branches.setdefault(repository, {})[branch] = commit
        self.commits[repository, commit] = files
        return commit

    def count_downloads(self, name: str) -> Counter[str]:
        """Count downloads of a file from its start, by commit."""
        starts = [path for path, requested_range in self.requests if not requested_range]
        parts = [re.fullmatch(rf"/cdn/(\w+)/{re.escape(name)}", path) for path in starts]
        return Counter(match[1] for match in parts if match)


def _oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _sibling(name: str, content: bytes) -> dict[str, Any]:
    description = {"rfilename": name, "size": len(content), "blobId": _oid(content)}
    if name.endswith(LARGE):
        digest = hashlib.sha256(content).hexdigest()
        description["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 130}
    return description


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: StandInHub

    def log_message(self, *_: Any) -> None:
        """Silence the log."""

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((path, self.headers.get("Range", "")))
        self.hub.authorizations.add(self.headers.get("Authorization"))
        for part, answers in self.hub.refusals.items():
            if part in path and answers:
                status, headers = answers.pop(0)
                self._answer(status, b'{"error":"not now"}', headers)
                return
        self._route(path)

    def _route(self, path: str) -> None:
        if match := re.fullmatch(r"/api/models/(\S+)/refs", path):
            self._refs(match[1])
        elif match := re.fullmatch(r"/api/models/(\S+)/revision/(\w+)", path):
            self._revision(match[1], match[2])
        elif match := re.fullmatch(r"/(\S+/\S+)/resolve/(\w+)/([\w.-]+)", path):
            self._resolve(match[1], match[2], match[3])
        elif match := re.fullmatch(r"/cdn/(\w+)/([\w.-]+)", path):
            files = next(f for (_, commit), f in self.hub.commits.items() if commit == match[1])
            self._send(match[2], files[match[2]])
        else:
            self._missing("RepoNotFound")

    def _refs(self, repository: str) -> None:
        if repository not in self.hub.branches:
            self._missing("RepoNotFound")
            return
        branches = [
            {"name": name, "ref": f"refs/heads/{name}", "targetCommit": commit}
            for name, commit in self.hub.branches[repository].items()
        ]
        self._answer(200, json.dumps({"branches": branches, "tags": [], "converts": []}).encode())

    def _revision(self, repository: str, commit: str) -> None:
        files = self.hub.commits.get((repository, commit))
        if files is None:
            self._missing("RevisionNotFound")
            return
        siblings = [_sibling(name, content) for name, content in files.items()]
        description = {"id": repository, "sha": commit, "siblings": siblings}
        self._answer(200, json.dumps(description).encode())

    def _resolve(self, repository: str, commit: str, name: str) -> None:
        files = self.hub.commits.get((repository, commit))
        if files is None or name not in files:
            self._missing("EntryNotFound" if files else "RevisionNotFound")
            return
        description = _sibling(name, files[name])
        etag = description["lfs"]["sha256"] if "lfs" in description else description["blobId"]
        headers = {
            "Location": f"/cdn/{commit}/{name}",
            "X-Repo-Commit": commit,
            "X-Linked-Size": str(len(files[name])),
            "X-Linked-Etag": f'"{etag}"',
        }
        self._answer(302, b"", headers)

    def _send(self, name: str, content: bytes) -> None:
        content = self.hub.replaced_content.get(name, content)
        first, status, headers = 0, 200, {}
        requested_range = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if requested_range and self.hub.ranges:
            first, status = int(requested_range[1]), 206
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        body = content[first:]
        if name in self.hub.stalls and not self.hub.resume.is_set():
            self._answer(status, body, headers, sent=self.hub.stalls[name])
            self.hub.resume.wait(120)
            self.close_connection = True
            return
        cuts = self.hub.cuts.get(name)
        if cuts:
            self._answer(status, body, headers, sent=cuts.pop(0))
            self.close_connection = True
            return
        self._answer(status, body, headers)

    def _missing(self, code: str) -> None:
        self._answer(404, b'{"error":"not found"}', {"X-Error-Code": code})

    def _answer(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
        sent: int | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:sent])


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Silence errors: some tests abort a download."""


@contextmanager
def serve_hub(hub: StandInHub) -> Iterator[StandInHub]:
    """Serve a stand-in hub inside the block."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = _Server(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.resume.set()
        server.shutdown()
        server.server_close()
        thread.join()


def add_pythia(hub: StandInHub, steps: tuple[int, ...] = STEPS) -> StandInHub:
    """Add three small models under Pythia's names."""
    for index, (size, hidden) in enumerate(SIZES.items()):
        for step in steps:
            files = model_files(hidden, 10_000 * index + step)
            hub.add(f"EleutherAI/pythia-{size}", f"step{step}", files)
        hub.add(f"EleutherAI/pythia-{size}", "main", files)
    return hub
