"""Reading an adapter folder in peft's format, and checking it against a model, before anything is changed.

Every fault is one `AdapterFileError` that names the file, the tensor or the setting. `files` uses what is here to
save and load.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from .inject import lora_layers
from .targets import list_targets

CONFIG_NAME = "adapter_config.json"
WEIGHTS_NAME = "adapter_model.safetensors"
PREFIX = "base_model.model."

# Settings of peft that do not change what a plain LoRA adapter computes. Any other that is switched on, we do not have.
_KNOWN_SETTINGS = (
    "peft_type task_type auto_mapping base_model_name_or_path revision inference_mode peft_version runtime_config "
    "r lora_alpha lora_dropout rank_pattern alpha_pattern target_modules exclude_modules layers_to_transform "
    "layers_pattern modules_to_save bias fan_in_fan_out init_lora_weights eva_config loftq_config qalora_group_size "
    "megatron_core ensure_weight_tying"
)
_STARTS_THAT_KEEP_THE_BASE = (True, False, None, "gaussian", "orthogonal", "eva")


class AdapterFileError(ValueError):
    """An adapter folder that cannot be used: the message says which file and what is wrong with it."""


def read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise FileNotFoundError(f"no {CONFIG_NAME} in {folder}: is it an adapter's folder?")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or a number of thousands of digits
        raise AdapterFileError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(config, dict):
        raise AdapterFileError(f"{path} must hold a JSON object, not a {type(config).__name__}")
    if config.get("peft_type") != "LORA":
        raise AdapterFileError(f"{path}: peft_type is {config.get('peft_type')!r}; only 'LORA' is read here")
    if config.get("bias", "none") != "none":
        raise AdapterFileError(f"{path}: bias={config['bias']!r}: trained biases are not read here, only 'none'")
    start = config.get("init_lora_weights", True)
    if not any(start is known or start == known for known in _STARTS_THAT_KEEP_THE_BASE):
        raise AdapterFileError(
            f"{path}: init_lora_weights={start!r} changes the base model, which is not supported here"
        )
    unknown = [k for k, v in config.items() if k not in _KNOWN_SETTINGS.split() and v not in (None, False, "", [], {})]
    if unknown:
        listed = ", ".join(f"{key}={config[key]!r}" for key in unknown)
        raise AdapterFileError(f"{path} uses settings that plain LoRA does not have: {listed}")
    return config


def read_tensors(folder: Path) -> dict[str, Tensor]:
    path = folder / WEIGHTS_NAME
    if not path.is_file():
        pickled = " (adapter_model.bin is a pickle, which can run code when it is read: it is never opened)"
        raise FileNotFoundError(
            f"no {WEIGHTS_NAME} in {folder}{pickled if (folder / 'adapter_model.bin').exists() else ''}"
        )
    try:
        tensors = load_file(path)
    except (SafetensorError, ValueError, OSError, KeyError, OverflowError) as error:
        raise AdapterFileError(f"{path} is not a whole safetensors file: {error}") from None
    for key, tensor in tensors.items():
        if not key.startswith(PREFIX):
            raise AdapterFileError(f"{path}: tensor {key!r} does not begin with {PREFIX!r}")
        if tensor.is_floating_point() and not tensor.float().isfinite().all():
            raise AdapterFileError(f"{path}: tensor {key!r} has entries that are not finite, or too large for float32")
    return {key.removeprefix(PREFIX): tensor for key, tensor in tensors.items()}


def sort_tensors(tensors: dict[str, Tensor]) -> tuple[dict[str, dict[str, Tensor]], dict[str, Tensor]]:
    """Factors by layer, {"A": …, "B": …}, and the tensors of modules that were trained whole."""
    factors: dict[str, dict[str, Tensor]] = {}
    others: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        for side in ("A", "B"):
            if key.endswith(f".lora_{side}.weight"):
                factors.setdefault(key.removesuffix(f".lora_{side}.weight"), {})[side] = tensor
                break
        else:
            others[key] = tensor
    if not factors:
        raise AdapterFileError(f"{WEIGHTS_NAME} holds no lora_A and lora_B tensors")
    for name, pair in factors.items():
        if len(pair) != 2:
            raise AdapterFileError(f"{WEIGHTS_NAME}: layer {name!r} has lora_{next(iter(pair))} but not its partner")
    return factors, others


def hyperparameters(config: dict[str, Any], name: str) -> tuple[int, float, float]:
    """(r, alpha, dropout) of one layer; a pattern of peft is a regular expression for the end of the name."""
    values: dict[str, Any] = {"r": config.get("r"), "lora_alpha": config.get("lora_alpha")}
    for key, patterns in (("r", "rank_pattern"), ("lora_alpha", "alpha_pattern")):
        table = config.get(patterns) or {}
        if not isinstance(table, dict):
            raise AdapterFileError(f"{CONFIG_NAME}: {patterns}={table!r} must map names to numbers")
        try:
            fitting = [value for pattern, value in table.items() if re.match(rf"(.*\.)?({pattern})$", name)]
        except re.error as error:
            raise AdapterFileError(f"{CONFIG_NAME}: {patterns} has a faulty regular expression: {error}") from None
        values[key] = fitting[0] if fitting else values[key]
    return values["r"], values["lora_alpha"], config.get("lora_dropout") or 0.0


def check_factors(
    model: nn.Module,
    config: dict[str, Any],
    factors: dict[str, dict[str, Tensor]],
    choices: dict[str, tuple[int, float, float]],
) -> None:
    """Raise AdapterFileError unless every pair of factors fits a layer, and no layer is left without one."""
    present = lora_layers(model)
    available = set(present) | set(list_targets(model))
    for name, pair in factors.items():
        if name not in available:
            raise AdapterFileError(
                f"the adapter has layer {name!r}, which the model has not, or which LoRA cannot adapt"
            )
        layer: Any = model.get_submodule(name)
        r = choices[name][0]
        for side, expected in (("A", (r, layer.in_features)), ("B", (layer.out_features, r))):
            tensor = pair[side]
            if tuple(tensor.shape) != expected:
                raise AdapterFileError(
                    f"lora_{side} of {name!r} has shape {tuple(tensor.shape)}, but {expected} is needed"
                )
            if not tensor.is_floating_point():
                raise AdapterFileError(f"lora_{side} of {name!r} has dtype {tensor.dtype}, not a floating-point one")
    listed = config.get("target_modules")
    narrowed = any(config.get(key) for key in ("exclude_modules", "layers_to_transform", "modules_to_save"))
    if isinstance(listed, list) and not narrowed:
        wanted = {n for n in available for target in listed if n == target or n.endswith(f".{target}")}
        missing = sorted(wanted - set(factors))
        if missing:
            raise AdapterFileError(f"{CONFIG_NAME} adapts {missing[0]!r}, but {WEIGHTS_NAME} has no factors for it")


def modules_named(model: nn.Module, endings: list[str]) -> list[str]:
    """Names of the modules that peft's modules_to_save means: like peft, it asks for no dot before the ending."""
    return [name for name, _ in model.named_modules() if name.endswith(tuple(endings))]


def is_inside(name: str, modules: list[str]) -> bool:
    return any(name == module or name.startswith(f"{module}.") or not module for module in modules)


def check_whole_modules(
    model: nn.Module, config: dict[str, Any], factors: Iterable[str], others: dict[str, Tensor]
) -> list[str]:
    """Names of the modules that come whole. Raise AdapterFileError unless their tensors fit and none is missing."""
    state = model.state_dict()
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
        if name not in state:
            raise AdapterFileError(f"{WEIGHTS_NAME} has a tensor {name!r}, which the model has not")
        if tensor.shape != state[name].shape or tensor.dtype.is_floating_point != state[name].dtype.is_floating_point:
            raise AdapterFileError(
                f"{name!r} has shape {tuple(tensor.shape)} and dtype {tensor.dtype}; "
                f"the model's has {tuple(state[name].shape)} and {state[name].dtype}"
            )
    for whole in names:
        for key in model.get_submodule(whole).state_dict():
            if f"{whole}.{key}" not in others:
                raise AdapterFileError(f"{CONFIG_NAME} saves module {whole!r}, but {WEIGHTS_NAME} has no {whole}.{key}")
    return names
