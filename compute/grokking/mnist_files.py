"""The four IDX files of MNIST in a folder, gzipped or not.

Free of torch: requests read the files too.
"""

import gzip
import struct
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

FILES = {
    "images": "train-images-idx3-ubyte",
    "labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}
IMAGES_MAGIC, LABELS_MAGIC = 2051, 2049


def find_file(folder: Path, name: str) -> Path:
    """Return the path of one of `FILES`.

    Raises:
        ValueError: the file is missing.
    """
    stem = FILES[name]
    for candidate in (
        stem,
        stem + ".gz",
        stem.replace("-idx", ".idx"),
        stem.replace("-idx", ".idx") + ".gz",
    ):
        if (folder / candidate).is_file():
            return folder / candidate
    raise ValueError(f"{folder} has no {stem} or {stem}.gz; put the four IDX files of MNIST there")


def read_row_count(path: Path, magic: int) -> int:
    """Return the number of images or labels from the header of a file.

    Raises:
        ValueError: the file has another format.
    """
    with path.open("rb") as file:
        is_gzipped = file.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path) if is_gzipped else path.open("rb") as file:
            head = file.read(8)
    except (gzip.BadGzipFile, EOFError) as error:
        raise ValueError(f"{path} is truncated") from error
    if len(head) < 8 or struct.unpack(">I", head[:4])[0] != magic:
        raise _magic_error(path, magic)
    return int(struct.unpack(">I", head[4:])[0])


def _magic_error(path: Path, magic: int) -> ValueError:
    kind = "images" if magic == IMAGES_MAGIC else "labels"
    return ValueError(f"{path} is not an IDX file of MNIST {kind}")


def read_idx(path: Path, magic: int) -> UInt8[np.ndarray, "rows *shape"]:
    """Return the values of a file.

    Raises:
        ValueError: the file has another format or is truncated.
    """
    data = path.read_bytes()
    data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    dims = magic % 256
    head = 4 + 4 * dims
    if len(data) < head or struct.unpack(">I", data[:4])[0] != magic:
        raise _magic_error(path, magic)
    shape = struct.unpack(f">{dims}I", data[4:head])
    if len(data) - head != int(np.prod(shape)):
        raise ValueError(f"{path} is truncated: {len(data) - head} values of shape {shape}")
    return np.frombuffer(data, np.uint8, offset=head).reshape(shape)
