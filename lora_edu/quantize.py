"""Packing layers in four bits: those of a model where they stand, or one with the start of LoftQ."""

from collections.abc import Iterable
from typing import cast

import torch
from torch import nn

from .inject import replace_modules
from .qlora import NF4Linear, QLoRALinear
from .sums import best_pair
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


@torch.no_grad()
def loftq(linear: nn.Linear, r: int, alpha: float, steps: int = 1, dropout: float = 0.0) -> QLoRALinear:
    """A `QLoRALinear` whose factors start with what the packing lost (LoftQ, Li et al. 2023, arXiv:2310.08659).

    It looks for min ‖W − Q − ΔW‖_F with Q in NF4 and ΔW of rank r, in turns: Q = pack(W − ΔW), then ΔW = the best
    rank-r part of W − Q. Step 0 is nearer to W than Q alone is. Raises ValueError for steps < 1, and what the
    layer raises.
    """
    if steps < 1:
        raise ValueError(f"steps={steps} must be at least 1")
    residual = nn.Linear(linear.in_features, linear.out_features, linear.bias is not None, dtype=linear.weight.dtype)
    residual.load_state_dict(linear.state_dict())
    residual.to(linear.weight.device)
    for _ in range(steps):
        layer = QLoRALinear(residual, r, alpha, dropout)
        B, A, _ = best_pair((linear.weight - layer.W0).to(layer.A.dtype) / layer.scaling, r)
        layer.A.copy_(A)
        layer.B.copy_(B)
        residual.weight.copy_(linear.weight - layer.delta_weight())
    return layer
