"""The bundled suite and its held-out documents, as the demo uses them."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BUNDLED = Path(__file__).resolve().parent.parent / "backend" / "data" / "mini-suite"
MAX_TOKENS = 256
END_OF_TEXT = 0


def final_checkpoint(model: str) -> Path:
    """The folder of a model's last step."""
    return BUNDLED / "models" / model / "step2000"


@cache
def documents() -> list[NDArray[Any]]:
    """All 775 documents, tokenised by the tokenizers library, <|endoftext|> first, and cut."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(BUNDLED / "tokenizer.json"))
    with (BUNDLED / "documents.jsonl").open(encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    encodings = tokenizer.encode_batch(texts, add_special_tokens=False)
    return [np.array([END_OF_TEXT, *e.ids][:MAX_TOKENS], np.uint16) for e in encodings]
