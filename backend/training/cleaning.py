"""Clean source files into documents: strip boilerplate, split long files, drop near-duplicates."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

from backend.training.recipe import Source
from backend.training.sources import SourceFile

MIN_CHARACTERS = 400
REPEATED_FILES = 8  # a markup line in this many files of a package is template, not text
REPEATED_SHARE = 0.05
SHINGLE_WORDS = 5
PERMUTATIONS = 64
_NOTICE = re.compile(r"copyright|licen[cs]e|all rights reserved|spdx", re.IGNORECASE)
_COMMENT = re.compile(r"^\s*(#|//|/\*|\*|--|;|\.\.|<!--|\"\"\"|%)")
_HTML_TEMPLATE = re.compile(
    r"<(head|script|style|nav|header|footer|form|svg)\b.*?</\1\s*>|<!--.*?-->|<!doctype[^>]*>",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True)
class CleanDocument:
    """A document of the recipe's corpus."""

    id: str
    source: Source
    text: str


def strip_notice(text: str) -> str:
    """Strip a leading comment that states copyright or licence."""
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
    min_count = max(REPEATED_FILES, REPEATED_SHARE * len(files))
    return {line for line, count in counts.items() if count >= min_count and len(line) > 3}


def _clean_text(file: SourceFile, template_lines: set[str]) -> str:
    text = file.text
    if file.source.format == "html":
        text = _HTML_TEMPLATE.sub("", text)
        text = "\n".join(line for line in text.split("\n") if line.strip() not in template_lines)
        text = re.sub(r"\n[ \t]*(\n[ \t]*){2,}", "\n\n", text)
    elif file.source.category in {"code", "markup"}:
        text = strip_notice(text)
    return text.strip("\n")


def _split_text(text: str, size: int) -> Iterator[str]:
    """Split a long text at line ends into pieces of about `size` characters."""
    first = 0
    while first < len(text):
        end = len(text) if len(text) - first < 2 * size else text.find("\n", first + size) + 1
        end = end or len(text)
        yield text[first:end]
        first = end


def clean_documents(files: Sequence[SourceFile]) -> list[CleanDocument]:
    """Return the clean documents of one source, in the order of its files."""
    template_lines = _repeated_lines(files) if files and files[0].source.format == "html" else set()
    documents = []
    for number, file in enumerate(files):
        for part, text in enumerate(
            _split_text(_clean_text(file, template_lines), file.source.document_bytes)
        ):
            if len(text) >= MIN_CHARACTERS:
                name = f"{file.source.name}/{file.path}#{number}.{part}"
                documents.append(CleanDocument(name, file.source, text))
    return documents


def drop_near_duplicates(
    documents: Iterable[CleanDocument], similarity: float
) -> list[CleanDocument]:
    """Drop near-duplicates of earlier documents.

    MinHash with banding (Broder 1997) over shingles of five words; exact copies are always dropped.

    Args:
        documents: in order; the first of each group of duplicates is kept.
        similarity: minimum Jaccard similarity of the shingle sets of duplicates.
    """
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=similarity, num_perm=PERMUTATIONS)
    digests: set[bytes] = set()
    distinct = []
    for number, document in enumerate(documents):
        words = document.text.split()
        digest = sha256(" ".join(words).encode()).digest()
        if digest in digests:
            continue
        digests.add(digest)
        signature = MinHash(num_perm=PERMUTATIONS, seed=1)
        span = range(max(1, len(words) - SHINGLE_WORDS + 1))
        shingles = {" ".join(words[i : i + SHINGLE_WORDS]) for i in span}
        signature.update_batch([shingle.encode() for shingle in shingles])
        if index.query(signature):
            continue
        index.insert(number, signature)
        distinct.append(document)
    return distinct
