r"""Bottleneck adapters: a thin layer, a non-linearity and a thick one, behind a frozen layer (arXiv:1902.00751).

    x ── W₀ x + b₀ = h ──┬────────────────────────────────────────┐
         (frozen)        │                                        + ── h + s · W_up σ(W_down h + b_down) + b_up
                         └── W_down ── + b_down ── σ ── W_up ── · s ┘
                             (m, d)                     (d, m)

With `parallel`, W_down reads x in place of h (He et al. 2021, arXiv:2110.04366): LoRA with a non-linearity between its
factors. Neither can be merged, because of σ. Read `prefix` next.
"""

import math
from collections.abc import Callable, Iterable
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (as in PyTorch's own documentation)

from .added import Added, check_count, training_dtype
from .adding import add, check_plain
from .other_layers import LoRAConv2d, LoRAEmbedding
from .targets import adapter_for, select_layers

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "relu": F.relu, "tanh": F.tanh, "silu": F.silu}


class BottleneckAdapter(Added):
    r"""h ↦ h + s · (W_up σ(W_down h + b_down) + b_up), with h = base(x): `(..., in)` ↦ `(..., d)`.

    `down` holds W_down (m, d) and b_down (m,), `up` holds W_up (d, m) and b_up (d,): 2md + d + m numbers. In
    parallel, W_down is (m, in) and reads x.

    It starts as the identity: `up` is zero, and W_down is drawn as LoRA's A, which is the start of He et al. (§A.3).
    Houlsby et al. draw both from a narrow normal distribution, truncated at two standard deviations: 0.01 in the paper
    (§3.6), 0.001 by default in their code, with zero biases. That is near the identity, but not quite.
    """

    def __init__(
        self, base: nn.Module, bottleneck: int, activation: str = "gelu", parallel: bool = False, scaling: float = 1.0
    ) -> None:
        super().__init__(base)
        kind = adapter_for(base)
        if kind is None or issubclass(kind, LoRAConv2d) or (parallel and issubclass(kind, LoRAEmbedding)):
            form = "a parallel adapter" if parallel else "an adapter"
            raise TypeError(f"{form} needs vectors along the last axis; it does not fit a {type(base).__name__}")
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation={activation!r} must be one of {', '.join(ACTIVATIONS)}")
        if isinstance(scaling, bool) or not isinstance(scaling, int | float):
            raise TypeError(f"scaling={scaling!r} must be a number, not {type(scaling).__name__}")
        if not 0 < scaling < math.inf:
            raise ValueError(f"scaling={scaling} must be a finite number above 0")
        into, out = kind.sizes(base)
        self.bottleneck = check_count("bottleneck", bottleneck)
        self.activation, self.parallel, self.scaling = activation, parallel, scaling
        weight = cast(Tensor, base.weight)
        dtype = training_dtype(weight)
        self.down = nn.Linear(into if parallel else out, bottleneck, device=weight.device, dtype=dtype)
        self.up = nn.Linear(bottleneck, out, device=weight.device, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start as the identity: W_down uniform on ±1/√d, everything else zero."""
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, x: Tensor) -> Tensor:
        h = cast(Tensor, self.base(x))
        low = ACTIVATIONS[self.activation](self.down((x if self.parallel else h).to(self.down.weight.dtype)))
        return h + (self.scaling * cast(Tensor, self.up(low))).to(h.dtype)

    def describe(self) -> str:
        return f"{'parallel adapter' if self.parallel else 'adapter'} m={self.bottleneck} {self.activation}"


def add_adapters(
    model: nn.Module,
    targets: str | Iterable[str],
    bottleneck: int,
    activation: str = "gelu",
    parallel: bool = False,
    scaling: float = 1.0,
    modules_to_save: str | Iterable[str] = (),
) -> nn.Module:
    """Put an adapter behind every layer that `targets` selects, freeze the rest, and return the model, changed.

    "output.dense" in a BERT puts one behind each attention's and each feed-forward's output, two a layer, before the
    residual sum and the LayerNorm, as in the paper. (There it stands after the dropout, here before it.) The paper
    trains the LayerNorms as well: modules_to_save="LayerNorm".

    Args:
        targets: as in `add_lora`.
        bottleneck: m, the size between the two projections.
        activation: σ, one of "gelu" (as in the code of the paper), "relu", "tanh", "silu".
        parallel: read the layer's input in place of its output.
        scaling: s, a factor on what the adapter adds.
        modules_to_save: names of modules that are trained whole, such as a new head.

    Raises ValueError or TypeError, with the model as it was, if a target matches nothing or cannot take an adapter,
    the model has LoRA or another method, or a number is out of range.
    """
    check_plain(model)
    names = select_layers(model, targets)
    own = {"bottleneck": bottleneck, "activation": activation, "parallel": parallel, "scaling": scaling}
    makers = dict.fromkeys(names, lambda base: BottleneckAdapter(base, bottleneck, activation, parallel, scaling))
    return add(model, "adapters", {"targets": names} | own, makers, modules_to_save)
