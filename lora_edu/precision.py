"""In how many bits a training computes: 32, or 16 in one of two kinds, as the device can.

bfloat16 has the range of float32 with 8 bits of a number; float16 has 11 bits and a narrow range, so that small
gradients become 0 unless the loss is scaled up first. Only the products are computed in 16 bits: what trains, and the
optimizer's numbers, stay in float32. Read `training` next.
"""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def best_precision(device: torch.device | str) -> str:
    """What to compute in on `device`: bfloat16 on a GPU that has it, float16 on an older one (a T4), else float32.

    It is the compute capability that decides, 8.0 or more: `torch.cuda.is_bf16_supported()` also says yes where
    bfloat16 is only imitated, and slow.
    """
    device = torch.device(device)
    if device.type != "cuda":
        return "float32"
    return "bfloat16" if torch.cuda.get_device_capability(device)[0] >= 8 else "float16"


def computing(device: torch.device, precision: str) -> contextlib.AbstractContextManager[Any]:
    """A block in which products are computed in `precision`. Raises ValueError for an unknown one."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision={precision!r} is none of {', '.join(PRECISIONS)}")
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=PRECISIONS[precision])


def in_precision(objective: Callable[..., Any], device: torch.device, precision: str) -> Callable[..., Any]:
    """The same objective, computed in `precision`. The backward pass follows the types of the forward pass."""
    computing(device, precision)  # checks it before anything runs
    if precision == "float32":
        return objective

    def computed(model: nn.Module, batch: Mapping[str, Tensor]) -> Any:
        with computing(device, precision):
            return objective(model, batch)

    return computed


def loss_scaler(device: torch.device, precision: str) -> torch.amp.GradScaler:
    """What scales the loss up in float16, and skips a step whose gradients overflow. In other precisions it is idle."""
    return torch.amp.GradScaler(device.type, init_scale=2.0**12, enabled=precision == "float16")
