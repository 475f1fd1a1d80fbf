"""Conversion of `.bin` weights runs no code from them and gives the same model."""

import json
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compute.checkpoints import CheckpointError, check_weights, load_model, weight_files
from compute.pytorch_bin import bin_files, bin_tensors, convert_to_safetensors
from tests.factories import VOCABULARY, tiny_model

BASE = torch.zeros(200_000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = tiny_model("gpt_neox")
    model.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    return tmp_path


def assert_same(folder: Path, model: Any) -> None:
    loaded = dict(load_model(folder, vocabulary_size=VOCABULARY).named_parameters())
    for name, parameter in model.named_parameters():
        assert torch.equal(loaded[name], parameter), name


@pytest.mark.parametrize("is_zipped", [True, False])
def test_a_converted_file_has_the_same_weights(folder: Path, is_zipped: bool) -> None:
    model = tiny_model("gpt_neox")
    torch.save(
        model.state_dict(),
        folder / "pytorch_model.bin",
        _use_new_zipfile_serialization=is_zipped,
    )
    assert convert_to_safetensors(folder) == weight_files(folder) == [folder / "model.safetensors"]
    assert_same(folder, model)


def test_shards_are_converted_to_shards(folder: Path) -> None:
    model = tiny_model("gpt_neox")
    state = list(model.state_dict().items())
    weight_map = {}
    for number, part in enumerate((state[:7], state[7:]), start=1):
        name = f"pytorch_model-{number:05d}-of-00002.bin"
        torch.save(OrderedDict(part), folder / name)
        weight_map |= {key: name for key, _ in part}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert len(convert_to_safetensors(folder)) == len(weight_files(folder)) == 2
    check_weights(folder)
    assert_same(folder, model)


def test_buffers_of_old_exports_are_dropped(folder: Path) -> None:
    model = tiny_model("gpt_neox")
    prefix = "gpt_neox.layers.0.attention"
    extra = {f"{prefix}.masked_bias": torch.tensor(-1e9).half(), f"{prefix}.bias": torch.ones(4)}
    assert extra[f"{prefix}.masked_bias"].isinf()
    model.save_pretrained(folder, state_dict=model.state_dict() | extra)
    check_weights(folder)
    assert_same(folder, model)


def test_tied_weights_are_written_separately(folder: Path) -> None:
    model = tiny_model("gpt2")
    model.save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    state = model.state_dict()
    assert state["lm_head.weight"].data_ptr() == state["transformer.wte.weight"].data_ptr()
    torch.save(state, folder / "pytorch_model.bin")
    convert_to_safetensors(folder)
    assert_same(folder, model)


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def legacy(path: Path, content: object) -> None:
    path.write_bytes(pickle.dumps(content))


def compressed(path: Path, content: object) -> None:
    torch.save(content, path)
    with zipfile.ZipFile(path) as old:
        entries = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, data in entries.items():
            new.writestr(name, data)


Write = Callable[[Path, object], None]
REFUSED: dict[str, tuple[Write, object, str]] = {
    "a list": (lambda p, c: torch.save(c, p), [torch.ones(2)], "holds a list, want a dictionary"),
    "a number": (lambda p, c: torch.save(c, p), {"a": 3}, "entry 'a' is a int, want plain"),
    "nested": (lambda p, c: torch.save(c, p), {"a": {"b": torch.ones(1)}}, "entry 'a' is a dict"),
    "a name that is none": (lambda p, c: torch.save(c, p), {1: torch.ones(1)}, "entry '1' is a"),
    "sparse": (
        lambda p, c: torch.save(c, p),
        {"a": torch.eye(3).to_sparse()},
        "entry 'a' is a Tensor, want plain",
    ),
    "a module": (lambda p, c: torch.save(c, p), {"a": nn.Linear(2, 2)}, "more than tensors"),
    "no pickle": (lambda p, _: p.write_bytes(b"\x80\x02not one") and None, None, "more than"),
    "empty": (lambda p, _: p.write_bytes(b"") and None, None, "more than tensors"),
    "compressed": (compressed, {"a": torch.zeros(100_000)}, "is compressed"),
}


@pytest.mark.parametrize(("write", "content", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_anything_but_plain_tensors_is_rejected(
    folder: Path, write: Write, content: object, message: str
) -> None:
    write(folder / "pytorch_model.bin", content)
    before = sorted(folder.iterdir())
    with pytest.raises(CheckpointError, match=message):
        convert_to_safetensors(folder)
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"w": torch.zeros(1).expand(10**7, 10**7)}, "repeats the same values"),
        ({f"w{i}": BASE for i in range(9)}, "too many share memory"),
    ],
)
def test_a_small_file_cannot_expand(folder: Path, content: object, message: str) -> None:
    torch.save(content, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=message):
        convert_to_safetensors(folder)
    assert not list(folder.glob("*.safetensors*"))


@pytest.mark.parametrize("write", [legacy, lambda p, c: torch.save(c, p)])
def test_code_in_a_pickle_is_not_run(folder: Path, write: Write) -> None:
    harm = folder / "harm"
    write(folder / "pytorch_model.bin", {"a": Evil(harm)})
    with pytest.raises(CheckpointError, match="no code in it was run"):
        bin_tensors(folder / "pytorch_model.bin")
    assert not harm.exists()


def test_a_damaged_shard_removes_the_others(folder: Path) -> None:
    names = [f"pytorch_model-{number:05d}-of-00002.bin" for number in (1, 2)]
    tensors: dict[str, Tensor] = {"a": torch.ones(3)}
    torch.save(tensors, folder / names[0])
    (folder / names[1]).write_bytes(b"damaged")
    index = {"weight_map": dict(zip("ab", names, strict=True))}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="00002-of-00002"):
        convert_to_safetensors(folder)
    assert not list(folder.glob("*.safetensors*"))


def test_a_folder_without_weights_is_rejected(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin is missing"):
        bin_files(folder)
