"""Adapters as files, in the format of Hugging Face's `peft`: what is saved here loads there, and the other way round.

A folder holds two files. `adapter_config.json` says what was adapted and how; `adapter_model.safetensors` holds the
tensors: `base_model.model.<layer>.lora_A.weight`, `…lora_B.weight`, and the modules that were trained whole under
their own names. Nothing is ever unpickled. Loading checks everything before it changes anything.
"""

import json
import os
import re
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from .inject import lora_layers, refuse_single_layer, wrap_layers
from .peft_format import (
    CONFIG_NAME,
    PREFIX,
    WEIGHTS_NAME,
    AdapterFileError,
    check_factors,
    check_whole_modules,
    hyperparameters,
    is_inside,
    modules_named,
    read_config,
    read_tensors,
    sort_tensors,
)


def save_adapter(model: nn.Module, folder: str | os.PathLike[str]) -> Path:
    """Write the LoRA factors of `model`, and every module that is trained whole, to `folder` in peft's format.

    Both files are written beside their final place and then renamed, so an error leaves an older adapter whole.
    Tensors are stored in their own dtype, bit for bit. A merged model is saved as if it were not merged.

    Returns the folder. Raises ValueError if the model has no LoRA layers or trains a parameter that no module of
    peft's format can hold; OSError if the folder cannot be written.
    """
    layers = lora_layers(model)
    if not layers:
        raise ValueError("the model has no LoRA layers to save: call add_lora or load_adapter first")
    refuse_single_layer(model)
    tensors: dict[str, Tensor] = {}
    for name, layer in layers.items():
        tensors[f"{PREFIX}{name}.lora_A.weight"] = layer.A
        tensors[f"{PREFIX}{name}.lora_B.weight"] = layer.B
    whole = _modules_trained_whole(model)
    for name in modules_named(model, whole):
        for key, tensor in model.get_submodule(name).state_dict().items():
            tensors[f"{PREFIX}{name}.{key}"] = tensor
    stored = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in tensors.items()}

    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; an adapter is saved as a folder")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".saving-") as scratch:
        save_file(stored, Path(scratch) / WEIGHTS_NAME, metadata={"format": "pt"})
        text = json.dumps(_config(model, whole), indent=2, sort_keys=True)
        (Path(scratch) / CONFIG_NAME).write_text(text + "\n", encoding="utf-8")
        _replace_both(Path(scratch), folder)
    return folder


def load_adapter(model: nn.Module, folder: str | os.PathLike[str]) -> nn.Module:
    """Put the adapter in `folder`, saved here or by peft, on `model`, and return the model, changed in place.

    A model without LoRA gets the layers that the files name; one that has exactly those layers gets the new values.
    Modules that were trained whole are overwritten. Afterwards nothing is merged, the factors and those modules train,
    and the rest is frozen.

    Raises FileNotFoundError if a file is missing, and AdapterFileError, with the model as it was, if a file is
    damaged, does not fit the model, or uses a setting of peft that is not plain LoRA.
    """
    folder = Path(folder)
    config = read_config(folder)
    tensors = read_tensors(folder)
    factors, others = sort_tensors(tensors)
    choices = {name: hyperparameters(config, name) for name in factors}
    present = lora_layers(model)
    check_factors(model, config, factors, choices)
    whole = check_whole_modules(model, config, factors, others)
    if present and {name: (la.r, la.alpha) for name, la in present.items()} != {n: c[:2] for n, c in choices.items()}:
        raise AdapterFileError(
            f"{folder}: the model has other LoRA layers than the adapter ({len(present)} against {len(choices)}, or "
            "another r or alpha): call remove_lora(model) first"
        )
    if not present:
        try:
            wrap_layers(model, choices)
        except (TypeError, ValueError) as error:
            raise AdapterFileError(f"{folder}: {error}") from None
    model.requires_grad_(False)
    with torch.no_grad():
        for name, layer in lora_layers(model).items():
            layer.unmerge()  # a ΔW that is merged is that of the factors until now
            layer.A.requires_grad_(True).copy_(factors[name]["A"])
            layer.B.requires_grad_(True).copy_(factors[name]["B"])
        state = model.state_dict()
        for name, tensor in others.items():
            state[name].copy_(tensor)
    for name in whole:
        model.get_submodule(name).requires_grad_(True)
    return model


def _replace_both(scratch: Path, folder: Path) -> None:
    """Rename the two files into `folder`. If the second cannot be, put the first one back as it was."""
    older = scratch / "older"
    if (folder / WEIGHTS_NAME).is_file():
        shutil.copy2(folder / WEIGHTS_NAME, older)
    os.replace(scratch / WEIGHTS_NAME, folder / WEIGHTS_NAME)
    try:
        os.replace(scratch / CONFIG_NAME, folder / CONFIG_NAME)
    except BaseException:
        if older.exists():
            shutil.move(older, folder / WEIGHTS_NAME)
        else:
            (folder / WEIGHTS_NAME).unlink()
        raise


def _config(model: nn.Module, whole: list[str]) -> dict[str, Any]:
    """The `adapter_config.json` of a model: the commonest r and alpha, and patterns for layers that have others."""
    layers = lora_layers(model)
    r = Counter(layer.r for layer in layers.values()).most_common(1)[0][0]
    alpha = Counter(layer.alpha for layer in layers.values()).most_common(1)[0][0]
    dropout = max(getattr(layer.dropout, "p", 0.0) for layer in layers.values())
    # peft takes a listed name for the end of a name as well; where that selects more, a regular expression does not.
    others = [name for name, _ in model.named_modules() if name not in layers]
    exact = not any(other.endswith(f".{name}") for name in layers for other in others)
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": getattr(getattr(model, "config", None), "_name_or_path", None) or None,
        "r": r,
        "lora_alpha": alpha,
        "lora_dropout": dropout,
        "target_modules": list(layers) if exact else "|".join(map(re.escape, layers)),
        "rank_pattern": {f"^{re.escape(name)}": layer.r for name, layer in layers.items() if layer.r != r},
        "alpha_pattern": {f"^{re.escape(name)}": la.alpha for name, la in layers.items() if la.alpha != alpha},
        "modules_to_save": whole or None,
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
        "use_dora": False,
        "init_lora_weights": True,
        "inference_mode": True,
    }


def _modules_trained_whole(model: nn.Module) -> list[str]:
    """Names of the largest modules all of whose parameters train, and of those that own another one that trains."""
    layers = lora_layers(model)
    whole: list[str] = []
    for name, module in model.named_modules():
        trains = [parameter.requires_grad for parameter in module.parameters()]
        if name and trains and all(trains) and not is_inside(name, whole):
            whole.append(name)
    for name, parameter in model.named_parameters():
        owner, _, leaf = name.rpartition(".")
        if not parameter.requires_grad or is_inside(name, whole) or (owner in layers and leaf in ("A", "B")):
            continue
        if any(is_inside(layer, [owner]) or is_inside(owner, [layer]) for layer in layers):
            raise ValueError(
                f"parameter {name!r} trains, but peft's format has no place for it: freeze it, or save the model whole"
            )
        whole.append(owner)
    return whole
