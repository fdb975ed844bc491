"""Putting LoRA into a model, and taking it out: find the layers, wrap them, freeze the rest, count.

A model is any `nn.Module`. It is changed in place: each chosen layer is replaced by a `LoRALayer` that holds it.
Read `files` next, which stores the trained part.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from torch import nn

from .added import added_layers, refuse_other_methods
from .family import variant_named
from .layers import LoRALayer
from .other_layers import merged_layer
from .targets import adapter_for, is_inside, select_layers, select_modules
from .variants import Variant

_FLAGS = "_requires_grad_before_lora"  # on the model: name → requires_grad, for `remove_lora`


def add_lora(
    model: nn.Module,
    targets: str | Iterable[str],
    r: int,
    alpha: float,
    dropout: float = 0.0,
    modules_to_save: str | Iterable[str] = (),
    variant: str | Variant = "lora",
    parts: Sequence[bool] | None = None,
) -> nn.Module:
    """Adapt the layers that `targets` selects, freeze everything else, and return the model, changed in place.

    Args:
        model: any module; its layers are replaced where they stand.
        targets: one or several of: a layer's full name, the end of it ("query", "attention.self.query"), or a regular
            expression for the whole name (r".*layer\\.[0-3]\\..*query"). An expression means linear layers; embeddings
            and convolutions are adapted when they are named, or are all that it matches.
        r, alpha, dropout: as in `LoRALinear`.
        modules_to_save: names (or ends of names) of modules that are trained whole, such as a new task head. They
            are saved with the adapter, under the name that peft gives this, and are not adapted even if `targets`
            selects them.
        variant: "lora", or another rule of `lora_edu.variants`, such as "dora" or "rslora+dora".
        parts: for layers whose output is several parts side by side, which of them to adapt: (True, False, True) is q
            and v of a fused q, k, v. See `LoRAMergedLinear`.

    Raises:
        ValueError: the model has LoRA already; a target or a module to save matches nothing; r, alpha, dropout,
            variant or parts does not fit one of the layers. The model is then as it was.
        TypeError: a selected layer has a weight that is no floating-point parameter; an argument has the wrong type.
    """
    if lora_layers(model):
        raise ValueError("the model has LoRA layers already: remove_lora(model) first, or add all targets in one call")
    saved = select_modules(model, modules_to_save)
    names = [name for name in select_layers(model, targets) if not is_inside(name, saved)]
    if not names:
        raise ValueError(
            f"every layer that targets={targets!r} selects is one of modules_to_save, which are trained whole"
        )
    wrap_layers(model, {name: (r, alpha, dropout) for name in names}, variant, parts)
    for name in saved:
        model.get_submodule(name).requires_grad_(True)
    return model


def remove_lora(model: nn.Module) -> nn.Module:
    """Take all LoRA layers out again: every adapted layer is its own base, bit for bit, merged or not before.

    Parameters train or not as they did before `add_lora`. Modules that were trained whole keep what they learned.
    Raises ValueError if the model has no LoRA layers.
    """
    refuse_single_layer(model)
    unmerge(model)
    return _unwrap(model)


def merge_and_unload(model: nn.Module) -> nn.Module:
    """Merge every update into its layer and drop the factors: a plain model that computes what the adapted one did."""
    refuse_single_layer(model)
    merge(model)
    return _unwrap(model)


def merge(model: nn.Module) -> nn.Module:
    """Merge every LoRA layer of the model (see `LoRALayer.merge`).

    Raises ValueError if there is none, RuntimeError if one has its base in four bits; nothing is merged then.
    """
    for layer in sorted(_some_lora_layers(model).values(), key=lambda layer: layer.mergeable):  # who refuses, first
        layer.merge()
    return model


def unmerge(model: nn.Module) -> nn.Module:
    """Undo `merge`, bit for bit. Raises ValueError if the model has no LoRA layers."""
    for layer in _some_lora_layers(model).values():
        layer.unmerge()
    return model


def lora_layers(model: nn.Module) -> dict[str, LoRALayer]:
    """The LoRA layers of a model by name; empty if there are none."""
    return {name: module for name, module in model.named_modules() if isinstance(module, LoRALayer)}


def adapter_parameters(model: nn.Module) -> Iterator[nn.Parameter]:
    """What each LoRA layer trains, A and B in plain LoRA, in the model's order: what an optimizer is given.

    With another method (see `added`), what its modules train.
    """
    for layer in lora_layers(model).values():
        for name in layer.variant.trained():
            yield layer.get_parameter(name)
    yield from dict.fromkeys(p for module in added_layers(model).values() for _, p in module.own_parameters())


def wrap_layers(
    model: nn.Module,
    choices: dict[str, tuple[int, float, float]],
    variant: str | Variant = "lora",
    parts: Sequence[bool] | None = None,
) -> None:
    """Replace each named layer by a LoRA layer with its own (r, alpha, dropout), and freeze all that is not a factor.

    Nothing is replaced unless every layer can be.
    """
    refuse_other_methods(model)
    # With the second names too: a tied weight that is merged and unloaded is a parameter of its own.
    flags = {name: p.requires_grad for name, p in model.named_parameters(remove_duplicate=False)}
    wrapped: dict[nn.Module, LoRALayer] = {}
    variant = variant_named(variant)
    try:
        for name, (r, alpha, dropout) in choices.items():
            base = model.get_submodule(name)
            adapter = adapter_for(base)
            if adapter is None:
                raise TypeError(f"LoRA cannot adapt a {type(base).__name__}")
            if parts is None:
                wrapped[base] = adapter(base, r, alpha, dropout, variant)
            else:
                wrapped[base] = merged_layer(adapter)(base, r, alpha, dropout, variant, parts)
        variant.share(list(wrapped.values()))
    except Exception as error:
        for parameter_name, parameter in model.named_parameters():
            parameter.requires_grad_(flags[parameter_name])
        if isinstance(error, TypeError | ValueError):
            raise type(error)(f"{name!r}: {error}") from None
        raise
    model.requires_grad_(False)
    replace_modules(model, {base: layer.train(base.training) for base, layer in wrapped.items()})
    setattr(model, _FLAGS, flags)


def refuse_single_layer(model: nn.Module) -> None:
    if isinstance(model, LoRALayer):
        raise ValueError(f"the model is itself a {type(model).__name__}, not one that holds such layers: see its .base")


def _unwrap(model: nn.Module) -> nn.Module:
    replace_modules(model, {layer: layer.base for layer in _some_lora_layers(model).values()})
    flags = take_flags(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(flags.get(name, parameter.requires_grad))
    return model


def replace_modules(model: nn.Module, changes: Mapping[nn.Module, nn.Module]) -> None:
    """Put each new module wherever its old one is registered: a layer that is shared by two parents stays shared."""
    for parent in list(model.modules()):  # the new ones are not among them, so a base inside its adapter stays
        for name, child in list(parent._modules.items()):  # named_children() would skip a second name for one child
            if child is not None and child in changes:
                setattr(parent, name, changes[child])


def take_flags(model: nn.Module) -> dict[str, bool]:
    """Which parameters required a gradient before `add_lora`, forgotten by the model."""
    flags: dict[str, bool] = vars(model).pop(_FLAGS, {})
    return flags


def _some_lora_layers(model: nn.Module) -> dict[str, LoRALayer]:
    layers = lora_layers(model)
    if not layers:
        raise ValueError("the model has no LoRA layers: call add_lora or load_adapter first")
    return layers
