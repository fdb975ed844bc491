"""Which layers of a model LoRA can adapt, and which of them a reader's `targets` selects. `inject` wraps them."""

import difflib
import re
from collections.abc import Iterable

from torch import nn

from .layers import LoRALayer, LoRALinear

# Which layer adapts which: a new kind of layer is one more line.
ADAPTED_BY: dict[type[nn.Module], type[LoRALinear]] = {nn.Linear: LoRALinear}


def list_targets(model: nn.Module) -> list[str]:
    """Names of the layers of `model` that LoRA can adapt, in the model's own order."""
    return [
        name
        for name, module in model.named_modules()
        if name and adapter_for(module) and not _inside_adapter(model, name)
    ]


def select_layers(model: nn.Module, targets: str | Iterable[str]) -> list[str]:
    """Names of the layers that `targets` selects (see `add_lora`). Raises ValueError for a target that selects none."""
    available = list_targets(model)
    patterns = as_tuple(targets)
    if not patterns:
        raise ValueError("targets is empty: name at least one layer; list_targets(model) shows them")
    selected: set[str] = set()
    for pattern in patterns:
        found = {name for name in available if _matches(pattern, name)}
        if not found:
            raise ValueError(_nothing_matches(model, pattern, available))
        selected |= found
    return [name for name in available if name in selected]


def select_modules(model: nn.Module, pattern: str) -> list[str]:
    names = [name for name, _ in model.named_modules() if name]
    found = [name for name in names if name == pattern or name.endswith("." + pattern)]
    if not found:
        raise ValueError(f"modules_to_save: no module is called {pattern!r}{_did_you_mean(pattern, names)}")
    return found


def as_tuple(patterns: str | Iterable[str]) -> tuple[str, ...]:
    patterns = (patterns,) if isinstance(patterns, str) else tuple(patterns)
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise TypeError(f"{pattern!r} is not the name of a layer, nor a regular expression, but of {type(pattern)}")
    return patterns


def adapter_for(module: nn.Module) -> type[LoRALinear] | None:
    return next((adapter for kind, adapter in ADAPTED_BY.items() if isinstance(module, kind)), None)


def _inside_adapter(model: nn.Module, name: str) -> bool:
    parent, _, leaf = name.rpartition(".")
    return leaf == "base" and isinstance(model.get_submodule(parent), LoRALayer)


def _matches(pattern: str, name: str) -> bool:
    if name == pattern or name.endswith("." + pattern):
        return True
    try:
        return re.fullmatch(pattern, name) is not None
    except re.error:
        return False


def _nothing_matches(model: nn.Module, pattern: str, available: list[str]) -> str:
    if adapter := adapter_for(model):
        return f"the model is itself a layer, with none inside: use {adapter.__name__}(model, r, alpha)"
    others = sorted({type(m).__name__ for name, m in model.named_modules() if name and _matches(pattern, name)})
    if others:
        kinds = ", ".join(kind.__name__ for kind in ADAPTED_BY)
        return f"target {pattern!r} selects only {', '.join(others)}; LoRA here adapts {kinds}"
    return (
        f"target {pattern!r} matches none of the {len(available)} layers that LoRA can adapt"
        f"{_did_you_mean(pattern, available)}{_why_no_expression(pattern)}; list_targets(model) shows them all"
    )


def _why_no_expression(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        return f"; nor is it a regular expression ({error})"
    return ""


def _did_you_mean(pattern: str, names: Iterable[str]) -> str:
    endings = {ending for name in names for ending in (name, name.rsplit(".", 1)[-1])}
    close = difflib.get_close_matches(pattern, sorted(endings), n=3)
    return f"; close to it: {', '.join(close)}" if close else ""
