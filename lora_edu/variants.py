r"""The family: each variant changes one line of LoRA, and here it is that line.

A variant answers four questions about a layer, and plain LoRA's answers stand in `Variant`:

    scaling   what multiplies B A?                    α/r
    start     what are A and B at step 0?             A random, B = 0
    trained   which tensors of the layer train?       A, B
    terms     which products add up to ΔW?            scaling · B A

and a fifth, `gain`, which only DoRA uses: what multiplies each output in the end? Variants that answer different
questions can be combined, as `family` does. LoRA+ is no variant of the layer but of its optimizer: see `lora_plus`.
"""

import math
from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from .layers import LoRALayer

Terms = list[tuple[float, Tensor, Tensor]]


class Variant:
    """Plain LoRA (Hu et al. 2021, arXiv:2106.09685), and what each variant may change."""

    name = "lora"

    def scaling(self, alpha: float, r: int) -> float:
        return alpha / r

    def start(self, layer: "LoRALayer") -> None:
        layer.draw_factors()

    def share(self, layers: "Sequence[LoRALayer]") -> None:
        """Called once for all layers of a model after their start: what they have in common is made here."""

    def trained(self) -> tuple[str, ...]:
        return ("A", "B")

    def terms(self, layer: "LoRALayer") -> Terms:
        """(scaling, B, A) of each product in ΔW."""
        return [(layer.scaling, layer.B, layer.A)]

    def update(self, layer: "LoRALayer", x: Tensor) -> Tensor:
        """ΔW x without ΔW: Σ B (scaling · A x), scaled where each x has only r numbers."""
        return reduce(Tensor.add_, [layer.up(layer.down(x, A) * s, layer.full(B)) for s, B, A in self.terms(layer)])

    def gain(self, layer: "LoRALayer") -> Tensor | None:
        """One factor an output, (out,), for the whole W₀ + ΔW; None for 1."""
        return None


class RsLoRA(Variant):
    """scaling = α/√r, so that the update keeps its size as r grows (Kalajdzievski 2023, arXiv:2312.03732)."""

    name = "rslora"

    def scaling(self, alpha: float, r: int) -> float:
        return alpha / math.sqrt(r)


class LoRAFA(Variant):
    """A stays as it was drawn and only B trains, so no input of A is kept (Zhang et al. 2023, arXiv:2308.03303)."""

    name = "lora-fa"

    def start(self, layer: "LoRALayer") -> None:
        super().start(layer)
        if not layer.A.any():  # an embedding starts with A = 0, which would stay 0 for ever
            nn.init.kaiming_uniform_(layer.A, a=math.sqrt(5))
            nn.init.zeros_(layer.B)

    def trained(self) -> tuple[str, ...]:
        return tuple(name for name in super().trained() if name != "A")


class DoRA(Variant):
    r"""W′ = m (W₀ + ΔW) / ‖W₀ + ΔW‖, one trained magnitude m an output (Liu et al. 2024, arXiv:2402.09353).

    The norm is that of a row of W (of all that feeds one output), and it is a constant to the gradient (§4.3). It
    starts as m = ‖W₀‖, so the gain m/‖W₀‖ is exactly 1.
    """

    name = "dora"

    def start(self, layer: "LoRALayer") -> None:
        super().start(layer)
        layer.m = nn.Parameter(self._norms(layer)[layer.adapted_rows()])

    def trained(self) -> tuple[str, ...]:
        return (*super().trained(), "m")

    def gain(self, layer: "LoRALayer") -> Tensor | None:
        norms, rows = self._norms(layer), layer.adapted_rows()
        gain = torch.ones_like(norms)
        gain[rows] = layer.m / norms[rows].clamp_min(torch.finfo(norms.dtype).tiny)  # a row of zeros has no direction
        return gain

    @torch.no_grad()
    def _norms(self, layer: "LoRALayer") -> Tensor:
        norms: Tensor = torch.linalg.vector_norm(layer.as_matrix(layer.W0 + layer.delta_weight()), dim=1)
        return norms


class PiSSA(Variant):
    r"""Start with the r largest singular triplets of W₀: B₀ = U √(Σ/s), A₀ = √(Σ/s) Vᵀ (Meng et al. 2024, 2404.02948).

    The paper takes s B₀A₀ out of the base. Here the base is left alone and the same amount is subtracted beside it,
    W = W₀ + s (B A − B₀A₀): the same function of A and B, but step 0 is exact in every precision, and W₀ is there
    when the adapter goes. `A0` and `minus_B0` are frozen buffers of the layer.
    """

    name = "pissa"

    @torch.no_grad()
    def start(self, layer: "LoRALayer") -> None:
        W = layer.as_matrix(layer.W0).to(layer.A.dtype)
        for rows, A, B in layer.blocks():
            start_B, start_A = self.factor(W[rows], len(A), layer.scaling)
            A.copy_(start_A)
            B.copy_(start_B)
        layer.register_buffer("A0", layer.A.detach().clone())
        layer.register_buffer("minus_B0", -layer.B.detach())

    def factor(self, W: Tensor, r: int, scaling: float) -> tuple[Tensor, Tensor]:
        U, sigma, Vt = torch.linalg.svd(W, full_matrices=False)
        root = (sigma[:r] / scaling).sqrt()
        return U[:, :r] * root, root[:, None] * Vt[:r]

    def terms(self, layer: "LoRALayer") -> Terms:
        return [*super().terms(layer), (layer.scaling, layer.minus_B0, layer.A0)]


class OLoRA(PiSSA):
    """As PiSSA, from the QR decomposition of W₀: B₀ = Q[:, :r], A₀ = R[:r] (Büyükakyüz 2024, arXiv:2406.01775)."""

    name = "olora"

    def factor(self, W: Tensor, r: int, scaling: float) -> tuple[Tensor, Tensor]:
        Q, R = torch.linalg.qr(W)
        return Q[:, :r], R[:r]


class VeRA(Variant):
    r"""ΔW = diag(b) B diag(d) A with frozen random A, B that all layers share; b and d train (2310.11454).

    b starts at 0 and d at `d_initial`. Each layer sees a corner of one pair drawn from `seed`, as in peft, which
    has the sizes of the largest layers. There is no alpha: it must equal r, so that the scaling is 1.
    """

    name = "vera"

    def __init__(self, seed: int = 0, d_initial: float = 0.1) -> None:
        if type(seed) is not int or not 0 <= seed < 2**63:
            raise ValueError(f"seed={seed!r} must be an integer from 0 to 2^63 - 1")
        if type(d_initial) not in (int, float) or not abs(d_initial) <= torch.finfo(torch.float32).max:
            raise ValueError(f"d_initial={d_initial!r} must be a finite number")
        self.seed, self.d_initial = seed, float(d_initial)

    def scaling(self, alpha: float, r: int) -> float:
        if alpha != r:
            raise ValueError(f"VeRA has no scaling: pass alpha equal to r, not alpha={alpha:g} with r={r}")
        return 1.0

    def start(self, layer: "LoRALayer") -> None:
        r, rows = layer.A.shape[0], layer.B.shape[0]
        A, B = layer.A.data, layer.B.data
        del layer.A, layer.B
        layer.register_buffer("A", A)
        layer.register_buffer("B", B)
        layer.b = nn.Parameter(A.new_zeros(rows))
        layer.d = nn.Parameter(A.new_full((r,), self.d_initial))
        self.share([layer])

    def share(self, layers: "Sequence[LoRALayer]") -> None:
        generator = torch.Generator().manual_seed(self.seed)
        A = torch.empty(max(la.A.shape[0] for la in layers), max(la.A.shape[1] for la in layers))
        B = torch.empty(max(la.B.shape[0] for la in layers), max(la.B.shape[1] for la in layers))
        A, B = (nn.init.kaiming_uniform_(factor, generator=generator).to(layers[0].A) for factor in (A, B))
        for layer in layers:  # corners of one pair, so views of one memory
            layer.A = A[: layer.A.shape[0], : layer.A.shape[1]].to(layer.A)
            layer.B = B[: layer.B.shape[0], : layer.B.shape[1]].to(layer.B)

    def trained(self) -> tuple[str, ...]:
        return ("b", "d")

    def terms(self, layer: "LoRALayer") -> Terms:
        return [(layer.scaling, layer.b[:, None] * layer.B, layer.d[:, None] * layer.A)]

    def update(self, layer: "LoRALayer", x: Tensor) -> Tensor:
        """b · B (d · A x): to scale what comes out costs less than to scale A and B, and its gradient much less."""
        if len(layer.b) < layer.out_features:  # parts of the output: b has no number for the others
            return super().update(layer, x)
        return layer.over_outputs(layer.b) * layer.up(layer.over_outputs(layer.d) * layer.down(x, layer.A), layer.B)
