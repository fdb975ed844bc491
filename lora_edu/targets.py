"""Which layers of a model LoRA can adapt, and which of them a reader's `targets` selects. `inject` wraps them."""

import difflib
import re
from collections.abc import Iterable

from torch import nn

from .layers import LoRALayer, LoRALinear
from .other_layers import LoRAConv1D, LoRAConv2d, LoRAEmbedding
from .qlora import QLoRALinear

# Which layer adapts which: a new kind of layer is one more entry.
ADAPTERS: tuple[type[LoRALayer], ...] = (LoRALinear, LoRAConv1D, LoRAEmbedding, LoRAConv2d, QLoRALinear)


def list_targets(model: nn.Module, every: bool = False) -> list[str]:
    """Names of the linear layers of `model`, in the model's own order: where LoRA usually goes.

    With `every`, embeddings and convolutions too, which LoRA can adapt when they are named.
    """
    return [
        name
        for name, module in model.named_modules()
        if name
        and (adapter := adapter_for(module))
        and (every or issubclass(adapter, LoRALinear))
        and not _inside_adapter(model, name)
    ]


def select_layers(model: nn.Module, targets: str | Iterable[str]) -> list[str]:
    """Names of the layers that `targets` selects (see `add_lora`). Raises ValueError for a target that selects none."""
    available, linear = list_targets(model, every=True), list_targets(model)
    patterns = as_tuple(targets)
    if not patterns:
        raise ValueError("targets is empty: name at least one layer; list_targets(model) shows them")
    selected: set[str] = set()
    for pattern in patterns:
        found = {name for name in available if name_matches(pattern, name)}
        # An embedding has to be named: ".*" means the linear layers, as "all-linear" does in peft.
        found = {name for name in found if name in linear or _is_named(pattern, name)} or found
        if not found:
            raise ValueError(_nothing_matches(model, pattern, list(linear)))
        selected |= found
    return [name for name in available if name in selected]


def select_modules(model: nn.Module, endings: str | Iterable[str]) -> list[str]:
    """Names of the modules that `modules_to_save` means. Raises ValueError for an entry that no module's name has."""
    names, selected = [name for name, _ in model.named_modules() if name], list[str]()
    for ending in as_tuple(endings):
        found = [name for name in names if _is_named(ending, name)]
        if not found:
            raise ValueError(f"modules_to_save: no module is called {ending!r}{_did_you_mean(ending, names)}")
        selected += found
    return selected


def is_inside(name: str, modules: Iterable[str]) -> bool:
    """Whether the name is that of one of the modules, or of something in it; everything is inside the model, ""."""
    return any(name == module or name.startswith(f"{module}.") or not module for module in modules)


def as_tuple(patterns: str | Iterable[str]) -> tuple[str, ...]:
    patterns = (patterns,) if isinstance(patterns, str) else tuple(patterns)
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise TypeError(f"{pattern!r} is not the name of a layer, nor a regular expression, but of {type(pattern)}")
    return patterns


def adapter_for(module: nn.Module) -> type[LoRALayer] | None:
    return next((adapter for adapter in ADAPTERS if adapter.fits(module)), None)


def _inside_adapter(model: nn.Module, name: str) -> bool:
    parent, _, leaf = name.rpartition(".")
    return leaf == "base" and isinstance(model.get_submodule(parent), LoRALayer)


def _is_named(pattern: str, name: str) -> bool:
    return name == pattern or name.endswith("." + pattern)


def name_matches(pattern: str, name: str) -> bool:
    if _is_named(pattern, name):
        return True
    try:
        return re.fullmatch(pattern, name) is not None
    except re.error:
        return False


def _nothing_matches(model: nn.Module, pattern: str, available: list[str]) -> str:
    if adapter := adapter_for(model):
        return f"the model is itself a layer, with none inside: use {adapter.__name__}(model, r, alpha)"
    others = sorted({type(m).__name__ for name, m in model.named_modules() if name and name_matches(pattern, name)})
    if others:
        kinds = ", ".join(adapter.adapts for adapter in ADAPTERS)
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
