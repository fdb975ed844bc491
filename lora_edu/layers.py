r"""The adapted layer: a frozen weight W₀ and two thin trained factors beside it.

    x ──┬── W₀ x + b ─────────────────┐
        │   (frozen)                  + ── h
        └── A x ── · B ── · α/r ──────┘
          (r, in)  (out, r)

This is the whole of LoRA (Hu et al. 2021, arXiv:2106.09685, §4.1). Chapter 11 builds it step by step. Layers other than
`nn.Linear` are in `other_layers`, rules other than plain LoRA in `variants`. Read `inject` next.
"""

import math
from functools import reduce
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (as in PyTorch's own documentation)

from .checks import check_base, check_hyperparameters
from .family import variant_named
from .merging import Mergeable
from .variants import Variant


class LoRALayer(Mergeable):
    r"""What every adapted layer has in common: the factors, their start, the sum, merging.

    Attributes: `base`, the frozen layer; `A`, of shape (r, in); `B`, of shape (out, r); `scaling` = α/r; `dropout`,
    applied to the input of A in training; `variant`, the rule (plain LoRA by default).

    A subclass says how x meets A and B (`down`, `up`) and how its weight is stored (`as_matrix`, `as_stored`).
    """

    adapts: ClassVar[str] = ""
    mergeable: ClassVar[bool] = True
    A: Tensor
    B: Tensor
    m: Tensor  # what follows belongs to single variants
    b: Tensor
    d: Tensor
    A0: Tensor
    minus_B0: Tensor

    def __init__(
        self, base: nn.Module, r: int, alpha: float, dropout: float = 0.0, variant: str | Variant = "lora"
    ) -> None:
        super().__init__()
        if isinstance(base, LoRALayer):
            raise TypeError(
                f"the layer is a {type(base).__name__} already; adapt its base, or remove the adapter first"
            )
        self.variant = variant_named(variant)
        check_base(self, base)
        self.in_features, self.out_features = self.sizes(base)
        check_hyperparameters(self.in_features, self.out_features, r, alpha, dropout)
        self.r, self.alpha, self.scaling = r, alpha, self.variant.scaling(alpha, r)
        self.base = base
        # The factors of a half-precision base are kept in float32: their updates are too small for 8 or 11 bits.
        dtype, device = torch.float32 if self.W0.dtype.itemsize < 4 else self.W0.dtype, self.W0.device
        self.A, self.B = (nn.Parameter(torch.empty(s, dtype=dtype, device=device)) for s in self.factor_shapes())
        self.dropout = nn.Dropout(dropout) if dropout > 0 else nn.Identity()
        self.reset_parameters()
        base.requires_grad_(False)
        self.train_factors()

    def reset_parameters(self) -> None:
        """Start as the variant does. Plain LoRA starts at the identity: A random, B = 0, so ΔW = 0."""
        self.variant.start(self)

    def draw_factors(self) -> None:
        """A uniform on ±1/√in, as loralib and peft draw it, and B = 0."""
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))
        nn.init.zeros_(self.B)

    def train_factors(self) -> None:
        """Let the tensors train that the variant trains: A and B in plain LoRA."""
        for name, parameter in self.named_parameters(recurse=False):
            parameter.requires_grad_(name in self.variant.trained())

    @classmethod
    def fits(cls, base: nn.Module) -> bool:
        """Whether `base` is of the kind that is adapted, by name: `Conv1D` is known without importing transformers."""
        known = "torch.nn.modules.", "transformers.pytorch_utils"
        return any(kind.__name__ == cls.adapts and kind.__module__.startswith(known) for kind in type(base).__mro__)

    # --- geometry: a plain matrix here; what other layers do differently ------------------------------------------

    @staticmethod
    def sizes(base: nn.Module) -> tuple[int, int]:
        """(in, out) of the matrix that `base` applies."""
        raise NotImplementedError

    def factor_shapes(self) -> tuple[tuple[int, int], tuple[int, int]]:
        return (self.r, self.in_features), (self.out_features, self.r)

    def as_matrix(self, weight: Tensor) -> Tensor:
        """The stored weight as the matrix (out, in) that it is."""
        return weight

    def as_stored(self, matrix: Tensor) -> Tensor:
        """A matrix (out, in) in the shape of the stored weight: the inverse of `as_matrix`."""
        return matrix

    def enter(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.dropout(x) if self.training else x).to(self.A.dtype)

    def down(self, x: Tensor, A: Tensor) -> Tensor:
        return F.linear(x, A)

    def up(self, low: Tensor, B: Tensor) -> Tensor:
        return F.linear(low, B)

    def over_outputs(self, values: Tensor) -> Tensor:
        """One number an output, (out,), in a shape that multiplies the layer's output."""
        return values

    def adapted_rows(self) -> slice | Tensor:
        """Which rows of W the factors change: all, unless only some parts of the output are adapted."""
        return slice(None)

    def full(self, B: Tensor) -> Tensor:
        """B with a row for every output."""
        return B

    def blocks(self) -> list[tuple[slice, Tensor, Tensor]]:
        """(rows of W, A, B) for each part of the output with factors of its own: one part, unless q, k, v are fused."""
        return [(slice(None), self.A, self.B)]

    # --- the map ---------------------------------------------------------------------------------------------------

    def forward(self, x: Tensor) -> Tensor:
        h = cast(Tensor, self.base(x))
        return h if self.merged else self.update(x, h).to(h.dtype).add_(h)  # in place: the update is nobody else's

    def update(self, x: Tensor, h: Tensor) -> Tensor:
        """What the adapter adds to h = base(x): ΔW x, and in DoRA what the gain changes."""
        update = self.variant.update(self, self.enter(x))
        if (gain := self.variant.gain(self)) is None:
            return update
        gain = self.over_outputs(gain)
        plain = h if self.bias is None else h - self.over_outputs(self.bias)
        return gain * update + (gain - 1) * plain

    def delta_weight(self) -> Tensor:
        """ΔW = scaling · B A, in the shape of the base weight and the dtype of the factors."""
        return self.as_stored(reduce(torch.add, [s * (self.full(B) @ A) for s, B, A in self.variant.terms(self)]))

    @property
    def weight(self) -> Tensor:
        """The effective weight W₀ + ΔW, summed in the wider precision of the two and rounded once to that of W₀.

        It is there for code that reads `layer.weight` and does not call the layer, as `nn.MultiheadAttention` does.
        """
        if self.merged:
            return self.W0
        total = self.W0 + self.delta_weight()
        if (gain := self.variant.gain(self)) is not None:
            total = self.as_stored(gain[:, None] * self.as_matrix(total))
        return total.to(self.W0.dtype)

    def extra_repr(self) -> str:
        rule = "" if self.variant.name == "lora" else f"variant={self.variant.name!r}, "
        return f"{rule}r={self.r}, alpha={self.alpha:g}, scaling={self.scaling:g}, merged={self.merged}"


class LoRALinear(LoRALayer):
    r"""x ↦ W₀x + b + (α/r) B A x, with W₀ and b frozen (arXiv:2106.09685, Eq. 3, with the scaling of §4.1).

    Args:
        base: the `nn.Linear` to adapt, of shape (out, in). It is kept, frozen, as `base`.
        r: the rank, 1 ≤ r ≤ min(in, out): ΔW has at most this rank.
        alpha: the numerator of the scaling α/r, above 0.
        dropout: probability of dropping an input entry on the way to A, in training; 0 ≤ dropout < 1.
        variant: "lora", or another rule of `lora_edu.variants`, such as "rslora" or "rslora+dora".

    Shapes: `(..., in)` ↦ `(..., out)`.

    Raises:
        TypeError: `base` is not a plain linear layer, or its weight is not a floating-point parameter, or r is not an
            integer, or alpha or dropout is not a number.
        ValueError: r, alpha, dropout or variant is outside its range, or (in `forward`) the last axis of x is not `in`.
    """

    adapts = "Linear"

    @staticmethod
    def sizes(base: nn.Module) -> tuple[int, int]:
        return cast(int, base.in_features), cast(int, base.out_features)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1:] != (self.in_features,):
            raise ValueError(f"input of shape {tuple(x.shape)}: the last axis must be in_features={self.in_features}")
        return super().forward(x)
