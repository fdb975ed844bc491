"""Putting the modules of another method into a model and taking them out: freeze the rest, remember, restore.

A model has one method at a time, LoRA or one of these. Read `added_files` next, which stores what was trained.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import nn

from .added import Added, Record, added_layers, keep_record, record_of, refuse_other_methods
from .inject import lora_layers, replace_modules
from .targets import adapter_for, is_inside, select_modules


def add(
    model: nn.Module,
    method: str,
    settings: dict[str, Any],
    makers: Mapping[str, Callable[[nn.Module], Added]],
    modules_to_save: str | Iterable[str] = (),
) -> nn.Module:
    """Replace each named module by what its maker makes of it, freeze everything else, and return the model.

    `settings` are the arguments with which the method can be applied again. Modules of `modules_to_save` are trained
    whole, and nothing is put inside them. Nothing is replaced unless everything can be.

    Raises ValueError if the model has LoRA or another method already, or a name matches nothing, and whatever a maker
    raises, with the name of its module before it. The model is then as it was.
    """
    check_plain(model)
    saved = select_modules(model, modules_to_save)
    names = [name for name in makers if not is_inside(name, saved)]
    if not names:
        raise ValueError(
            f"everything that is selected ({method}) is in one of modules_to_save, which are trained whole"
        )
    made: dict[nn.Module, Added] = {}
    for name in names:
        base = model.get_submodule(name)
        try:
            made[base] = makers[name](base)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{name!r}: {error}") from None
    kept = {
        key: [n for n in value if n in names] if isinstance(value, list) else value for key, value in settings.items()
    }
    whole = [model.get_submodule(name) for name in saved]  # now: inside a base they will have another name
    freeze(model, Record(method, kept, {}))
    replace_modules(model, made)
    for base, layer in made.items():
        own = set(layer.modules()) - set(base.modules())  # inside the base, a module may have a mode of its own
        for module in own:
            module.training = base.training
    for module in whole:
        module.requires_grad_(True)
    return model


def remove_added(model: nn.Module) -> nn.Module:
    """Take the method out again: every module is its own base, bit for bit, and trains or not as it did before.

    Modules that were trained whole keep what they learned; biases that BitFit trained do not. Raises ValueError if
    the model has none of these methods.
    """
    some_record(model)
    return _unwrap(model, {layer: layer.base for layer in added_layers(model).values()})


def merge_added(model: nn.Module) -> nn.Module:
    """Put what was trained into the weights: a plain model that computes the same, up to rounding.

    IA3 and BitFit can be merged. Raises ValueError for the others, whose work cannot be done by the weights, and if
    the model has none of these methods; the model is then as it was.
    """
    record = some_record(model)
    plain: dict[nn.Module, nn.Module] = {layer: layer.plain() for layer in added_layers(model).values()}
    record.biases.clear()  # the trained copies stay
    return _unwrap(model, plain)


def check_plain(model: nn.Module) -> None:
    """Raise ValueError if the model has LoRA or another method, or is a single layer."""
    refuse_other_methods(model)
    if lora_layers(model):
        raise ValueError("the model has LoRA layers already: remove_lora(model) first")
    if isinstance(model, Added) or adapter_for(model):
        raise ValueError(f"the model is itself a {type(model).__name__}, with no layer inside that could be replaced")


def freeze(model: nn.Module, record: Record) -> None:
    """Let nothing train, and note on the model what did."""
    record.flags = {name: p.requires_grad for name, p in model.named_parameters(remove_duplicate=False)}
    model.requires_grad_(False)
    keep_record(model, record)


def some_record(model: nn.Module) -> Record:
    record = record_of(model)
    if record is None:
        raise ValueError("the model has none of the other methods: call add_adapters, add_prefix or another one first")
    return record


def set_parameter(model: nn.Module, name: str, parameter: nn.Parameter) -> None:
    owner, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(owner), leaf, parameter)


def _unwrap(model: nn.Module, plain: Mapping[nn.Module, nn.Module]) -> nn.Module:
    record = some_record(model)
    replace_modules(model, plain)
    for name, bias in record.biases.items():
        set_parameter(model, name, bias)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(record.flags.get(name, parameter.requires_grad))
    keep_record(model, None)
    return model
