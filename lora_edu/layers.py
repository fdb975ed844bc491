r"""The adapted layer: a frozen weight W₀ and two thin trained factors beside it.

    x ──┬── W₀ x + b ─────────────────┐
        │   (frozen)                  + ── h
        └── A x ── · B ── · α/r ──────┘
          (r, in)  (out, r)

This is the whole of LoRA (Hu et al. 2021, arXiv:2106.09685, §4.1). Chapter 11 builds it step by step. Read `inject`
next: it puts such layers into a model.
"""

import math
import sys
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (as in PyTorch's own documentation)


class LoRALayer(nn.Module):
    r"""What every adapted layer has in common: the factors, their start, merging.

    Attributes: `base`, the frozen layer; `A`, a parameter of shape (r, in); `B`, of shape (out, r); `scaling` =
    α/r; `dropout`, applied to the input of A in training; `merged`, whether `base` holds W₀ + ΔW at the moment.

    A subclass gives `forward`, and, where its weight is not stored as (out, in), its own `delta_weight`.
    """

    def __init__(
        self, base: nn.Module, in_features: int, out_features: int, r: int, alpha: float, dropout: float
    ) -> None:
        super().__init__()
        check_hyperparameters(in_features, out_features, r, alpha, dropout)
        weight = cast(Tensor, base.weight)
        if not weight.is_floating_point():
            raise TypeError(
                f"the base weight has dtype {weight.dtype}; LoRA trains floating-point factors beside a float weight"
            )
        if not isinstance(weight, nn.Parameter):
            raise TypeError(
                "the base weight is computed from others (weight_norm, or another parametrization), so nothing could "
                "be merged into it: remove the parametrization first"
            )
        self.base = base.requires_grad_(False)
        self.in_features, self.out_features = in_features, out_features
        self.r, self.alpha, self.scaling = r, alpha, alpha / r
        # The factors of a half-precision base are kept in float32: their updates are too small for 8 or 11 bits.
        dtype = torch.float32 if weight.dtype.itemsize < 4 else weight.dtype
        self.A = nn.Parameter(torch.empty(r, in_features, dtype=dtype, device=weight.device))
        self.B = nn.Parameter(torch.empty(out_features, r, dtype=dtype, device=weight.device))
        self.dropout = nn.Dropout(dropout) if dropout > 0 else nn.Identity()
        self._base_weight: list[nn.Parameter] = []  # W₀ while merged; in a list, so that it is not registered
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start at the identity: A uniform on ±1/√in (as loralib and peft draw it), B = 0, so ΔW = 0."""
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))
        nn.init.zeros_(self.B)

    @property
    def merged(self) -> bool:
        return bool(self._base_weight)

    @property
    def weight(self) -> Tensor:
        """The effective weight W₀ + ΔW, summed in the wider precision of the two and rounded once to that of W₀.

        It is there for code that reads `layer.weight` and does not call the layer, as `nn.MultiheadAttention` does.
        """
        weight = cast(Tensor, self.base.weight)
        return weight if self.merged else (weight + self.delta_weight()).to(weight.dtype)

    @property
    def bias(self) -> Tensor | None:
        return cast("Tensor | None", self.base.bias)

    def delta_weight(self) -> Tensor:
        """ΔW = scaling · B A, in the shape of the base weight (out, in) and the dtype of the factors."""
        return self.scaling * (self.B @ self.A)

    @torch.no_grad()
    def merge(self) -> None:
        """Put `weight`, which is W₀ + ΔW, into the base layer. Does nothing if merged.

        From here on the layer costs what its base costs. W₀ itself is kept for `unmerge`.
        """
        if self.merged:
            return
        # A new parameter, not an in-place sum: a weight that is tied to another layer leaves that layer as it is.
        merged = nn.Parameter(self.weight, requires_grad=False)
        self._base_weight = [cast(nn.Parameter, self.base.weight)]
        self.base.weight = merged

    @torch.no_grad()
    def unmerge(self) -> None:
        """Put W₀ back into the base layer, bit for bit. Does nothing if not merged."""
        if not self.merged:
            return
        weight = self._base_weight[0]
        weight.data = self._kept_weight()
        self.base.weight = weight
        self._base_weight = []

    def _kept_weight(self) -> Tensor:
        current = cast(Tensor, self.base.weight)
        return self._base_weight[0].data.to(current.device, current.dtype)  # the model may have moved meanwhile

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """As if not merged: W₀ and the factors. With W₀ + ΔW beside the factors, ΔW would count twice once loaded."""
        state = super().state_dict(*args, **kwargs)
        if self.merged:
            state[kwargs.get("prefix", "") + "base.weight"] = self._kept_weight()
        return state

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self.unmerge()  # what is loaded is W₀, and a ΔW that was merged before is not that of the new factors
        super()._load_from_state_dict(*args, **kwargs)

    def extra_repr(self) -> str:
        return f"r={self.r}, alpha={self.alpha:g}, scaling={self.scaling:g}, merged={self.merged}"


class LoRALinear(LoRALayer):
    r"""x ↦ W₀x + b + (α/r) B A x, with W₀ and b frozen (arXiv:2106.09685, Eq. 3, with the scaling of §4.1).

    Args:
        base: the `nn.Linear` to adapt, of shape (out, in). It is kept, frozen, as `base`.
        r: the rank, 1 ≤ r ≤ min(in, out): ΔW has at most this rank.
        alpha: the numerator of the scaling α/r, above 0.
        dropout: probability of dropping an input entry on the way to A, in training; 0 ≤ dropout < 1.

    Shapes: `(..., in)` ↦ `(..., out)`.

    Raises:
        TypeError: `base` is not a plain linear layer, or its weight is not a floating-point parameter, or r is not an
            integer, or alpha or dropout is not a number.
        ValueError: r, alpha or dropout is outside its range, or (in `forward`) the last axis of x is not `in`.
    """

    def __init__(self, base: nn.Linear, r: int, alpha: float, dropout: float = 0.0) -> None:
        if isinstance(base, LoRALayer):
            raise TypeError(
                f"the layer is a {type(base).__name__} already; adapt its base, or remove the adapter first"
            )
        if not isinstance(base, nn.Linear):
            raise TypeError(f"LoRALinear adapts an nn.Linear, not a {type(base).__name__}")
        super().__init__(base, base.in_features, base.out_features, r, alpha, dropout)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1:] != (self.in_features,):
            raise ValueError(f"input of shape {tuple(x.shape)}: the last axis must be in_features={self.in_features}")
        h = cast(Tensor, self.base(x))
        if self.merged:
            return h
        low = F.linear(self.dropout(x).to(self.A.dtype), self.A) * self.scaling
        return h + F.linear(low, self.B).to(h.dtype)


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
