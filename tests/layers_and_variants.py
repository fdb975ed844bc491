"""Every layer that LoRA adapts here, and every variant, small and generic: what the invariants are tried on."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from helpers import generic
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (as in PyTorch's own documentation)
from transformers.pytorch_utils import Conv1D

from lora_edu import LoRAConv1D, LoRAConv2d, LoRAEmbedding, LoRALayer, LoRALinear, LoRAMergedConv1D, LoRAMergedLinear

DTYPES = [torch.float64, torch.float32, torch.bfloat16]
# Two roundings of the weight and one of the output, at the size of the numbers here, times a few.
TOLERANCE = {torch.float64: 1e-11, torch.float32: 2e-5, torch.bfloat16: 0.15}


@dataclass(frozen=True)
class Kind:
    """A base layer, what adapts it, and how its weight computes: dense(x, W, b) is written without lora_edu."""

    base: Callable[[], nn.Module]
    adapter: type[LoRALayer]
    x: Callable[[torch.dtype], Tensor]
    dense: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    in_peft: bool = True


def conv1d() -> nn.Module:
    layer = Conv1D(9, 7)
    nn.init.normal_(layer.bias)
    nn.init.normal_(layer.weight, std=0.4)
    return layer


def reals(*shape: int) -> Callable[[torch.dtype], Tensor]:
    return lambda dtype: generic(*shape, dtype=dtype)


def tokens(dtype: torch.dtype) -> Tensor:
    return torch.tensor([[0, 3, 7, 10, 3], [1, 2, 4, 5, 6], [8, 9, 1, 0, 2]])


def by_rows(x, W, b):
    return F.linear(x, W, b)


def by_columns(x, W, b):
    return x @ W + b


KINDS = {
    "Linear": Kind(lambda: nn.Linear(7, 5), LoRALinear, reals(3, 4, 7), by_rows),
    "Linear without bias": Kind(lambda: nn.Linear(5, 8, bias=False), LoRALinear, reals(6, 5), by_rows),
    "Conv1D": Kind(conv1d, LoRAConv1D, reals(3, 4, 7), by_columns),
    "Embedding": Kind(lambda: nn.Embedding(11, 6), LoRAEmbedding, tokens, lambda x, W, b: F.embedding(x, W)),
    "Conv2d": Kind(
        lambda: nn.Conv2d(3, 5, (3, 2), stride=2, padding=1),
        LoRAConv2d,
        reals(2, 3, 7, 6),
        lambda x, W, b: F.conv2d(x, W, b, stride=2, padding=1),
    ),
    "Conv2d with dilation": Kind(
        lambda: nn.Conv2d(3, 5, 3, dilation=2, padding="same", bias=False),
        LoRAConv2d,
        reals(2, 3, 6, 5),
        lambda x, W, b: F.conv2d(x, W, b, dilation=2, padding="same"),
        in_peft=False,
    ),
    "fused Linear": Kind(lambda: nn.Linear(7, 12), LoRAMergedLinear, reals(3, 4, 7), by_rows, in_peft=False),
    "fused Conv1D": Kind(conv1d, LoRAMergedConv1D, reals(3, 4, 7), by_columns, in_peft=False),
}
VARIANTS = [
    *("lora", "rslora", "lora-fa", "dora", "pissa", "olora", "vera"),
    *("rslora+dora", "rslora+pissa", "dora+olora", "rslora+lora-fa+dora"),
]
R = 2


def alpha_of(variant: str) -> float:
    return R if variant == "vera" else 6


def base_of(kind: str, dtype: torch.dtype = torch.float64, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return KINDS[kind].base().to(dtype)


def fresh(
    kind: str, variant: str, dtype: torch.dtype = torch.float64, dropout: float = 0.0, seed: int = 0
) -> LoRALayer:
    base = base_of(kind, dtype, seed)
    return KINDS[kind].adapter(base, R, alpha_of(variant), dropout, variant)


def shaken(layer: nn.Module, seed: int = 1) -> nn.Module:
    """As after some training: every tensor that trains has moved."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layer.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return layer


def trained_of(layer: nn.Module) -> dict[str, Tensor]:
    return {name: parameter for name, parameter in layer.named_parameters() if parameter.requires_grad}


def twin_of(layer: nn.Module) -> nn.Module:
    return copy.deepcopy(layer)


def close(left: Tensor, right: Tensor, dtype: torch.dtype, factor: float = 1.0) -> bool:
    tolerance = factor * TOLERANCE[dtype]
    return torch.allclose(left.double(), right.double(), rtol=tolerance, atol=tolerance)


class Mixed(nn.Module):
    """Token ids (batch, 4) ↦ logits (batch, 3), through a layer of every kind that can be adapted, and of one more."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(11, 6)
        self.c_attn = Conv1D(12, 6)
        self.picture = nn.Conv2d(1, 5, (2, 3), padding=1)
        self.score = nn.Linear(5, 3)

    def forward(self, ids: Tensor) -> Tensor:
        q, k, v = self.c_attn(self.tokens(ids)).chunk(3, dim=-1)
        return self.score(self.picture((torch.tanh(q * k) + v)[:, None]).tanh().mean(dim=(2, 3)))


IDS = torch.tensor([[0, 3, 7, 10], [1, 2, 4, 5], [6, 8, 9, 1]])
TARGETS = ["tokens", "c_attn", "picture", "score"]
