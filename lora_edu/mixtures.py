"""What stands in a layer's place while several adapters are in use at once: a weighted sum, or one for each row.

Both keep the base and the adapters' own layers beside it, so nothing is computed in advance and every variant will do.
`bank` puts them in and takes them out.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from .layers import LoRALayer, LoRALinear
from .sums import change
from .targets import adapter_for


class Mixture(nn.Module):
    """x ↦ base(x) + Σ wᵢ uᵢ(x), where uᵢ is what adapter i adds alone. The sum is exact: nothing is truncated."""

    def __init__(self, parts: Sequence[tuple[float, LoRALayer]]) -> None:
        super().__init__()
        self.base = parts[0][1].base
        self._parts = list(parts)  # not registered: they share the base, and belong to the bank

    def forward(self, x: Tensor) -> Tensor:
        h = cast(Tensor, self.base(x))
        return h + torch.stack([weight * layer.update(x, h) for weight, layer in self._parts]).sum(0).to(h.dtype)

    @property
    def weight(self) -> Tensor:
        """W₀ + Σ wᵢ (Wᵢ − W₀), for code that reads it and does not call the layer."""
        first = self._parts[0][1]
        total = torch.stack([weight * change(layer) for weight, layer in self._parts]).sum(0)
        return (first.W0 + first.as_stored(total)).to(first.W0.dtype)

    @property
    def bias(self) -> Tensor | None:
        return self._parts[0][1].bias


class Rows(nn.Module):
    """Each row of a batch through a layer of its own: `which[i]` is the number of the layer, -1 for the plain one.

    Where all are `LoRALinear` with no gain, their factors are stacked and all rows are computed in two batched
    products, as S-LoRA (arXiv:2311.03285) and Punica (arXiv:2310.18547) do on a GPU. Else one layer after another
    takes its rows. It is for use, not for training: there is no dropout, and stacked factors get no gradient.
    """

    def __init__(self, plain: nn.Module, layers: Sequence[nn.Module], which: Sequence[int]) -> None:
        super().__init__()
        self.plain = plain
        self._layers = [layer.eval() for layer in layers]
        self._which = list(which)
        self._stacked = _stack(self._layers)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim < 1 or len(x) != len(self._which):
            raise ValueError(f"input of shape {tuple(x.shape)}: the batch was said to have {len(self._which)} rows")
        h = cast(Tensor, self.plain(x))
        which = torch.tensor(self._which, device=h.device)
        if self._stacked is not None:
            A, B = (factor.to(h.device)[which] for factor in self._stacked)  # the last one, -1, is zero
            low = x.reshape(len(x), -1, x.shape[-1]).to(A.dtype) @ A.mT
            return h + (low @ B.mT).reshape(h.shape).to(h.dtype)
        for number, layer in enumerate(self._layers):
            rows = (which == number).nonzero().flatten()
            if len(rows) and isinstance(layer, LoRALayer):
                h = h.index_add(0, rows, layer.update(x[rows], h[rows]).to(h.dtype))
            elif len(rows):
                h = h.index_copy(0, rows, layer(x[rows]).to(h.dtype))
        return h


@torch.no_grad()
def _stack(layers: Sequence[nn.Module]) -> tuple[Tensor, Tensor] | None:
    """All A, (n + 1, r, in), and all scaling · B, (n + 1, out, r), with zeros up to one r; None if that will not do."""
    pairs = []
    for layer in layers:
        if not isinstance(layer, LoRALinear) or layer.variant.gain(layer) is not None:
            return None
        terms = layer.variant.terms(layer)
        pairs.append((torch.cat([A for _, _, A in terms]), torch.cat([s * layer.full(B) for s, B, _ in terms], dim=1)))
    r = max(len(A) for A, _ in pairs)
    A, B = pairs[0]
    stacked_A, stacked_B = A.new_zeros(len(pairs) + 1, r, A.shape[1]), B.new_zeros(len(pairs) + 1, len(B), r)
    for number, (A, B) in enumerate(pairs):
        stacked_A[number, : len(A)], stacked_B[number, :, : len(A)] = A, B
    return stacked_A, stacked_B


def parts_of(
    plain: nn.Module, adapters: Mapping[str, Mapping[nn.Module, nn.Module]], weights: Mapping[str, float]
) -> list[tuple[float, nn.Module]]:
    """(weight, what stands in the place of `plain`) for each adapter that has something there."""
    parts = [(weights[name], adapter[plain]) for name, adapter in adapters.items() if plain in adapter]
    if len({isinstance(part, LoRALayer) for _, part in parts}) > 1:
        raise ValueError("one adapter trains a module whole in which another has LoRA layers: use one at a time")
    return parts


@torch.no_grad()
def mixed(plain: nn.Module, parts: Sequence[tuple[float, nn.Module]]) -> nn.Module:
    """The weighted sum of what several adapters put in the place of `plain`."""
    layers = [(weight, part) for weight, part in parts if isinstance(part, LoRALayer)]
    if layers:
        return Mixture(layers)
    mixture = copy.deepcopy(plain).requires_grad_(False)
    states = [(weight, part.state_dict()) for weight, part in parts]
    for key, tensor in mixture.state_dict().items():
        if tensor.is_floating_point():
            start = tensor.clone()
            tensor.add_(torch.stack([weight * (state[key] - start) for weight, state in states]).sum(0))
    return mixture


def plain_layer(plain: nn.Module, scaling: float, B: Tensor, A: Tensor) -> LoRALayer:
    """Plain LoRA beside `plain` with ΔW = scaling · B A."""
    adapter = adapter_for(plain)
    assert adapter is not None
    layer = adapter(plain, len(A), scaling * len(A) if scaling > 0 else len(A))
    layer.A.copy_(A)
    layer.B.copy_(B if scaling > 0 else scaling * B)
    return layer
