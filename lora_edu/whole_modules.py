"""Modules that are trained whole beside the factors, such as a new head: found, and checked against a file."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from .inject import lora_layers
from .peft_config import CONFIG_NAME, AdapterFileError
from .peft_format import WEIGHTS_NAME
from .targets import is_inside


def modules_named(model: nn.Module, endings: list[str]) -> list[str]:
    """Names of the modules that peft's modules_to_save means: like peft, it asks for no dot before the ending."""
    return [name for name, _ in model.named_modules() if name.endswith(tuple(endings))]


def check_whole_modules(
    model: nn.Module, config: dict[str, Any], factors: Iterable[str], others: dict[str, Tensor]
) -> list[str]:
    """Names of the modules that come whole. Raise AdapterFileError unless their tensors fit and none is missing."""
    state = model.state_dict() if others else {}
    listed = config.get("modules_to_save") or []
    if not isinstance(listed, list) or not all(isinstance(entry, str) and entry for entry in listed):
        raise AdapterFileError(f"{CONFIG_NAME}: modules_to_save={listed!r} must be a list of names")
    names = modules_named(model, listed)
    for layer in factors:
        if is_inside(layer, names):
            raise AdapterFileError(f"{layer!r} has factors, but {CONFIG_NAME} says that it is trained whole")
    for name, tensor in others.items():
        if not is_inside(name, names):
            raise AdapterFileError(f"{WEIGHTS_NAME} has a tensor {name!r} that belongs to no module of the model")
        check_fits(name, tensor, state)
    for whole in names:
        for key in model.get_submodule(whole).state_dict():
            if f"{whole}.{key}" not in others:
                raise AdapterFileError(f"{CONFIG_NAME} saves module {whole!r}, but {WEIGHTS_NAME} has no {whole}.{key}")
    return names


def check_fits(name: str, tensor: Tensor, state: Mapping[str, Tensor]) -> None:
    """Raise AdapterFileError unless the model's state has a tensor of this name, shape and kind of number."""
    if name not in state:
        raise AdapterFileError(f"{WEIGHTS_NAME} has a tensor {name!r}, which the model has not")
    if tensor.shape != state[name].shape or tensor.dtype.is_floating_point != state[name].dtype.is_floating_point:
        raise AdapterFileError(
            f"{name!r} has shape {tuple(tensor.shape)} and dtype {tensor.dtype}; "
            f"the model's has {tuple(state[name].shape)} and {state[name].dtype}"
        )


def modules_trained_whole(model: nn.Module) -> list[str]:
    """Names of the largest modules all of whose parameters train, and of those that own another one that trains."""
    layers = lora_layers(model)
    holds: dict[bool, set[str]] = {True: set(), False: set()}  # modules in which something trains, is frozen
    for name, parameter in model.named_parameters(remove_duplicate=False):
        parts = name.split(".")
        holds[parameter.requires_grad].update(".".join(parts[:n]) for n in range(1, len(parts)))
    whole: list[str] = []
    for name, _ in model.named_modules():
        if name in holds[True] and name not in holds[False] and not is_inside(name, whole):
            whole.append(name)
    for name, parameter in model.named_parameters():
        owner, _, leaf = name.rpartition(".")
        if (
            not parameter.requires_grad
            or is_inside(name, whole)
            or (owner in layers and leaf in layers[owner].variant.trained())
        ):
            continue
        if any(is_inside(layer, [owner]) or is_inside(owner, [layer]) for layer in layers):
            raise ValueError(
                f"parameter {name!r} trains, but peft's format has no place for it: freeze it, or save the model whole"
            )
        whole.append(owner)
    return whole
