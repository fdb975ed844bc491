"""Adapters as files, in the format of Hugging Face's `peft`: what is saved here loads there, and the other way round.

A folder holds two files. `adapter_config.json` says what was adapted and how (see `peft_config`);
`adapter_model.safetensors` holds the tensors (see `peft_format`), and the modules that were trained whole under their
own names. Nothing is ever unpickled. Loading checks everything before it changes anything.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from .checkpoints import fingerprint
from .inject import lora_layers, refuse_single_layer, wrap_layers
from .peft_config import CONFIG_NAME, AdapterFileError, hyperparameters, read_config, variant_of, write_config
from .peft_format import (
    CHECKSUM,
    PREFIX,
    SHARED,
    WEIGHTS_NAME,
    check_factors,
    check_shared,
    file_names,
    file_shapes,
    read_tensors,
    sort_tensors,
)
from .stored_form import StoredForm, compact, shared_pair, stored_form
from .whole_modules import check_whole_modules, modules_named, modules_trained_whole


def save_adapter(model: nn.Module, folder: str | os.PathLike[str], plain: bool = False) -> Path:
    """Write the adapter of `model`, and every module that is trained whole, to `folder` in peft's format.

    Both files are written beside their final place and then renamed, so an error leaves an older adapter whole.
    Tensors are stored in their own dtype, bit for bit, with a checksum. A merged model is saved as if it were not
    merged.

    With `plain`, the same update is written as plain LoRA: PiSSA and OLoRA as rank 2r. Without it, whoever reads such
    a file has to make their start anew from the base. Layers of which parts are adapted are always written so.

    Returns the folder. Raises ValueError if the model has no LoRA layers or trains a parameter that no module of
    peft's format can hold, or its layers follow different variants, or `plain` is asked of DoRA, whose update has
    no low rank; OSError if the folder cannot be written.
    """
    layers = lora_layers(model)
    if not layers:
        raise ValueError("the model has no LoRA layers to save: call add_lora or load_adapter first")
    refuse_single_layer(model)
    forms = {name: stored_form(name, layer, plain) for name, layer in layers.items()}
    if len(variants := {form.variant.name for form in forms.values()}) > 1:
        raise ValueError(f"the layers follow different variants, {' and '.join(sorted(variants))}: a file has one")
    variant = next(iter(forms.values())).variant
    tensors: dict[str, Tensor] = {}
    for name, form in forms.items():
        shapes = file_shapes(layers[name].base, form.r)
        for ours, theirs in file_names(layers[name].base, variant).items():
            tensors[f"{PREFIX}{name}.{theirs}"] = form.tensors[ours].reshape(shapes[ours])
    if variant.name == "vera":
        tensors |= dict(zip(SHARED.values(), shared_pair(layers), strict=True))
    whole = modules_trained_whole(model)
    for name in modules_named(model, whole):
        for key, tensor in model.get_submodule(name).state_dict().items():
            tensors[f"{PREFIX}{name}.{key}"] = tensor
    config = write_config(model, {name: (form.r, form.alpha) for name, form in forms.items()}, variant, whole)
    return write_folder(folder, tensors, config)


def write_folder(folder: str | os.PathLike[str], tensors: Mapping[str, Tensor], config: dict[str, Any]) -> Path:
    """Write tensors, with a checksum, and their config to `folder`, both or neither, and return it."""
    stored = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in tensors.items()}
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; an adapter is saved as a folder")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".saving-") as scratch:
        content = save(stored, {"format": "pt", CHECKSUM: fingerprint(stored)})
        (Path(scratch) / WEIGHTS_NAME).write_bytes(_in_order(content))
        text = json.dumps(config, indent=2, sort_keys=True)
        (Path(scratch) / CONFIG_NAME).write_text(text + "\n", encoding="utf-8")
        _replace_both(Path(scratch), folder)
    return folder


def load_adapter(model: nn.Module, folder: str | os.PathLike[str]) -> nn.Module:
    """Put the adapter in `folder`, saved here or by peft, on `model`, and return the model, changed in place.

    A model without LoRA gets the layers that the files name; one that has exactly those layers gets the new values.
    Modules that were trained whole are overwritten. Afterwards nothing is merged, what the variant trains and those
    modules train, and the rest is frozen.

    Raises FileNotFoundError if a file is missing, and AdapterFileError, with the model as it was, if a file is
    damaged, does not fit the model, or uses a setting of peft that no variant here has.
    """
    folder = Path(folder)
    config = read_config(folder)
    variant = variant_of(config)
    tensors = read_tensors(folder)
    factors, others = sort_tensors(model, tensors, variant)
    choices = {name: hyperparameters(config, name) for name in factors}
    present = lora_layers(model)
    check_factors(model, config, factors, choices, variant)
    shared = check_shared(model, config, tensors, factors)
    whole = check_whole_modules(model, config, factors, others)
    if present:
        forms = {name: stored_form(name, layer) for name, layer in present.items()}
        if _described(forms) != {name: (variant.name, r, alpha) for name, (r, alpha, _) in choices.items()}:
            raise AdapterFileError(
                f"{folder}: the model has other LoRA layers than the adapter ({len(present)} against {len(choices)}, "
                "or another r or alpha or variant): call remove_lora(model) first"
            )
        factors = {name: compact(name, present[name], own) for name, own in factors.items()}
    else:
        try:
            wrap_layers(model, choices, variant)
        except (TypeError, ValueError) as error:
            raise AdapterFileError(f"{folder}: {error}") from None
    model.requires_grad_(False)
    with torch.no_grad():
        for name, layer in lora_layers(model).items():
            layer.unmerge()  # a ΔW that is merged is that of the factors until now
            for ours, tensor in factors[name].items():
                own = getattr(layer, ours)
                own.copy_(tensor.reshape(own.shape))
            for ours, tensor in shared.items():
                own = getattr(layer, ours)
                own.copy_(tensor[: own.shape[0], : own.shape[1]])
            layer.train_factors()
        state = model.state_dict() if others else {}
        for name, tensor in others.items():
            state[name].copy_(tensor)
    for name in whole:
        model.get_submodule(name).requires_grad_(True)
    return model


def _described(forms: dict[str, StoredForm]) -> dict[str, tuple[str, int, float]]:
    return {name: (form.variant.name, form.r, form.alpha) for name, form in forms.items()}


def _in_order(data: bytes) -> bytes:
    """Sort the header, whose metadata safetensors writes in any order: the same adapter is the same file."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:end]), separators=(",", ":"), sort_keys=True).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[end:]


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
