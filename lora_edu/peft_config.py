"""`adapter_config.json`, peft's description of an adapter: read into our words, and written from them.

Every fault is one `AdapterFileError` that names the file and the setting.
"""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from torch import nn

from .family import variant_named
from .inject import lora_layers
from .other_layers import LoRAConv1D
from .variants import Variant, VeRA

CONFIG_NAME = "adapter_config.json"

# Settings of peft that we know, or that do not change what an adapter computes. Any other is refused if switched on.
_KNOWN_SETTINGS = (
    "peft_type task_type auto_mapping base_model_name_or_path revision inference_mode peft_version runtime_config "
    "r lora_alpha lora_dropout rank_pattern alpha_pattern target_modules exclude_modules layers_to_transform "
    "layers_pattern modules_to_save bias fan_in_fan_out init_lora_weights eva_config loftq_config qalora_group_size "
    "megatron_core ensure_weight_tying use_rslora use_dora "
    "vera_dropout projection_prng_key save_projection d_initial init_weights"
)
_STARTS_THAT_KEEP_THE_BASE = (True, False, None, "gaussian", "orthogonal", "eva")
_STARTS_FROM_THE_BASE = ("pissa", "olora")


class AdapterFileError(ValueError):
    """An adapter folder that cannot be used: the message says which file and what is wrong with it."""


def read_json(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise FileNotFoundError(f"no {CONFIG_NAME} in {folder}: is it an adapter's folder?")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or a number of thousands of digits
        raise AdapterFileError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(config, dict):
        raise AdapterFileError(f"{path} must hold a JSON object, not a {type(config).__name__}")
    return config


def read_config(folder: Path) -> dict[str, Any]:
    path, config = folder / CONFIG_NAME, read_json(folder)
    if config.get("peft_type") not in ("LORA", "VERA"):
        raise AdapterFileError(f"{path}: peft_type is {config.get('peft_type')!r}; only 'LORA' and 'VERA' are read")
    if config.get("bias", "none") != "none":
        raise AdapterFileError(f"{path}: bias={config['bias']!r}: trained biases are not read here, only 'none'")
    start = config.get("init_lora_weights", True)
    if not any(start is known or start == known for known in (*_STARTS_THAT_KEEP_THE_BASE, *_STARTS_FROM_THE_BASE)):
        raise AdapterFileError(
            f"{path}: init_lora_weights={start!r} changes the base model, which is not supported here"
        )
    unknown = [k for k, v in config.items() if k not in _KNOWN_SETTINGS.split() and v not in (None, False, "", [], {})]
    if unknown:
        listed = ", ".join(f"{key}={config[key]!r}" for key in unknown)
        raise AdapterFileError(f"{path} uses settings that no variant here has: {listed}")
    return config


def variant_of(config: dict[str, Any]) -> Variant:
    """The variant that a config of peft means. LoRA-FA is not in it: its files are those of plain LoRA."""
    if config["peft_type"] == "VERA":
        try:
            return VeRA(config.get("projection_prng_key", 0), config.get("d_initial", 0.1))
        except ValueError as error:
            raise AdapterFileError(f"{CONFIG_NAME}: {error} (in peft, projection_prng_key is the seed)") from None
    names = []
    for name, key in (("rslora", "use_rslora"), ("dora", "use_dora")):
        if not isinstance(config.get(key) or False, bool):
            raise AdapterFileError(f"{CONFIG_NAME}: {key}={config[key]!r} must be true or false")
        names += [name] if config.get(key) else []
    names += [start for start in _STARTS_FROM_THE_BASE if config.get("init_lora_weights") == start]
    return variant_named("+".join(names) or "lora")


def hyperparameters(config: dict[str, Any], name: str) -> tuple[int, float, float]:
    """(r, alpha, dropout) of one layer; a pattern of peft is a regular expression for the end of the name."""
    if config["peft_type"] == "VERA":
        return config.get("r"), config.get("r"), config.get("vera_dropout") or 0.0  # type: ignore[return-value]
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


def write_config(
    model: nn.Module, choices: dict[str, tuple[int, float]], variant: Variant, whole: list[str]
) -> dict[str, Any]:
    """The config of the adapter with these (r, alpha) by layer, and patterns for layers that have uncommon ones."""
    layers = lora_layers(model)
    (r, _), (alpha, _) = (Counter(column).most_common(1)[0] for column in zip(*choices.values(), strict=True))
    dropout = max(getattr(layer.dropout, "p", 0.0) for layer in layers.values())
    # peft takes a listed name for the end of a name as well; where that selects more, a regular expression does not.
    others = [name for name, _ in model.named_modules() if name not in layers]
    exact = layers.keys().isdisjoint(o.split(".", n)[n] for o in others for n in range(1, o.count(".") + 1))
    common = {
        "task_type": None,
        "base_model_name_or_path": getattr(getattr(model, "config", None), "_name_or_path", None) or None,
        "r": r,
        "target_modules": list(layers) if exact else "|".join(map(re.escape, layers)),
        "modules_to_save": whole or None,
        "bias": "none",
        "fan_in_fan_out": any(isinstance(layer, LoRAConv1D) for layer in layers.values()),
        "inference_mode": True,
    }
    if isinstance(variant, VeRA):
        return common | {
            "peft_type": "VERA",
            "vera_dropout": dropout,
            "projection_prng_key": variant.seed,
            "save_projection": True,
            "d_initial": variant.d_initial,
        }
    names = variant.name.split("+")
    return common | {
        "peft_type": "LORA",
        "lora_alpha": alpha,
        "lora_dropout": dropout,
        "rank_pattern": {f"^{re.escape(name)}": own for name, (own, _) in choices.items() if own != r},
        "alpha_pattern": {f"^{re.escape(name)}": own for name, (_, own) in choices.items() if own != alpha},
        "use_rslora": "rslora" in names,
        "use_dora": "dora" in names,
        "init_lora_weights": next((name for name in names if name in _STARTS_FROM_THE_BASE), True),
    }
