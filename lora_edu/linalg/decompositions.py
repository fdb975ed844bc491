"""The singular value decomposition, and what is read off it: the nearest low-rank matrix, its error, its cost."""

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .checks import Array, as_matrix
from .rank import rounding_tolerance


class SVD(NamedTuple):
    """Factors of A = U @ diag(s) @ Vt. `Vt` is already transposed: its *rows* are the right singular vectors."""

    U: Array
    s: Array
    Vt: Array


class LowRank(NamedTuple):
    """The best rank-k approximation of a matrix, and how far away it is in the two usual norms."""

    matrix: Array
    spectral_error: float
    frobenius_error: float


def svd(A: ArrayLike, kind: Literal["thin", "full", "compact"] = "thin") -> SVD:
    r"""Singular value decomposition A = U Σ Vᵀ with a fixed choice of signs.

    ========= ============= ============ =============
    kind      U             s            Vt
    ========= ============= ============ =============
    thin      (m, min(m,n)) (min(m,n),)  (min(m,n), n)
    full      (m, m)        (min(m,n),)  (n, n)
    compact   (m, r)        (r,)         (r, n)
    ========= ============= ============ =============

    with r the numerical rank. In every column of U the entry of largest magnitude (the first, if several tie up to
    rounding) is positive, and the row of Vt with the same index is flipped with it. The rows of Vt from r on, which
    A does not tie to a column of U, follow the same rule by themselves. So two runs, or two libraries, give the same
    vectors wherever the singular values are distinct; inside a repeated one, 0 included, a rotation stays free.

    Raises ValueError for an unknown kind, or a matrix that is empty or not finite.
    """
    if kind not in ("thin", "full", "compact"):
        raise ValueError(f"kind={kind!r} is none of 'thin', 'full', 'compact'")
    A = as_matrix(A)
    U, s, Vt = np.linalg.svd(A, full_matrices=kind == "full")
    r = int((s > rounding_tolerance(s, A.shape)).sum())
    U, Vt = fix_signs(U, Vt, r)
    if kind == "compact":
        U, s, Vt = U[:, :r], s[:r], Vt[:r]
    return SVD(U, s, Vt)


def best_rank_k(A: ArrayLike, k: int) -> LowRank:
    r"""The matrix of rank ≤ k nearest to A (Eckart and Young 1936; Mirsky 1960): keep the k largest singular values.

    Its errors are ‖A − A_k‖₂ = σ_{k+1} and ‖A − A_k‖_F = √(σ²_{k+1} + σ²_{k+2} + …), both read off the spectrum.
    In the Frobenius norm it is the only nearest one if and only if σ_k > σ_{k+1} or σ_{k+1} = 0; in the spectral norm
    there are others as soon as k ≥ 1 and σ_{k+1} > 0. k = 0 gives the zero matrix.

    Raises ValueError unless 0 ≤ k ≤ min(m, n), or for a matrix that is empty or not finite.
    """
    U, s, Vt = svd(A)
    if not 0 <= k <= len(s):
        raise ValueError(f"k={k} must be between 0 and min(m, n)={len(s)} for a matrix of shape {np.shape(A)}")
    tail = s[k:]
    return LowRank(
        matrix=(U[:, :k] * s[:k]) @ Vt[:k],
        spectral_error=float(tail[0]) if len(tail) else 0.0,
        frobenius_error=math.hypot(*tail.tolist()),  # scales by itself, where a sum of squares could overflow
    )


def energy(A: ArrayLike) -> Array:
    """Share of ‖A‖²_F that the k largest singular values hold, for k = 1 … min(m, n). The last entry is 1.

    Raises ValueError for the zero matrix, which has no energy to share, or one that is empty or not finite.
    """
    A = as_matrix(A)
    s = np.linalg.svd(A, compute_uv=False)
    if s[0] == 0:
        raise ValueError("the zero matrix has no energy to share out")
    held = np.cumsum((s / s[0]) ** 2)
    shares: Array = held / held[-1]
    return shares


def factored_size(m: int, n: int, k: int) -> int:
    """Numbers stored by a rank-k SVD of an (m, n) matrix: m·k for U, k for σ and k·n for Vᵀ, together k(m + n + 1)."""
    _check_sizes(m=m, n=n)
    if not 0 <= k <= min(m, n):
        raise ValueError(f"k={k} must be between 0 and min(m, n)={min(m, n)}")
    return k * (m + n + 1)


def break_even_rank(m: int, n: int) -> int:
    """Largest rank at which storing the factors of an (m, n) matrix takes fewer numbers than storing the matrix.

    It is the largest integer k with k(m + n + 1) < mn; for a 3 x 3 matrix it is 1. A result of 0 says that
    factors never pay.
    """
    _check_sizes(m=m, n=n)
    return (m * n - 1) // (m + n + 1)


def fix_signs(U: Array, Vt: Array, paired: int) -> tuple[Array, Array]:
    """Make the largest entry of each column of U positive; flip the first `paired` rows of Vt along, fix the rest."""
    u_signs = _sign_of_largest(U.T)
    v_signs = np.concatenate([u_signs[:paired], _sign_of_largest(Vt[paired:])])
    return U * u_signs, Vt * v_signs[:, None]


def _sign_of_largest(rows: Array) -> Array:
    sizes = np.abs(rows)
    # Entries that are equal in exact arithmetic differ by rounding: half of the digits decide what is a tie.
    ties = sizes >= sizes.max(axis=1, keepdims=True) * (1 - np.sqrt(np.finfo(rows.dtype).eps))
    return np.where(rows[np.arange(len(rows)), ties.argmax(axis=1)] < 0, -1, 1).astype(rows.dtype)


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name}={size} must be at least 1")
