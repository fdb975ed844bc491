"""Rank: exactly, by its definition, and in floating point (chapter 06). Read `decompositions` next."""

from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .checks import Array, as_matrix, as_rational_matrix


class NumericalRank(NamedTuple):
    """A rank in floating point, with the tolerance it was counted against."""

    rank: int
    tolerance: float
    singular_values: Array


def exact_rank(A: ArrayLike) -> int:
    """Rank of an (m, n) matrix, decided by elimination over the rationals: no rounding, no tolerance.

    Entries may be integers, fractions, SymPy rationals or floats. A float is taken at its exact binary value, so
    0.1 + 0.2 and 0.3 are different numbers here.

    Raises ValueError for anything that is not a finite, non-empty matrix.
    """
    return int(as_rational_matrix(A).to_field().rank())


def rank_by_minors(A: ArrayLike) -> int:
    """Rank of an (m, n) matrix by its definition: the order of its largest non-zero minor, and 0 for the zero matrix.

    A k x k minor is the determinant that is left when k rows and k columns are kept. Trying them all takes a number
    of determinants that grows exponentially with the size: use it to understand, and `exact_rank` to compute.

    Raises ValueError for anything that is not a finite, non-empty matrix.
    """
    M = as_rational_matrix(A).to_field()
    m, n = M.shape
    for k in range(min(m, n), 0, -1):
        for rows in combinations(range(m), k):
            for columns in combinations(range(n), k):
                if M.extract(list(rows), list(columns)).det() != 0:
                    return k
    return 0


def numerical_rank(A: ArrayLike, tolerance: float | None = None) -> NumericalRank:
    """Number of singular values of an (m, n) matrix above `tolerance`.

    The default tolerance is the one of `numpy.linalg.matrix_rank`: σ₁ · max(m, n) · ε, with ε the machine epsilon
    of the matrix's dtype. It is the size of error that rounding the entries may cause, so a singular value below it
    cannot be told from zero.

    Raises ValueError for a matrix that is empty or not finite, or a tolerance below zero.
    """
    A = as_matrix(A)
    s = np.linalg.svd(A, compute_uv=False)
    if tolerance is None:
        tolerance = rounding_tolerance(s, A.shape)
    elif not tolerance >= 0:
        raise ValueError(f"tolerance={tolerance} must be a number ≥ 0")
    return NumericalRank(int((s > tolerance).sum()), tolerance, s)


def rounding_tolerance(s: Array, shape: tuple[int, ...]) -> float:
    return float(s[0]) * max(shape) * float(np.finfo(s.dtype).eps)
