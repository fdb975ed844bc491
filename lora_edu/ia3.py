r"""IA3: one trained factor for each key, value and hidden feed-forward number (Liu et al. 2022, arXiv:2205.05638).

    K ↦ l_k ⊙ K        V ↦ l_v ⊙ V        FFN: W₂ γ(W₁x) ↦ W₂ (l_ff ⊙ γ(W₁x))

A factor on an output scales a row of the weight, a factor on an input a column: so it can be merged, exactly up to
rounding. It starts at ones, the identity. Read `bitfit` next.
"""

import copy
from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from .added import Added, training_dtype
from .adding import add, check_plain
from .layers import LoRALinear
from .other_layers import LoRAConv1D
from .targets import adapter_for, select_layers


class RescaledLayer(Added):
    """y ↦ l ⊙ (W₀x + b), with `l` (out,), or on the input, x ↦ W₀(l ⊙ x) + b, with `l` (in,)."""

    def __init__(self, base: nn.Module, on_input: bool = False) -> None:
        super().__init__(base)
        kind = adapter_for(base)
        if kind is None or not issubclass(kind, LoRALinear | LoRAConv1D) or not isinstance(base.weight, nn.Parameter):
            raise TypeError(
                f"IA3 rescales an nn.Linear or a Conv1D with a weight of its own, not a {type(base).__name__}"
            )
        self.on_input, self.transposed = on_input, issubclass(kind, LoRAConv1D)
        into, out = kind.sizes(base)
        dtype = training_dtype(base.weight)
        self.l = nn.Parameter(torch.ones(into if on_input else out, dtype=dtype, device=base.weight.device))

    def forward(self, x: Tensor) -> Tensor:
        if self.on_input:
            return cast(Tensor, self.base(self._rescaled(x)))
        return self._rescaled(cast(Tensor, self.base(x)))

    def _rescaled(self, values: Tensor) -> Tensor:
        return (values.to(self.l.dtype) * self.l).to(values.dtype)

    @property
    def weight(self) -> Tensor:
        """The effective weight: W₀ with its rows, or with its columns, multiplied by `l`."""
        W0 = cast(Tensor, self.base.weight)
        return (W0 * (self.l if self.on_input != self.transposed else self.l[:, None])).to(W0.dtype)

    @property
    def bias(self) -> Tensor | None:
        b = cast("Tensor | None", self.base.bias)
        return b if b is None or self.on_input else self._rescaled(b)

    @torch.no_grad()
    def plain(self) -> nn.Module:
        """A copy of the base with the effective weight and bias."""
        plain = copy.deepcopy(self.base)
        plain.weight = nn.Parameter(self.weight.clone())
        if self.bias is not None:
            plain.bias = nn.Parameter(self.bias.clone())
        return plain

    def describe(self) -> str:
        return f"IA3 on {'inputs' if self.on_input else 'outputs'}"


def add_ia3(
    model: nn.Module,
    targets: str | Iterable[str],
    feedforward: str | Iterable[str] = (),
    modules_to_save: str | Iterable[str] = (),
) -> nn.Module:
    """Rescale the outputs of `targets` and the inputs of `feedforward`, freeze the rest, and return the model, changed.

    In a BERT: targets=["key", "value"], feedforward=r".*layer\\.\\d+\\.output\\.dense". `merge_added` puts the factors
    into the weights.

    Args:
        targets: as in `add_lora`; linear layers whose outputs get factors.
        feedforward: linear layers whose inputs get factors: the second one of each feed-forward.
        modules_to_save: names of modules that are trained whole, such as a new head.

    Raises ValueError or TypeError, with the model as it was, if a target matches nothing or is no linear layer, a
    layer is in both, or the model has LoRA or another method.
    """
    check_plain(model)
    outputs = select_layers(model, targets) if targets or not feedforward else []
    inputs = select_layers(model, feedforward) if feedforward else []
    if both := sorted(set(outputs) & set(inputs)):
        raise ValueError(f"{both[0]!r} is selected by targets and by feedforward: rescale its outputs or its inputs")
    makers = dict.fromkeys(outputs, lambda base: RescaledLayer(base)) | dict.fromkeys(
        inputs, lambda base: RescaledLayer(base, on_input=True)
    )
    return add(model, "IA3", {"targets": outputs, "feedforward": inputs}, makers, modules_to_save)
