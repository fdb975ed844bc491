"""The leading singular triples of a large matrix, from a random sketch of it (chapter 09)."""

import numpy as np
from numpy.typing import ArrayLike

from .checks import as_matrix
from .decompositions import SVD, fix_signs
from .rank import rounding_tolerance


def randomized_svd(A: ArrayLike, k: int, oversampling: int = 10, power_steps: int = 2, seed: int | None = 0) -> SVD:
    """Approximate the k leading singular triples of an (m, n) matrix from a random sketch of its columns.

    Halko, Martinsson and Tropp (arXiv:0909.4061), algorithms 4.4 and 5.1: multiply A by k + `oversampling` random
    vectors, sharpen the result with `power_steps` products by A Aᵀ (made orthonormal in each, or rounding would lose
    the small singular values), and take the exact SVD of A seen in that small basis. Shapes, dtype and signs
    are as in `svd`. `seed=None` draws afresh. A is read 2 + 2 `power_steps` times and never copied; beside it there
    is room for a few matrices of shape (m, k + `oversampling`).

    Raises ValueError unless 1 ≤ k ≤ min(m, n) and the other two counts are ≥ 0, or for a matrix that is empty or not
    finite.
    """
    A = as_matrix(A)
    m, n = A.shape
    if not 1 <= k <= min(m, n):
        raise ValueError(f"k={k} must be between 1 and min(m, n)={min(m, n)}")
    if oversampling < 0 or power_steps < 0:
        raise ValueError(f"oversampling={oversampling} and power_steps={power_steps} must be ≥ 0")
    width = min(k + oversampling, m, n)
    sketch = np.random.default_rng(seed).standard_normal((n, width)).astype(A.dtype)
    Q, _ = np.linalg.qr(A @ sketch)
    for _ in range(power_steps):
        V, _ = np.linalg.qr((Q.T @ A).T)  # Aᵀ Q, in the order of factors that is faster for a tall A
        Q = A @ V  # its columns are nearly at right angles: no QR here, but no overflow in the next product either
        Q /= np.abs(Q).max() or 1
    if power_steps:
        Q, _ = np.linalg.qr(Q)
    small_U, s, Vt = np.linalg.svd(Q.T @ A, full_matrices=False)
    paired = int((s[:k] > rounding_tolerance(s, A.shape)).sum())
    U, Vt = fix_signs(Q @ small_U[:, :k], Vt[:k], paired)
    return SVD(U, s[:k], Vt)
