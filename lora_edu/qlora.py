r"""QLoRA: LoRA beside a base that stays in four bits (Dettmers et al. 2023, arXiv:2305.14314).

The packed weight is unpacked for each product, forward and backward, and thrown away again: beside the packed
weights, the memory holds one layer's weight at a time.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (as in PyTorch's own documentation)

from .layers import LoRALinear
from .nf4 import Packed, PackedScales, pack, unpack
from .variants import Variant


class NF4Linear(nn.Module):
    """x ↦ W x + b with W in NF4, made from an `nn.Linear`: `(..., in)` ↦ `(..., out)`. W gets no gradient, x does.

    `weight` is W unpacked, in the dtype that it had. Raises what `pack` raises.
    """

    def __init__(self, linear: nn.Linear, double: bool = True) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        packed = pack(linear.weight, double)
        self.dtype, self.quantized_twice = packed.dtype, double
        self.register_buffer("codes", packed.codes)
        scales = packed.scales
        if isinstance(scales, PackedScales):
            # As bytes: `module.to(dtype)` would convert 8-bit floats.
            self.register_buffer("scales", scales.values.view(torch.uint8))
            self.register_buffer("largest", scales.largest.view(torch.uint8))
            self.register_buffer("mean", scales.mean[None].view(torch.uint8))
        else:
            self.register_buffer("scales", scales.view(torch.uint8))
        self.bias = linear.bias

    @property
    def packed(self) -> Packed:
        codes, scales = cast(Tensor, self.codes), cast(Tensor, self.scales)
        shape = torch.Size((self.out_features, self.in_features))
        if not self.quantized_twice:
            return Packed(codes, scales.view(torch.float32), shape, self.dtype)
        largest, mean = cast(Tensor, self.largest), cast(Tensor, self.mean)
        double = PackedScales(
            scales.view(torch.float8_e4m3fn), largest.view(torch.float32), mean.view(torch.float32)[0]
        )
        return Packed(codes, double, shape, self.dtype)

    @property
    def weight(self) -> Tensor:
        return unpack(self.packed)

    def forward(self, x: Tensor) -> Tensor:
        y = cast(Tensor, _UnpackedProduct.apply(x, self))  # type: ignore[no-untyped-call]
        return y if self.bias is None else y + self.bias.to(y.dtype)

    def extra_repr(self) -> str:
        bits = self.packed.bits_per_parameter
        return f"in_features={self.in_features}, out_features={self.out_features}, bits={bits:.3f}"


class _UnpackedProduct(torch.autograd.Function):
    """x ↦ x Wᵀ, which unpacks W again for the gradient and does not keep it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: NF4Linear) -> Tensor:
        ctx.layer = layer
        return F.linear(x, layer.weight.to(x.dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] @ ctx.layer.weight.to(gradients[0].dtype), None


class QLoRALinear(LoRALinear):
    """LoRA beside an `NF4Linear`, or beside an `nn.Linear` that it packs first. The map and the rest are LoRALinear's.

    It does not merge: W₀ + ΔW would have to be rounded to four bits once more, and with it what was learned.
    """

    adapts = "NF4Linear"
    mergeable = False

    def __init__(
        self, base: nn.Module, r: int, alpha: float, dropout: float = 0.0, variant: str | Variant = "lora"
    ) -> None:
        super().__init__(NF4Linear(base) if isinstance(base, nn.Linear) else base, r, alpha, dropout, variant)

    @classmethod
    def fits(cls, base: nn.Module) -> bool:
        return isinstance(base, NF4Linear)

    def merge(self) -> None:
        raise RuntimeError(
            "the base is in 4 bits, so a merge would round ΔW away: save the adapter, and merge it into the model in "
            "full precision"
        )
