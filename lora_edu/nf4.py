r"""NF4: four bits a weight, with levels where a normal distribution has its weights (QLoRA, arXiv:2305.14314, §3).

    W ── blocks of 64 ── / largest |w| ── nearest of 16 levels ──── codes, 4 bits a weight
                              └── blocks of 256 ── 8 bits each ──── scales, 8/64 + 32/(64·256) = 0.127 bits a weight

Pure functions on tensors. Read `qlora` next: it keeps a layer in this form.
"""

from dataclasses import dataclass
from functools import cache

import torch
from scipy.special import ndtri  # the normal quantile; scipy.stats has it too, and takes a second to load
from torch import Tensor

BLOCK, SCALE_BLOCK = 64, 256


@cache
def nf4_levels() -> Tensor:
    """The sixteen levels, from −1 to 1, float32: quantiles of the standard normal distribution, over the largest.

    Eight of them are positive, seven negative, and one is 0, so that 0 stays 0. The outermost quantile, which would be
    infinite at 1, is taken at the mean of 1 − 1/30 and 1 − 1/32, as in bitsandbytes.
    """
    outermost = ((1 - 1 / 30) + (1 - 1 / 32)) / 2
    positive = ndtri(torch.linspace(outermost, 0.5, 9, dtype=torch.float64)[:-1].numpy())
    negative = -ndtri(torch.linspace(outermost, 0.5, 8, dtype=torch.float64)[:-1].numpy())
    levels = torch.tensor(sorted([*positive, 0.0, *negative]), dtype=torch.float64)
    return (levels / levels.max()).float()


@dataclass(frozen=True)
class Packed:
    """A tensor in NF4: two codes a byte, a scale for each block of 64, in float32 or as `PackedScales`."""

    codes: Tensor
    scales: "Tensor | PackedScales"
    shape: torch.Size
    dtype: torch.dtype

    @property
    def nbytes(self) -> int:
        return self.codes.nbytes + self.scales.nbytes

    @property
    def bits_per_parameter(self) -> float:
        return 8 * self.nbytes / self.shape.numel()


@dataclass(frozen=True)
class PackedScales:
    """Double quantization: the scales less their mean, as 8-bit floats, and a float32 for each block of 256 of them."""

    values: Tensor
    largest: Tensor
    mean: Tensor

    @property
    def nbytes(self) -> int:
        return self.values.nbytes + self.largest.nbytes + self.mean.nbytes


def pack(weight: Tensor, double: bool = True) -> Packed:
    """`weight`, of any shape, in NF4; with `double`, the scales are quantized as well.

    Raises TypeError unless the weight is of a floating-point type, ValueError if it is empty or not finite.
    """
    if not weight.is_floating_point():
        raise TypeError(f"the weight has dtype {weight.dtype}; only floating-point weights are quantized")
    if not weight.numel() or not weight.isfinite().all():
        raise ValueError(f"a weight of shape {tuple(weight.shape)} must have entries, and all of them finite")
    blocks = _blocks(weight.detach().float(), BLOCK)
    scales = blocks.abs().amax(dim=1)
    packed_scales = pack_scales(scales) if double else scales
    scales = unpack_scales(packed_scales)  # the codes are those of the scales that will be used
    levels = nf4_levels().to(weight.device)
    unit = blocks / scales.where(scales > 0, 1.0)[:, None]
    codes = torch.bucketize(unit, (levels[1:] + levels[:-1]) / 2).to(torch.uint8).flatten()
    return Packed(codes[0::2] << 4 | codes[1::2], packed_scales, weight.shape, weight.dtype)


def unpack(packed: Packed) -> Tensor:
    """The tensor of a `Packed`, in its shape and dtype: level[code] · scale."""
    codes = torch.stack([packed.codes >> 4, packed.codes & 15], dim=1).view(-1, BLOCK)
    values = nf4_levels().to(codes.device)[codes.long()] * unpack_scales(packed.scales)[:, None]
    return values.flatten()[: packed.shape.numel()].view(packed.shape).to(packed.dtype)


def pack_scales(scales: Tensor) -> PackedScales:
    mean = scales.mean()
    blocks = _blocks(scales - mean, SCALE_BLOCK)
    largest = blocks.abs().amax(dim=1)
    unit = blocks / largest.where(largest > 0, 1.0)[:, None]
    values = (unit * torch.finfo(torch.float8_e4m3fn).max).to(torch.float8_e4m3fn)
    return PackedScales(values.flatten()[: len(scales)].clone(), largest, mean)


def unpack_scales(scales: Tensor | PackedScales) -> Tensor:
    """The scales in float32, none below 0."""
    if isinstance(scales, Tensor):
        return scales
    unit = _blocks(scales.values.float() / torch.finfo(torch.float8_e4m3fn).max, SCALE_BLOCK)
    return (unit * scales.largest[:, None]).flatten()[: len(scales.values)].add(scales.mean).clamp_min(0)


def _blocks(values: Tensor, size: int) -> Tensor:
    """The values in rows of `size`, the last one filled with zeros."""
    values = values.flatten()
    return torch.nn.functional.pad(values, (0, -len(values) % size)).view(-1, size)
