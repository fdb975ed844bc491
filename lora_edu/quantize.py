"""Packing layers of a model in four bits, where they stand."""

from collections.abc import Iterable
from typing import cast

from torch import nn

from .inject import replace_modules
from .qlora import NF4Linear
from .targets import select_layers


def quantize(model: nn.Module, targets: str | Iterable[str], double: bool = True) -> nn.Module:
    """Pack the linear layers that `targets` selects (see `add_lora`) in NF4, in place. `add_lora` adapts them then.

    Raises TypeError if a target selects a layer that is no `nn.Linear`; the model is then as it was.
    """
    layers = {name: model.get_submodule(name) for name in select_layers(model, targets)}
    for name, layer in layers.items():
        if not isinstance(layer, nn.Linear):
            raise TypeError(f"{name!r}: NF4 is for linear layers here, not for {type(layer).__name__}")
    replace_modules(model, {layer: NF4Linear(cast(nn.Linear, layer), double) for layer in layers.values()})
    return model
