"""How alike two subspaces are, and how an update lies to its weight: the instruments of chapter 10.

Both come from section 7 of "LoRA: Low-Rank Adaptation of Large Language Models" (arXiv:2106.09685): the similarity φ
of Eq. 4, and the amplification factor of Table 7. A subspace is given by a matrix with orthonormal columns, such as
the first columns of `svd(A).U` or of `svd(A).Vt.T`.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .checks import Array, as_matrix
from .decompositions import svd


class Amplification(NamedTuple):
    """‖ΔW_r‖_F, the norm ‖UᵀWV‖_F of the weight on the same directions, and the ratio of the two."""

    update: float
    weight: float
    factor: float


def subspace_similarity(U1: ArrayLike, U2: ArrayLike) -> float:
    r"""φ = ‖U₁ᵀ U₂‖²_F / min(i, j), between 0 (at right angles) and 1 (one lies in the other).

    U1 (d, i) and U2 (d, j) have orthonormal columns. φ depends on the spaces that the columns span, not on the
    columns: it is the mean of cos² over the min(i, j) principal angles.

    Raises ValueError if the columns have different lengths or are not orthonormal, or an entry is not finite.
    """
    U1, U2 = _orthonormal_pair(U1, U2)
    return float(np.sum((U1.T @ U2) ** 2) / min(U1.shape[1], U2.shape[1]))


def similarity_grid(U1: ArrayLike, U2: ArrayLike) -> Array:
    r"""φ between the first a columns of U1 (d, i) and the first b columns of U2 (d, j), for every a and b.

    The result has shape (i, j); its entry [a - 1, b - 1] is φ(a, b), as in Figure 3 of the LoRA paper.

    Raises ValueError as `subspace_similarity` does.
    """
    U1, U2 = _orthonormal_pair(U1, U2)
    squares = np.cumsum(np.cumsum((U1.T @ U2) ** 2, axis=0), axis=1)
    a, b = np.indices(squares.shape) + 1
    grid: Array = squares / np.minimum(a, b)
    return grid


def random_similarity(d: int, i: int, j: int) -> float:
    """The mean of φ for an i- and a j-dimensional subspace of ℝᵈ, one of them uniformly random: max(i, j) / d.

    Raises ValueError unless 1 ≤ i, j ≤ d.
    """
    if not (1 <= i <= d and 1 <= j <= d):
        raise ValueError(f"subspaces of dimension i={i} and j={j} need 1 ≤ i, j ≤ d={d}")
    return max(i, j) / d


def amplification(W: ArrayLike, delta_W: ArrayLike, r: int) -> Amplification:
    r"""How many times stronger the update is than the weight, on the update's own r strongest directions.

    With U (m, r) and V (n, r) the first singular vectors of ΔW, it is ‖ΔW_r‖_F / ‖Uᵀ W V‖_F, where ΔW_r = U Uᵀ ΔW
    is the best rank-r approximation of ΔW. For an update of rank ≤ r, as LoRA's, ΔW_r is ΔW itself. The factor is
    infinite if W has nothing there.

    Raises ValueError if W and ΔW differ in shape, r is not in 1 … min(m, n), or an entry is not finite.
    """
    W, delta_W = as_matrix(W), as_matrix(delta_W)
    if W.shape != delta_W.shape:
        raise ValueError(f"W has shape {W.shape}, ΔW has shape {delta_W.shape}: they must be the same")
    if not 1 <= r <= min(delta_W.shape):
        raise ValueError(f"r={r} must be between 1 and min(m, n)={min(delta_W.shape)}")
    U, s, Vt = svd(delta_W)
    update, weight = math.hypot(*s[:r].tolist()), float(np.linalg.norm(U[:, :r].T @ W @ Vt[:r].T))
    return Amplification(update, weight, update / weight if weight > 0 else math.inf)


def _orthonormal_pair(U1: ArrayLike, U2: ArrayLike) -> tuple[Array, Array]:
    pair = as_matrix(U1), as_matrix(U2)
    if len(pair[0]) != len(pair[1]):
        raise ValueError(f"the columns have lengths {len(pair[0])} and {len(pair[1])}: both must lie in one space")
    for name, U in zip(("U1", "U2"), pair, strict=True):
        # A product of d terms, each rounded: half of the digits are more than enough room.
        error = float(np.abs(U.T @ U - np.eye(U.shape[1])).max())
        if error > np.sqrt(np.finfo(U.dtype).eps):
            raise ValueError(
                f"the columns of {name} are not orthonormal: UᵀU differs from I by {error:.2g}. "
                "Take them from an SVD or a QR decomposition"
            )
    return pair
