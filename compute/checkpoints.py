"""Loading of causal language models from local checkpoint folders, validated first.

A folder is as `save_pretrained` writes it: `config.json` and safetensors. Nothing is downloaded,
no pickle is opened and no code of a model is run. Weights of any dtype are loaded as float32.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
# Buffers of older exports that no model reads; the mask's -1e9 is -inf in float16.
NOT_PARAMETERS = re.compile(r"\.masked_bias$|\.rotary_emb\.inv_freq$")


class CheckpointError(ValueError):
    """An unusable checkpoint folder; the message names the file and the remedy."""


@dataclass(frozen=True)
class ParameterCounts:
    """Numbers of parameters; tied embeddings count once."""

    total: int
    nonembedding: int


def read_config(folder: Path) -> dict[str, Any]:
    """Return `config.json` of a checkpoint folder.

    Raises:
        CheckpointError: the file is missing or not a JSON object.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; copy the whole save_pretrained folder")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} is not JSON ({error}); copy it again") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} holds {type(config).__name__}, want an object")
    return config


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a folder, in order.

    Raises:
        CheckpointError: there are none, or the index names a missing file.
    """
    if (folder / SINGLE_FILE).is_file():
        return [folder / SINGLE_FILE]
    if not (folder / INDEX_FILE).is_file():
        raise CheckpointError(
            f"{folder / SINGLE_FILE} is missing; save the model with safe_serialization=True"
        )
    return shard_files(folder, INDEX_FILE)


def shard_files(folder: Path, index_name: str) -> list[Path]:
    """Return the shards that an index names, in order.

    Raises:
        CheckpointError: the index is unreadable, or names a missing file or another folder.
    """
    index = folder / index_name
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        paths = [Path(name) for name in sorted(names)]
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{index} is not an index of weights; copy it again") from error
    for path in paths:
        # An index is untrusted: it may only name files in its own folder.
        if path.name != str(path) or not (folder / path).is_file():
            raise CheckpointError(f"{folder / path}, named by {index.name}, is missing; copy it")
    return [folder / path for path in paths]


def check_weights(folder: Path) -> None:
    """Read every tensor, to find damaged files.

    Raises:
        CheckpointError: a file is truncated, or a tensor has a non-finite value.
    """
    for path in weight_files(folder):
        try:
            with safe_open(path, framework="pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118 - not a mapping
                    if NOT_PARAMETERS.search(name):
                        continue
                    tensor = tensors.get_tensor(name)
                    if tensor.is_floating_point() and not tensor.isfinite().all():
                        raise CheckpointError(
                            f"{path}: tensor {name} holds NaN or infinity; export the step again"
                        )
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} cannot be read ({error}); copy it again") from error


def load_model(folder: Path, *, vocabulary_size: int, device: str = "cpu") -> nn.Module:
    """Return the model of a folder in float32, in evaluation mode, without gradients.

    Args:
        folder: folder as `save_pretrained` writes it.
        vocabulary_size: size of the corpus's tokenizer; a padded model has more entries.
        device: "cpu" or "cuda".

    Raises:
        CheckpointError: a file is missing or damaged, weights are not finite or do not fit the
            configuration, or the vocabulary is too small.
    """
    import transformers

    auto: Any = transformers.AutoModelForCausalLM  # the stubs lack output_loading_info
    config = read_config(folder)
    rows = config.get("vocab_size")
    if not isinstance(rows, int) or rows < vocabulary_size:
        raise CheckpointError(
            f"{folder}: the model has vocab_size {rows}, the corpus's tokenizer {vocabulary_size} "
            "entries; use the tokenizer that the model was trained with"
        )
    check_weights(folder)
    try:
        model, report = auto.from_pretrained(
            folder,
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:  # an unknown config.json can fail anywhere in the library
        raise CheckpointError(
            f"{folder} cannot be loaded ({error}); "
            "config.json and weights are of different models or of an unknown family"
        ) from error
    invalid = sorted(report["missing_keys"]) + sorted(report["mismatched_keys"])
    if invalid:
        raise CheckpointError(
            f"{folder}: weights lack {invalid[0]} or it has another shape ({len(invalid)} in all); "
            "config.json and weights are of different models"
        )
    frozen: nn.Module = model.to(device).eval().requires_grad_(False)
    return frozen


def parameter_counts(model: Any) -> ParameterCounts:
    """Return the parameter counts of a causal language model.

    Non-embedding parameters exclude the input and output token embeddings, as published for Pythia
    (arXiv:2304.01373, table 1), and include learned position embeddings.
    """
    embeddings = [model.get_input_embeddings(), model.get_output_embeddings()]
    token_weights = {id(p): p.numel() for e in embeddings if e is not None for p in e.parameters()}
    total = sum(p.numel() for p in model.parameters())
    return ParameterCounts(total=total, nonembedding=total - sum(token_weights.values()))


def parameter_counts_from_config(folder: Path) -> ParameterCounts:
    """Return the parameter counts that `config.json` implies, without reading weights.

    Raises:
        CheckpointError: transformers has no causal language model for this configuration.
    """
    import transformers

    auto: Any = transformers.AutoModelForCausalLM
    try:
        config = transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        with torch.device("meta"):
            model = auto.from_config(config)
    except Exception as error:  # an unknown config.json can fail anywhere in the library
        raise CheckpointError(
            f"{folder / 'config.json'}: no causal language model for it ({error})"
        ) from error
    return parameter_counts(model)
