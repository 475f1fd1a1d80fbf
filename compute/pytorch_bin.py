"""Old `pytorch_model.bin` files, read without running anything in them, rewritten as safetensors.

A `.bin` file is a pickle, and a pickle is a program. It is opened by torch's restricted reader
alone (`weights_only=True`: tensors and plain containers, nothing else), and what comes out must be
one dictionary of named, plain tensors. Models are loaded from the rewritten files only.
"""

import json
import os
import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from compute.checkpoints import (
    INDEX_FILE,
    NOT_PARAMETERS,
    SINGLE_FILE,
    CheckpointError,
    shard_files,
)

BIN_FILE = "pytorch_model.bin"
BIN_INDEX_FILE = "pytorch_model.bin.index.json"
MAX_UNFOLDED = 3  # times the size of the file


def bin_files(folder: Path) -> list[Path]:
    """Return the `.bin` weight files of a folder, in order.

    Raises:
        CheckpointError: none are there, or the index names a file that is not.
    """
    if (folder / BIN_FILE).is_file():
        return [folder / BIN_FILE]
    if not (folder / BIN_INDEX_FILE).is_file():
        raise CheckpointError(f"{folder / BIN_FILE} is missing; copy the whole folder")
    return shard_files(folder, BIN_INDEX_FILE)


def _check_archive(path: Path) -> bool:
    """Return whether a file is the newer, zipped form; refuse one that would unfold."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            # torch writes its records as they are; a compressed one may unfold to any size.
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
                raise CheckpointError(
                    f"{path}: record {entry.filename} is compressed, as torch never writes it; "
                    "get the file from its source again"
                )
    return True


def bin_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of one `.bin` file, on the CPU, by name.

    Raises:
        CheckpointError: the file is damaged, or holds anything but one dictionary of tensors.
    """
    is_zipped = _check_archive(path)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zipped)
    except Exception as error:  # a foreign pickle can fail anywhere in the reader
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else ""
        raise CheckpointError(
            f"{path} is damaged or holds more than tensors ({type(error).__name__}: {reason}); "
            "nothing in it was run. Use a safetensors file of the model"
        ) from error
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{path} holds a {type(loaded).__name__}, want tensors by name")
    for name, value in loaded.items():
        is_plain = type(value) in (Tensor, nn.Parameter) and value.layout is torch.strided
        if not isinstance(name, str) or not is_plain or value.is_quantized:
            raise CheckpointError(
                f"{path}: entry {str(name)[:80]!r} is a {type(value).__name__}, want plain tensors"
            )
    _check_size(path, loaded)
    return loaded


def _check_size(path: Path, tensors: dict[str, Tensor]) -> None:
    """Refuse tensors that are larger than the file: views may repeat a few bytes without end."""
    total = 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        total += size
        if size > tensor.untyped_storage().nbytes():
            raise CheckpointError(
                f"{path}: entry {name[:80]!r} of shape {tuple(tensor.shape)} repeats the same "
                "values; want one stored number for each. Use a safetensors file of the model"
            )
    # Tied weights may be stored once under two names.
    if total > MAX_UNFOLDED * path.stat().st_size:
        raise CheckpointError(
            f"{path}: its tensors take {total:,} bytes, the file {path.stat().st_size:,}; too many "
            "share their memory. Use a safetensors file of the model"
        )


def _own(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return parameters that share no memory, as safetensors wants them; buffers are left out."""
    own, seen = {}, set()
    for name, tensor in tensors.items():
        if NOT_PARAMETERS.search(name):
            continue
        storage = tensor.untyped_storage()
        is_whole = storage.nbytes() == tensor.numel() * tensor.element_size()
        is_own = is_whole and storage.data_ptr() not in seen and tensor.is_contiguous()
        seen.add(storage.data_ptr())
        own[name] = tensor.detach() if is_own else tensor.detach().clone().contiguous()
    return own


def _save(tensors: dict[str, Tensor], path: Path) -> int:
    """Write a file whole or not at all; return the bytes of its tensors."""
    unfinished = path.with_name(path.name + ".part")
    try:
        save_file(tensors, unfinished, metadata={"format": "pt"})
        os.replace(unfinished, path)
    except SafetensorError as error:
        raise CheckpointError(f"{path} cannot be written ({error})") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return sum(t.numel() * t.element_size() for t in tensors.values())


def convert_to_safetensors(folder: Path) -> list[Path]:
    """Write the `.bin` weights of a folder as safetensors beside them; return the new files.

    Constants that old files keep beside the parameters (NOT_PARAMETERS) are left out. One file
    becomes `model.safetensors`, several become as many and an index, which is written last.

    Raises:
        CheckpointError: a file is damaged or holds anything but tensors; nothing is left behind.
    """
    sources = bin_files(folder)
    if len(sources) == 1:
        _save(_own(bin_tensors(sources[0])), folder / SINGLE_FILE)
        return [folder / SINGLE_FILE]
    written: list[Path] = []
    home: dict[str, str] = {}
    total = 0
    try:
        for number, source in enumerate(sources, start=1):
            tensors = _own(bin_tensors(source))
            path = folder / f"model-{number:05d}-of-{len(sources):05d}.safetensors"
            total += _save(tensors, path)
            written.append(path)
            home |= dict.fromkeys(tensors, path.name)
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise
    index = {"metadata": {"total_size": total}, "weight_map": home}
    (folder / INDEX_FILE).write_text(json.dumps(index), encoding="utf-8")
    return written
