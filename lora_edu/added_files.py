"""What the other methods train, as files: a folder with its settings and its tensors, as `files` has for LoRA.

The format is our own, but for the names and the checks of the tensor file, which are those of `peft_format`.
"""

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .added import added_layers, record_of
from .adding import remove_added, some_record
from .bitfit import add_bitfit
from .bottleneck import add_adapters
from .files import write_folder
from .ia3 import add_ia3
from .peft_config import CONFIG_NAME, AdapterFileError, read_json
from .peft_format import PREFIX, WEIGHTS_NAME, read_tensors
from .prefix import add_prefix
from .prompt import add_prompt
from .whole_modules import check_fits

METHODS: dict[str, Callable[..., nn.Module]] = {
    "adapters": add_adapters,
    "prefix": add_prefix,
    "prompt": add_prompt,
    "IA3": add_ia3,
    "BitFit": add_bitfit,
}


def save_added(model: nn.Module, folder: str | os.PathLike[str]) -> Path:
    """Write all that the method trains, and whatever else trains in the model, to `folder`, which is returned.

    The files are written as `save_adapter` writes its own: whole or not at all, bit for bit, with a checksum.

    Raises ValueError if the model has none of the methods, OSError if the folder cannot be written.
    """
    record = some_record(model)
    state, parameters = model.state_dict(), dict(model.named_parameters())
    trained = {name for name, p in parameters.items() if p.requires_grad} - _own(model)
    owners = {name.rpartition(".")[0] for name in trained}
    buffers = {key for key in state if key.rpartition(".")[0] in owners and key not in parameters}
    buffers -= {name for name, _ in model.named_parameters(remove_duplicate=False)}
    tensors = {PREFIX + name: state[name] for name in sorted(_own(model) | trained | buffers)}
    return write_folder(folder, tensors, {"method": record.method, "settings": record.settings})


def load_added(model: nn.Module, folder: str | os.PathLike[str]) -> nn.Module:
    """Apply the method in `folder` to `model`, with what it learned, and return the model, changed in place.

    A plain model gets the method; one that has it, with the same settings, gets the new values. What was saved
    trains, the rest is frozen.

    Raises FileNotFoundError if a file is missing, and AdapterFileError, with the model as it was, if a file is
    damaged or does not fit the model.
    """
    folder = Path(folder)
    method, settings = _read_settings(folder)
    tensors = read_tensors(folder)
    present = record_of(model)
    if present is None:
        _check_names(model, settings)
        try:
            METHODS[method](model, **{key: _exactly(value) for key, value in settings.items()})
        except (TypeError, ValueError) as error:
            raise AdapterFileError(f"{folder}: {error}") from None
    elif (present.method, present.settings) != (method, settings):
        raise AdapterFileError(
            f"{folder} has {method} with {settings}; the model has {present.method} with {present.settings}: call "
            "remove_added(model) first"
        )
    try:
        _check(model, tensors)
    except AdapterFileError:
        if present is None:
            remove_added(model)
        raise
    model.requires_grad_(False)
    parameters, state = dict(model.named_parameters()), model.state_dict()
    with torch.no_grad():
        for name, tensor in tensors.items():
            state[name].copy_(tensor)
            if name in parameters:
                parameters[name].requires_grad_(True)
    return model


def _read_settings(folder: Path) -> tuple[str, dict[str, Any]]:
    config, path = read_json(folder), folder / CONFIG_NAME
    if "peft_type" in config:
        raise AdapterFileError(f"{path} is in peft's format, which load_adapter reads")
    method, settings = config.get("method"), config.get("settings")
    if not isinstance(method, str) or method not in METHODS or not isinstance(settings, dict):
        raise AdapterFileError(f"{path}: method={method!r} must be one of {', '.join(METHODS)}, with its settings")
    return method, settings


def _check_names(model: nn.Module, settings: dict[str, Any]) -> None:
    modules = dict(model.named_modules())
    for name in (name for value in settings.values() if isinstance(value, list) for name in value):
        if name not in modules:
            raise AdapterFileError(f"{CONFIG_NAME} has module {name!r}, which the model has not")


def _exactly(value: Any) -> Any:
    """A list of names as expressions that select these alone: "up" would select "block.up" as well."""
    return [f"(?:{re.escape(str(name))})" for name in value] if isinstance(value, list) else value


def _own(model: nn.Module) -> set[str]:
    """Names of the parameters that the method trains; one that layers share has its first name."""
    named = {name for name, _ in model.named_parameters()}
    own = {f"{layer}.{name}" for layer, module in added_layers(model).items() for name, _ in module.own_parameters()}
    copied: Iterable[str] = some_record(model).biases
    return (own | set(copied)) & named


def _check(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    state, own = model.state_dict(), _own(model)
    if missing := sorted(own - set(tensors)):
        raise AdapterFileError(f"{WEIGHTS_NAME} has no {missing[0]!r}, which the method trains")
    for name, tensor in tensors.items():
        check_fits(name, tensor, state)
