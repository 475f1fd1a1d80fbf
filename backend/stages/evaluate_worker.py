"""Evaluation in a child process, from weights and tokens; it does not use the database."""

import os
import signal
import threading
from collections.abc import Sequence
from functools import lru_cache
from multiprocessing import connection, parent_process
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.store.keys import files_key


def start(threads: int) -> None:
    """Prepare a child process: threads, no progress bars, and exit when the parent exits."""
    # Ctrl-C reaches the whole process group; only the parent handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    prepare(threads)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_exit_with, args=(parent.sentinel,), daemon=True).start()


def prepare(threads: int) -> None:
    """Set the number of threads of this process, and silence the model library."""
    import torch

    # Freeing one large block raises glibc's mmap threshold, so that later blocks are reused. Else
    # the smallest model maps new pages for every batch and is half as fast.
    block = torch.empty(30 << 20, dtype=torch.uint8)
    del block

    torch.set_num_threads(threads)
    silence_transformers()


def silence_transformers() -> None:
    """Disable progress bars and warnings of the model library."""
    import transformers

    logging: Any = transformers.utils.logging  # without types
    logging.disable_progress_bar()
    logging.set_verbosity_error()


def _exit_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)


def load_registered(folder: str, key: str, vocabulary_size: int, device: str) -> Any:
    """Return the model of a registered checkpoint.

    Raises:
        ValueError: the folder cannot be used, or its files are not those that were registered.
    """
    from compute.checkpoints import load_model, weight_files

    path = Path(folder)
    model = load_model(path, vocabulary_size=vocabulary_size, device=device)
    if files_key([path / "config.json", *weight_files(path)]) != key:
        raise ValueError(
            f"{folder}: the files changed since the checkpoint was registered; restore them, or "
            "register the changed weights as another suite"
        )
    return model


@lru_cache(maxsize=1)
def _model(folder: str, key: str, vocabulary_size: int, device: str) -> Any:
    return load_registered(folder, key, vocabulary_size, device)


def chunk_losses(
    folder: str,
    key: str,
    vocabulary_size: int,
    device: str,
    documents: Sequence[NDArray[Any]],
    batch_share: float = 1.0,
) -> NDArray[np.float32]:
    """Return the losses (nats) of one chunk's predictions under the checkpoint in `folder`.

    Raises:
        ValueError: the checkpoint cannot be used, or a loss is not finite; names the folder.
    """
    from compute.losses import document_losses
    from compute.memory import scaled_batch_sizes

    model = _model(folder, key, vocabulary_size, device)
    try:
        return document_losses(model, documents, sizes=scaled_batch_sizes(device, batch_share))
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error


def chunk_measures(
    folder: str,
    key: str,
    vocabulary_size: int,
    device: str,
    documents: Sequence[NDArray[Any]],
    target: int | None = None,
    batch_share: float = 1.0,
) -> dict[str, NDArray[Any]]:
    """Return loss, rank and entropy (and the target's loss) of one chunk's predictions.

    Raises:
        ValueError: the checkpoint cannot be used, or a value is not finite; names the folder.
    """
    from compute.measures import document_measures
    from compute.memory import scaled_batch_sizes

    model = _model(folder, key, vocabulary_size, device)
    sizes = scaled_batch_sizes(device, batch_share)
    try:
        measures = document_measures(model, documents, target=target, sizes=sizes)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error
    values: dict[str, NDArray[Any]] = {
        "loss": measures.losses,
        "rank": measures.ranks,
        "entropy": measures.entropies,
    }
    if measures.target_losses is not None:
        values["target"] = measures.target_losses
    return values


def chunk_values(
    folder: str,
    key: str,
    vocabulary_size: int,
    device: str,
    documents: Sequence[NDArray[Any]],
    with_measures: bool = False,
    batch_share: float = 1.0,
) -> tuple[dict[str, NDArray[Any]], float]:
    """Return (values of one chunk by name: losses, and measures if requested; batch share).

    A batch that does not fit into memory is halved until it does.

    Raises:
        ValueError: see `chunk_losses`.
        MemoryError: even a small batch does not fit.
    """
    from compute.memory import halve_until_fits

    place = (folder, key, vocabulary_size, device, documents)

    def run(share: float) -> dict[str, NDArray[Any]]:
        if with_measures:
            return chunk_measures(*place, batch_share=share)
        return {"loss": chunk_losses(*place, batch_share=share)}

    return halve_until_fits(run, batch_share)
