"""LoRA beside layers that are no plain `nn.Linear`: each is a matrix W of shape (out, in) all the same.

    layer               W x means                                 W is stored as
    Conv1D of GPT-2     a linear map                              (in, out)
    Embedding           the column of W with the number x         (in, out): one row a token
    Conv2d              W times each patch of the picture x       (out, channels, height, width)
    fused q, k, v       three linear maps side by side            (3·out, in), or Conv1D's (in, 3·out)

So A is (r, in) and B is (out, r) in all of them, and every variant works beside every layer.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (as in PyTorch's own documentation)

from .layers import LoRALayer, LoRALinear
from .variants import Variant


class LoRAConv1D(LoRALinear):
    """Beside the `Conv1D` of GPT-2, which is a linear layer that keeps its weight transposed."""

    adapts = "Conv1D"

    @staticmethod
    def sizes(base: nn.Module) -> tuple[int, int]:
        return cast("tuple[int, int]", tuple(cast(Tensor, base.weight).shape))

    def as_matrix(self, weight: Tensor) -> Tensor:
        return weight.T

    def as_stored(self, matrix: Tensor) -> Tensor:
        return matrix.T


class LoRAEmbedding(LoRALayer):
    """Beside an `nn.Embedding`: x is a token's number, so A x is a column of A. It starts with A = 0 and B random.

    Raises ValueError for an embedding with `max_norm`, which changes its weight as it is read, and TypeError for one
    that has a forward pass of its own.
    """

    adapts = "Embedding"

    @staticmethod
    def sizes(base: nn.Module) -> tuple[int, int]:
        if base.max_norm is not None:
            raise ValueError(f"max_norm={base.max_norm} changes the weight in every forward pass: LoRA needs it frozen")
        if type(base).forward is not nn.Embedding.forward:
            raise TypeError(f"{type(base).__name__} has a forward pass of its own, which LoRA here does not know")
        return cast("tuple[int, int]", tuple(cast(Tensor, base.weight).shape))

    def draw_factors(self) -> None:
        nn.init.zeros_(self.A)
        nn.init.normal_(self.B)

    def as_matrix(self, weight: Tensor) -> Tensor:
        return weight.T

    def as_stored(self, matrix: Tensor) -> Tensor:
        return matrix.T

    def enter(self, x: Tensor) -> Tensor:
        return x  # numbers of tokens: there is nothing to drop

    def down(self, x: Tensor, A: Tensor) -> Tensor:
        return F.embedding(x, A.T, padding_idx=cast(nn.Embedding, self.base).padding_idx)


class LoRAConv2d(LoRALayer):
    """Beside an `nn.Conv2d`: A is a convolution with r outputs, B one of 1 × 1. Here in = channels · height · width.

    Raises ValueError for grouped convolutions: they are several matrices, not one.
    """

    adapts = "Conv2d"

    @staticmethod
    def sizes(base: nn.Module) -> tuple[int, int]:
        if base.groups != 1:
            raise ValueError(f"groups={base.groups}: a grouped convolution is {base.groups} matrices, not one")
        weight = cast(Tensor, base.weight)
        return weight[0].numel(), len(weight)

    def as_matrix(self, weight: Tensor) -> Tensor:
        return weight.flatten(1)

    def as_stored(self, matrix: Tensor) -> Tensor:
        return matrix.reshape(-1, *self.W0.shape[1:])

    def down(self, x: Tensor, A: Tensor) -> Tensor:
        # The base's own method, for its stride, padding (circular too) and dilation.
        return cast(Tensor, cast(nn.Conv2d, self.base)._conv_forward(x, self.as_stored(A), None))

    def up(self, low: Tensor, B: Tensor) -> Tensor:
        return F.conv2d(low, B[:, :, None, None])

    def over_outputs(self, values: Tensor) -> Tensor:
        return values[:, None, None]


class LoRAMergedLinear(LoRALinear):
    r"""Beside a layer whose output is several parts side by side, such as q, k and v: factors for some parts alone.

    `parts` says which: (True, False, True) adapts q and v. Each adapted part i has its own A_i (r, in) and B_i
    (out/n, r); they are kept one above the other in A and B, and ΔW is zero in the rows of the others. The idea is
    that of loralib's MergedLinear. Raises ValueError unless the parts divide the output, and one is adapted.
    """

    def __init__(
        self,
        base: nn.Module,
        r: int,
        alpha: float,
        dropout: float = 0.0,
        variant: str | Variant = "lora",
        parts: Sequence[bool] = (True, False, True),
    ) -> None:
        self.parts = tuple(bool(part) for part in parts)
        super().__init__(base, r, alpha, dropout, variant)

    def factor_shapes(self) -> tuple[tuple[int, int], tuple[int, int]]:
        if not any(self.parts) or self.out_features % len(self.parts):
            raise ValueError(
                f"parts={self.parts}: at least one must be True, and {len(self.parts)} parts must divide the "
                f"{self.out_features} outputs"
            )
        size, count = self.out_features // len(self.parts), sum(self.parts)
        if self.r > size:
            raise ValueError(f"rank r={self.r} exceeds the {size} outputs of one part: no ΔW has that rank")
        return (count * self.r, self.in_features), (count * size, self.r)

    def adapted_rows(self) -> Tensor:
        size = self.out_features // len(self.parts)
        return torch.tensor(self.parts, device=self.B.device).repeat_interleave(size).nonzero().flatten()

    def full(self, B: Tensor) -> Tensor:
        size, count = self.out_features // len(self.parts), sum(self.parts)
        diagonal = torch.block_diag(*torch.split(B, size))  # type: ignore[no-untyped-call]
        return B.new_zeros(self.out_features, count * self.r).index_copy(0, self.adapted_rows(), diagonal)

    def blocks(self) -> list[tuple[slice, Tensor, Tensor]]:
        size = self.out_features // len(self.parts)
        rows = [slice(i * size, (i + 1) * size) for i, adapted in enumerate(self.parts) if adapted]
        return list(zip(rows, torch.split(self.A, self.r), torch.split(self.B, size), strict=True))


class LoRAMergedConv1D(LoRAMergedLinear, LoRAConv1D):
    """The same beside a `Conv1D`: GPT-2 computes q, k and v with one, `c_attn`."""


def merged_layer(adapter: type[LoRALayer]) -> type[LoRAMergedLinear]:
    """The layer that adapts parts of what `adapter` adapts whole. Raises TypeError if there is none."""
    if adapter not in (LoRALinear, LoRAConv1D):
        raise TypeError(f"parts are for a fused linear layer, not for an {adapter.adapts}")
    return LoRAMergedLinear if adapter is LoRALinear else LoRAMergedConv1D
