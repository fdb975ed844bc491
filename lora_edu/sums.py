"""Sums of updates: several products scaling · B A as one pair of factors, exactly, or as well as a rank allows."""

import torch
from torch import Tensor

from .layers import LoRALayer
from .variants import Terms


def one_pair(terms: Terms) -> tuple[float, Tensor, Tensor]:
    """(scaling, B, A) with scaling · B A = Σ sᵢ BᵢAᵢ: the factors side by side, [s₁B₁ … sₙBₙ] and [A₁; …; Aₙ].

    The rank is the sum of the ranks. A rank above that of the matrix is not needed: then one factor is the identity.
    """
    scalings = {scaling for scaling, _, _ in terms}
    scaling = scalings.pop() if len(scalings) == 1 else 1.0
    B = torch.cat([B if s == scaling else s * B for s, B, _ in terms], dim=1)
    A = torch.cat([A for _, _, A in terms])
    if len(A) > min(len(B), A.shape[1]):
        product, eye = B @ A, torch.eye(min(len(B), A.shape[1]), dtype=A.dtype, device=A.device)
        B, A = (eye, product) if len(B) <= A.shape[1] else (product, eye)
    return scaling, B, A


def best_pair(delta: Tensor, r: int) -> tuple[Tensor, Tensor, float]:
    """(B, A, error): the r largest singular triplets of ΔW (out, in), half of each σ in each factor.

    By Eckart–Young no rank-r matrix is nearer. `error` is ‖ΔW − BA‖_F, the root of the sum of the squared σ left out.
    Raises ValueError unless 1 ≤ r ≤ min(out, in).
    """
    if not 1 <= r <= min(delta.shape):
        raise ValueError(f"rank r={r} must be between 1 and min(out, in)={min(delta.shape)}")
    U, sigma, Vt = torch.linalg.svd(delta, full_matrices=False)
    root = sigma[:r].sqrt()
    return U[:, :r] * root, root[:, None] * Vt[:r], float(sigma[r:].norm())


def change(layer: LoRALayer) -> Tensor:
    """W′ − W₀, all that the adapter changes, as a matrix (out, in). Of low rank, except in DoRA."""
    if (gain := layer.variant.gain(layer)) is None:
        return layer.as_matrix(layer.delta_weight())
    return gain[:, None] * layer.as_matrix(layer.W0 + layer.delta_weight()) - layer.as_matrix(layer.W0)
