"""Conversion of `pytorch_model.bin` files to safetensors, without running code from them.

A `.bin` file is a pickle, and unpickling can run any code. Only torch's restricted unpickler opens
it (`weights_only=True`: tensors and plain containers), and the result must be one dictionary of
named, plain tensors. Models are loaded from the converted files only.
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
MAX_EXPANSION = 3  # bytes of the tensors over bytes of the file


def bin_files(folder: Path) -> list[Path]:
    """Return the `.bin` weight files of a folder, in order.

    Raises:
        CheckpointError: there are none, or the index names a missing file.
    """
    if (folder / BIN_FILE).is_file():
        return [folder / BIN_FILE]
    if not (folder / BIN_INDEX_FILE).is_file():
        raise CheckpointError(f"{folder / BIN_FILE} is missing; copy the whole folder")
    return shard_files(folder, BIN_INDEX_FILE)


def _check_archive(path: Path) -> bool:
    """Return whether a file is in the newer zip format; reject compressed records."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            # torch stores records uncompressed; a compressed record could expand to any size.
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
                raise CheckpointError(
                    f"{path}: record {entry.filename} is compressed, which torch never does; "
                    "download the file again"
                )
    return True


def bin_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of one `.bin` file, on the CPU, by name.

    Raises:
        CheckpointError: the file is damaged, or is not one dictionary of plain tensors.
    """
    is_zipped = _check_archive(path)
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zipped)
    except Exception as error:  # an unknown pickle can fail anywhere in the unpickler
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else ""
        raise CheckpointError(
            f"{path} is damaged or holds more than tensors ({type(error).__name__}: {reason}); "
            "no code in it was run. Use a safetensors file of the model"
        ) from error
    if not isinstance(tensors, dict):
        raise CheckpointError(
            f"{path} holds a {type(tensors).__name__}, want a dictionary of tensors"
        )
    for name, value in tensors.items():
        is_plain = type(value) in (Tensor, nn.Parameter) and value.layout is torch.strided
        if not isinstance(name, str) or not is_plain or value.is_quantized:
            raise CheckpointError(
                f"{path}: entry {str(name)[:80]!r} is a {type(value).__name__}, want plain tensors"
            )
    _check_size(path, tensors)
    return tensors


def _check_size(path: Path, tensors: dict[str, Tensor]) -> None:
    """Reject tensors that are larger than the file: a view can repeat a few bytes endlessly."""
    total = 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        total += size
        if size > tensor.untyped_storage().nbytes():
            raise CheckpointError(
                f"{path}: entry {name[:80]!r} of shape {tuple(tensor.shape)} repeats the same "
                "values; want one stored value per element. Use a safetensors file of the model"
            )
    # Tied weights are stored once under two names.
    if total > MAX_EXPANSION * path.stat().st_size:
        raise CheckpointError(
            f"{path}: its tensors have {total:,} bytes, the file {path.stat().st_size:,}; too many "
            "share memory. Use a safetensors file of the model"
        )


def _unshared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the parameters without shared memory, which safetensors requires; drop buffers."""
    unshared, storages = {}, set()
    for name, tensor in tensors.items():
        if NOT_PARAMETERS.search(name):
            continue
        storage = tensor.untyped_storage()
        is_whole = storage.nbytes() == tensor.numel() * tensor.element_size()
        is_unshared = is_whole and storage.data_ptr() not in storages and tensor.is_contiguous()
        storages.add(storage.data_ptr())
        unshared[name] = tensor.detach() if is_unshared else tensor.detach().clone().contiguous()
    return unshared


def _save(tensors: dict[str, Tensor], path: Path) -> int:
    """Write a file atomically; return the bytes of its tensors."""
    part = path.with_name(path.name + ".part")
    try:
        save_file(tensors, part, metadata={"format": "pt"})
        os.replace(part, path)
    except SafetensorError as error:
        raise CheckpointError(f"{path} cannot be written ({error})") from error
    finally:
        part.unlink(missing_ok=True)
    return sum(t.numel() * t.element_size() for t in tensors.values())


def convert_to_safetensors(folder: Path) -> list[Path]:
    """Convert the `.bin` weights of a folder to safetensors; return the new files.

    Buffers of old exports (`NOT_PARAMETERS`) are dropped. One file becomes `model.safetensors`;
    several become as many shards and an index, which is written last.

    Raises:
        CheckpointError: a file is damaged or holds more than tensors; no new file remains.
    """
    sources = bin_files(folder)
    if len(sources) == 1:
        _save(_unshared(bin_tensors(sources[0])), folder / SINGLE_FILE)
        return [folder / SINGLE_FILE]
    shards: list[Path] = []
    weight_map: dict[str, str] = {}
    total = 0
    try:
        for number, source in enumerate(sources, start=1):
            tensors = _unshared(bin_tensors(source))
            path = folder / f"model-{number:05d}-of-{len(sources):05d}.safetensors"
            total += _save(tensors, path)
            shards.append(path)
            weight_map |= dict.fromkeys(tensors, path.name)
    except BaseException:
        for path in shards:
            path.unlink(missing_ok=True)
        raise
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / INDEX_FILE).write_text(json.dumps(index), encoding="utf-8")
    return shards
