"""Merging: W₀ + ΔW put into the base layer, where it costs nothing more, and taken out again, bit for bit."""

from typing import Any, cast

import torch
from torch import Tensor, nn


class Mergeable(nn.Module):
    """A layer with a `base` whose weight can be replaced for a while by the layer's own effective `weight`."""

    base: nn.Module

    def __init__(self) -> None:
        super().__init__()
        self._base_weight: list[nn.Parameter] = []  # W₀ while merged; in a list, so that it is not registered

    @property
    def W0(self) -> Tensor:  # noqa: N802 (the symbol)
        """The weight of the base, as it is stored."""
        return cast(Tensor, self.base.weight)

    @property
    def bias(self) -> Tensor | None:
        return cast("Tensor | None", getattr(self.base, "bias", None))

    @property
    def weight(self) -> Tensor:
        raise NotImplementedError

    @property
    def merged(self) -> bool:
        """Whether `base` holds W₀ + ΔW at the moment."""
        return bool(self._base_weight)

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
        return self._base_weight[0].data.to(self.W0.device, self.W0.dtype)  # the model may have moved meanwhile

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """As if not merged: W₀ and the factors. With W₀ + ΔW beside the factors, ΔW would count twice once loaded."""
        state = super().state_dict(*args, **kwargs)
        if self.merged:
            state[kwargs.get("prefix", "") + "base.weight"] = self._kept_weight()
        return state

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self.unmerge()  # what is loaded is W₀, and a ΔW that was merged before is not that of the new factors
        super()._load_from_state_dict(*args, **kwargs)
