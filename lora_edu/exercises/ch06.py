"""Exercises of chapter 06, Rank: what a factorization costs, a rank in floating point, two factors, a product.

In 06.2 every wrong tolerance is caught by a singular value that lies between it and the right one.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import sympy

from .engine import Case, Exercise, Mistake

EPS = np.finfo(np.float64).eps


def _sizes(rng: np.random.Generator) -> Iterator[Case]:
    yield from [(768, 768), (5, 4), (4, 5), (3, 6), (6, 3), (1, 7), (2, 2), (3072, 768)]
    for _ in range(4):
        m, n = rng.integers(2, 200, size=2)
        yield int(m), int(n)


def _spectra(rng: np.random.Generator) -> Iterator[Case]:
    yield np.array([3e6, 2.0, 1e-7, 1e-9]), 60, 4
    yield np.array([3e-9, 2e-12, 1e-15, 1e-30]), 4, 60
    for ratio in (5, 30):  # in units of σ₁ε: between the tolerances of ε alone, min(m, n)ε and max(m, n)ε
        yield np.array([7.0, 0.5, 7.0 * ratio * EPS]), 80, 3 if ratio == 5 else 20
    yield np.zeros(3), 3, 5
    m, n, r = 12, 7, 4
    low_rank = rng.standard_normal((m, r)) @ rng.standard_normal((r, n))
    yield np.linalg.svd(low_rank, compute_uv=False), m, n


def _integer_matrices(rng: np.random.Generator) -> Iterator[Case]:
    yield (sympy.Matrix([[0, 2, 4, 1, 3], [0, 1, 2, 0, 1], [0, 3, 6, 1, 4]]),)  # a zero column, then a repeated one
    yield (sympy.Matrix([[1, 2], [2, 4], [0, 0], [3, 7]]),)  # tall, with a zero row
    yield (sympy.zeros(2, 3),)
    for m, n, r in [(4, 6, 2), (5, 3, 1), (3, 4, 3)]:
        left, right = rng.integers(-3, 4, (m, r)), rng.integers(-3, 4, (r, n - 1))
        yield (sympy.Matrix(m, n, lambda i, j, P=left @ right: int(P[i, j - 1]) if j else 0),)


def _products(rng: np.random.Generator) -> Iterator[Case]:
    yield from [(768, 8, 768, 8, 8), (3, 5, 4, 3, 4), (4, 6, 5, 2, 3), (2, 3, 7, 0, 3), (6, 4, 2, 4, 2)]
    for _ in range(6):
        m, k, n = (int(size) for size in rng.integers(2, 12, size=3))
        yield m, k, n, int(rng.integers(1, min(m, k) + 1)), int(rng.integers(1, min(k, n) + 1))


def _numerical_rank(s: np.ndarray, m: int, n: int) -> int:
    return int((s > s.max() * max(m, n) * EPS).sum())


def _factor(A: sympy.Matrix) -> tuple[sympy.Matrix, sympy.Matrix]:
    R, pivots = A.rref()
    return A[:, list(pivots)], R[: len(pivots), :]


def _factor_first_columns(A: sympy.Matrix) -> tuple[sympy.Matrix, sympy.Matrix]:
    L, R = _factor(A)
    return A[:, : L.cols], R


def _factor_reduced_columns(A: sympy.Matrix) -> tuple[sympy.Matrix, sympy.Matrix]:
    reduced, pivots = A.rref()
    return reduced[:, list(pivots)], reduced[: len(pivots), :]


def _is_factorization(got: Any, A: sympy.Matrix) -> bool:
    try:
        L, R = (np.asarray(factor, dtype=np.float64) for factor in got)
    except (TypeError, ValueError):
        return False
    r = A.rank()
    fits = L.shape == (A.rows, r) and R.shape == (r, A.cols)
    return fits and np.allclose(L @ R, np.asarray(A, dtype=np.float64))


EXERCISES: list[Exercise] = [
    Exercise(
        key="06.1",
        title="The largest rank that pays",
        solution=lambda m, n: (m * n - 1) // (m + n),
        cases=_sizes,
        mistakes=(
            Mistake(
                lambda m, n: m * n // (m + n),
                "you allowed r(m+n) = mn; the factors must take strictly fewer numbers than the matrix.",
            ),
            Mistake(lambda m, n: (m * n - 1) // m, "you counted only L, m·r numbers; R has another r·n."),
            Mistake(lambda m, n: (m * n - 1) // n, "you counted only R, r·n numbers; L has another m·r."),
            Mistake(
                lambda m, n: (m * n - 1) // (m + n + 1),
                "you counted r(m+n+1) numbers, which is an SVD with its r singular values; L and R take r(m+n).",
            ),
            Mistake(
                lambda m, n: min(m, n) - 1,
                "you took every rank short of full, as r(m+n−r) < mn would allow; stored factors take r(m+n).",
            ),
            Mistake(lambda m, n: min(m, n), "you gave the largest rank there is, not the largest that pays."),
        ),
    ),
    Exercise(
        key="06.2",
        title="A rank from singular values",
        solution=_numerical_rank,
        cases=_spectra,
        mistakes=(
            Mistake(
                lambda s, m, n: int((s != 0).sum()),
                "you counted every singular value that is not exactly 0; rounding leaves tiny ones: use a tolerance.",
            ),
            Mistake(
                lambda s, m, n: int((s > 1e-10).sum()),
                "you used the absolute tolerance 1e-10; it must scale with the matrix, so multiply σ₁ into it.",
            ),
            Mistake(
                lambda s, m, n: int((s > max(m, n) * EPS).sum()),
                "you left out σ₁: max(m, n)·ε alone gives another rank when the matrix is multiplied by a number.",
            ),
            Mistake(
                lambda s, m, n: int((s > s.max() * EPS).sum()),
                "you used σ₁·ε without max(m, n); rounding errors add up over the longer side.",
            ),
            Mistake(
                lambda s, m, n: int((s > s.max() * min(m, n) * EPS).sum()),
                "you used the shorter side, min(m, n); numpy's tolerance has the longer one, max(m, n).",
            ),
            Mistake(
                lambda s, m, n: int((s >= s.max() * max(m, n) * EPS).sum()),
                "you counted σ ≥ tolerance; the zero matrix has 0 for both, and rank 0, so the comparison is strict.",
            ),
        ),
    ),
    Exercise(
        key="06.3",
        title="Two factors from the pivots",
        solution=_factor,
        cases=_integer_matrices,
        accepts=_is_factorization,
        mistakes=(
            Mistake(
                _factor_first_columns,
                "you took the first r columns of A as L; they may be zero or dependent, so take the pivot columns.",
            ),
            Mistake(
                _factor_reduced_columns,
                "you took L from the reduced matrix; elimination has changed the columns, so take those of A.",
            ),
            Mistake(lambda A: (_factor(A)[0], _factor(A)[1].T), "your R is transposed: it must be r×n."),
            Mistake(lambda A: _factor(A)[::-1], "you returned the factors as R, L; the order is L, R."),
            Mistake(
                lambda A: (_factor(A)[0], A.rref()[0]),
                "you kept the zero rows of the reduced matrix in R; keep only its first r rows.",
            ),
            Mistake(
                lambda A: (_factor(A)[0], A[: _factor(A)[0].cols, :]),
                "you took rows of A as R; R is made of the non-zero rows of the reduced matrix.",
            ),
            Mistake(
                lambda A: (A, sympy.eye(A.cols)),
                "A times the identity gives A, but its inner size is n; L must be m×r and R r×n with r the rank.",
            ),
        ),
    ),
    Exercise(
        key="06.4",
        title="What the rank of a product can be",
        solution=lambda m, k, n, p, q: (max(0, p + q - k), min(p, q)),
        cases=_products,
        mistakes=(
            Mistake(
                lambda m, k, n, p, q: (p + q - k, min(p, q)),
                "your lower bound can be negative; no rank is below 0, so take the larger of p + q − k and 0.",
            ),
            Mistake(
                lambda m, k, n, p, q: (0, min(p, q)),
                "your lower bound is always 0; Sylvester's inequality gives more when p + q exceeds the inner size k.",
            ),
            Mistake(
                lambda m, k, n, p, q: (max(0, p + q - k), p + q),
                "p + q is the upper bound for a sum; a product goes through both factors, so its rank is ≤ min(p, q).",
            ),
            Mistake(
                lambda m, k, n, p, q: (max(0, p + q - k), max(p, q)),
                "you took max(p, q) as the upper bound; the narrower factor decides, so it is min(p, q).",
            ),
            Mistake(
                lambda m, k, n, p, q: (max(0, p + q - n), min(p, q)),
                "you subtracted n, an outer size; Sylvester's inequality subtracts the inner size k.",
            ),
            Mistake(
                lambda m, k, n, p, q: (max(0, p + q - k), min(m, k, n)),
                "your upper bound uses only the shapes; the ranks p and q bound it more tightly.",
            ),
        ),
    ),
]
