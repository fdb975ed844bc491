"""What a LoRA layer and a training ask of their arguments: each fault is one sentence with the values."""

import math
import sys
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from .layers import LoRALayer


def check_base(layer: "LoRALayer", base: nn.Module) -> None:
    """Raise TypeError unless `base` is of the kind that `layer` adapts, with a floating-point weight of its own."""
    if not layer.fits(base):
        where = "" if layer.adapts in ("Conv1D", "NF4Linear") else "nn."
        raise TypeError(f"{type(layer).__name__} adapts an {where}{layer.adapts}, not a {type(base).__name__}")
    weight = base.weight
    if not isinstance(weight, Tensor) or not weight.is_floating_point():
        raise TypeError(
            f"the base weight has dtype {getattr(weight, 'dtype', None)}; LoRA trains floating-point factors beside a "
            "float weight"
        )
    if layer.mergeable and not isinstance(weight, nn.Parameter):
        raise TypeError(
            "the base weight is computed from others (weight_norm, or another parametrization), so nothing could "
            "be merged into it: remove the parametrization first"
        )


def check_hyperparameters(in_features: int, out_features: int, r: int, alpha: float, dropout: float) -> None:
    """Raise TypeError or ValueError, with the values, unless LoRA of rank r fits a layer of shape (out, in)."""
    if isinstance(r, bool) or not isinstance(r, int):
        raise TypeError(f"rank r={r!r} must be an integer, not {type(r).__name__}")
    if r < 1:
        raise ValueError(f"rank r={r} must be at least 1")
    if r > min(in_features, out_features):
        raise ValueError(
            f"rank r={r} exceeds min(in_features, out_features)={min(in_features, out_features)}: no ΔW has that rank"
        )
    for name, value in (("alpha", alpha), ("dropout", dropout)):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{name}={value!r} must be a number, not {type(value).__name__}")
    if not 0 < alpha <= sys.float_info.max:
        raise ValueError(f"alpha={alpha} must be a finite number above 0: the update is scaled by alpha/r")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout={dropout} must be at least 0 and below 1")


def check_training(
    epochs: int, batch_size: int, lr: float, warmup: float, max_grad_norm: float, checkpoint_every: int
) -> None:
    """Raise ValueError, with the value, unless the numbers of a training are in their range."""
    for name, value in (("epochs", epochs), ("batch_size", batch_size), ("checkpoint_every", checkpoint_every)):
        if value < 1:
            raise ValueError(f"{name}={value} must be at least 1")
    if not 0 < lr < math.inf:
        raise ValueError(f"lr={lr} must be a finite number above 0")
    if not 0 <= warmup <= 1:
        raise ValueError(f"warmup={warmup} is a share of the steps: it must be between 0 and 1")
    if not max_grad_norm > 0:
        raise ValueError(f"max_grad_norm={max_grad_norm} must be above 0; math.inf leaves gradients as they are")
