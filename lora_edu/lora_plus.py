"""LoRA+: the two factors learn at different speeds (Hayou et al. 2024, arXiv:2402.12354)."""

import math
from typing import Any

from torch import nn

from .inject import lora_layers


def lora_plus_groups(model: nn.Module, lr: float, ratio: float) -> list[dict[str, Any]]:
    """Groups of parameters for an optimizer: every B has the learning rate `ratio` · lr, all else that trains has lr.

    In the paper's notation η_B = λ η_A with λ = `ratio`. Its theory says Θ(1) for B and Θ(1/n) for A; λ ≈ 16 there
    goes with A = 0 and B random, and for B = 0, as here, they use 4 to 8. With ratio = 1 there is a single group.

    Raises ValueError if the ratio is not a finite number above 0, or nothing of it is a B that trains.
    """
    if not 0 < ratio < math.inf:
        raise ValueError(f"lora_plus={ratio} must be a finite number above 0")
    trained = [p for p in model.parameters() if p.requires_grad]
    if ratio == 1:
        return [{"params": trained, "lr": lr}]
    up = {
        p for layer in lora_layers(model).values() for n, p in layer.named_parameters(recurse=False) if n in ("B", "b")
    }
    groups = [[p for p in trained if p not in up], [p for p in trained if p in up]]
    if not groups[1]:
        raise ValueError(f"lora_plus={ratio}: the model has no B that trains; call add_lora first")
    return [{"params": group, "lr": lr * factor} for group, factor in zip(groups, (1, ratio), strict=True) if group]
