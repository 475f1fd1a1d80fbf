"""From files to clean documents: boilerplate off, long files cut, near-duplicates dropped."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

from backend.training.recipe import Source
from backend.training.sources import SourceFile

MIN_CHARACTERS = 400
REPEATED_FILES = 8  # a line of markup in so many files of a package is its frame, not its text
REPEATED_SHARE = 0.05
SHINGLE_WORDS = 5
PERMUTATIONS = 64
_NOTICE = re.compile(r"copyright|licen[cs]e|all rights reserved|spdx", re.IGNORECASE)
_COMMENT = re.compile(r"^\s*(#|//|/\*|\*|--|;|\.\.|<!--|\"\"\"|%)")
_HTML_FRAME = re.compile(
    r"<(head|script|style|nav|header|footer|form|svg)\b.*?</\1\s*>|<!--.*?-->|<!doctype[^>]*>",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True)
class CleanDocument:
    """A document of the recipe's corpus."""

    id: str
    source: Source
    text: str


def without_notice(text: str) -> str:
    """Return the text without a comment at its head that states copyright or licence."""
    lines = text.split("\n")
    head = 0
    while head < len(lines) and (not lines[head].strip() or _COMMENT.match(lines[head])):
        head += 1
    if _NOTICE.search("\n".join(lines[:head])):
        return "\n".join(lines[head:]).lstrip("\n")
    return text


def _repeated_lines(files: Sequence[SourceFile]) -> set[str]:
    counts: Counter[str] = Counter()
    for file in files:
        counts.update({line.strip() for line in file.text.split("\n")})
    least = max(REPEATED_FILES, REPEATED_SHARE * len(files))
    return {line for line, count in counts.items() if count >= least and len(line) > 3}


def _cleaned(file: SourceFile, frame: set[str]) -> str:
    text = file.text
    if file.source.format == "html":
        text = _HTML_FRAME.sub("", text)
        text = "\n".join(line for line in text.split("\n") if line.strip() not in frame)
        text = re.sub(r"\n[ \t]*(\n[ \t]*){2,}", "\n\n", text)
    elif file.source.category in {"code", "markup"}:
        text = without_notice(text)
    return text.strip("\n")


def _pieces(text: str, size: int) -> Iterator[str]:
    """Cut a long text at ends of lines into pieces of about `size` characters."""
    first = 0
    while first < len(text):
        end = len(text) if len(text) - first < 2 * size else text.find("\n", first + size) + 1
        end = end or len(text)
        yield text[first:end]
        first = end


def clean_documents(files: Sequence[SourceFile]) -> list[CleanDocument]:
    """Return the clean documents of one source, in the order of its files."""
    frame = _repeated_lines(files) if files and files[0].source.format == "html" else set()
    documents = []
    for number, file in enumerate(files):
        for part, text in enumerate(_pieces(_cleaned(file, frame), file.source.document_bytes)):
            if len(text) >= MIN_CHARACTERS:
                name = f"{file.source.name}/{file.path}#{number}.{part}"
                documents.append(CleanDocument(name, file.source, text))
    return documents


def distinct(documents: Iterable[CleanDocument], similarity: float) -> list[CleanDocument]:
    """Return documents without those that are near-duplicates of an earlier one.

    MinHash with banding (Broder 1997) over shingles of five words; exact copies always go.

    Args:
        documents: in order; the first of several alike stays.
        similarity: Jaccard similarity of the shingle sets from which two are alike.
    """
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=similarity, num_perm=PERMUTATIONS)
    seen: set[bytes] = set()
    kept = []
    for number, document in enumerate(documents):
        words = document.text.split()
        digest = sha256(" ".join(words).encode()).digest()
        if digest in seen:
            continue
        seen.add(digest)
        signature = MinHash(num_perm=PERMUTATIONS, seed=1)
        span = range(max(1, len(words) - SHINGLE_WORDS + 1))
        shingles = {" ".join(words[i : i + SHINGLE_WORDS]) for i in span}
        signature.update_batch([shingle.encode() for shingle in shingles])
        if index.query(signature):
            continue
        index.insert(number, signature)
        kept.append(document)
    return kept
