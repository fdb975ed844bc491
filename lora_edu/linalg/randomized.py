"""The leading singular triples of a large matrix, from a random sketch of it (chapter 09)."""

import numpy as np
from numpy.typing import ArrayLike

from .checks import as_matrix
from .decompositions import SVD, fix_signs
from .rank import rounding_tolerance


def randomized_svd(A: ArrayLike, k: int, oversampling: int = 10, power_steps: int = 2, seed: int | None = 0) -> SVD:
    """Approximate the k leading singular triples of an (m, n) matrix from a random sketch of its columns.

    Halko, Martinsson and Tropp (arXiv:0909.4061), algorithms 4.4 and 5.1: multiply A by k + `oversampling` random
    vectors, sharpen the result with `power_steps` products by A Aᵀ (made orthonormal each time, or rounding would
    lose the small singular values), and take the exact SVD of A seen in that small basis. Shapes, dtype and signs
    are as in `svd`. `seed=None` draws afresh.

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
        Q, _ = np.linalg.qr(A.T @ Q)
        Q, _ = np.linalg.qr(A @ Q)
    small_U, s, Vt = np.linalg.svd(Q.T @ A, full_matrices=False)
    U, Vt = fix_signs(Q @ small_U, Vt, paired=int((s > rounding_tolerance(s, A.shape)).sum()))
    return SVD(U[:, :k], s[:k], Vt[:k])
