"""The part of evaluation that runs in a child process: it knows weights and tokens, not SQL."""

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


def start(threads: int) -> None:
    """Prepare a child: fix the number of threads, and end with the parent however it ends."""
    # Ctrl-C reaches the whole process group; the parent alone answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:  # watched before the seconds that importing torch takes
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    import torch

    torch.set_num_threads(threads)
    quiet()


def quiet() -> None:
    """Keep the model library from drawing progress bars into ours."""
    import transformers

    logging: Any = transformers.utils.logging  # without types
    logging.disable_progress_bar()
    logging.set_verbosity_error()


def _end_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)


@lru_cache(maxsize=1)
def _model(folder: str, vocabulary_size: int, device: str) -> Any:
    from compute.checkpoints import load_model

    return load_model(Path(folder), vocabulary_size=vocabulary_size, device=device)


def chunk_losses(
    folder: str,
    vocabulary_size: int,
    device: str,
    documents: Sequence[NDArray[Any]],
    prefix: Sequence[int],
) -> NDArray[np.float32]:
    """Return the losses (nats) of one chunk's predictions under the checkpoint in `folder`."""
    from compute.losses import document_losses

    model = _model(folder, vocabulary_size, device)
    return document_losses(model, documents, prefix=prefix)
