"""Exercises of chapter 09: project, compress rows or columns, find a range, measure its error, count dimensions."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .engine import Case, Exercise, Mistake

Array = NDArray[np.float64]


def _orthonormal(rng: np.random.Generator, rows: int, columns: int) -> Array:
    return np.linalg.qr(rng.standard_normal((rows, columns)))[0]


# 09.1 The basis Y is neither orthonormal nor of full length, so that Y Yᵀ is no projection.


def project(Y: Array, A: Array) -> Array:
    Q = np.linalg.qr(Y)[0]
    return np.asarray(Q @ (Q.T @ A))


def _project_cases(rng: np.random.Generator) -> Iterator[Case]:
    for m, n, k in [(6, 4, 2), (5, 5, 3), (4, 7, 1), (8, 3, 5)]:
        yield rng.standard_normal((m, k)), rng.standard_normal((m, n))


_PROJECT_MISTAKES = (
    Mistake(
        lambda Y, A: Y @ (Y.T @ A),
        "You used Y as if its columns were orthonormal: take Q from the QR decomposition of Y first.",
    ),
    Mistake(
        lambda Y, A: np.linalg.qr(Y)[0].T @ A,
        "You returned the coordinates QᵀA: multiply by Q to get back to vectors of m entries.",
    ),
    Mistake(
        lambda Y, A: A - project(Y, A),
        "You returned what the projection drops, A − QQᵀA, and not what it keeps.",
    ),
    Mistake(
        lambda Y, A: A,
        "Nothing was dropped: you projected on the whole space, perhaps by a square Q from mode='complete'.",
    ),
)


# 09.2 Wide, tall and square, k always smaller than both sides.


def compress(A: Array, k: int, what: str) -> Array:
    U, _, Vt = np.linalg.svd(A, full_matrices=False)
    return np.asarray(U[:, :k].T @ A if what == "rows" else A @ Vt[:k].T)


def _is_compressed(got: object, A: Array, k: int, what: str) -> bool:
    """Whether `got` is the right matrix up to the signs of its rows or columns."""
    right = compress(A, k, what)
    if not isinstance(got, np.ndarray) or got.shape != right.shape or got.dtype.kind != "f":
        return False
    turned, right = (got, right) if what == "rows" else (got.T, right.T)
    return np.allclose(np.abs(turned), np.abs(right)) and np.allclose(turned.T @ turned, right.T @ right)


def _compress_cases(rng: np.random.Generator) -> Iterator[Case]:
    for m, n, k in [(7, 4, 2), (4, 6, 3), (5, 5, 2)]:
        U, V = _orthonormal(rng, m, min(m, n)), _orthonormal(rng, n, min(m, n))
        A = (U * (min(m, n) - np.arange(min(m, n)) + rng.random())) @ V.T
        yield A, k, "rows"
        yield A, k, "columns"


def _unweighted(A: Array, k: int, what: str) -> Array:
    U, _, Vt = np.linalg.svd(A, full_matrices=False)
    return Vt[:k] if what == "rows" else U[:, :k]


def _rebuilt(A: Array, k: int, what: str) -> Array:
    U, s, Vt = np.linalg.svd(A, full_matrices=False)
    return np.asarray((U[:, :k] * s[:k]) @ Vt[:k])


_COMPRESS_MISTAKES = (
    Mistake(
        lambda A, k, what: compress(A, k, "columns" if what == "rows" else "rows"),
        "You took one for the other: U_kᵀA has k rows, and A V_k has k columns.",
    ),
    Mistake(
        _unweighted,
        "You left out the singular values: U_kᵀA is Σ_kV_kᵀ, and A V_k is U_kΣ_k.",
    ),
    Mistake(
        lambda A, k, what: A[:k] if what == "rows" else A[:, :k],
        "You kept the first k rows or columns of A as they are: the new ones are mixtures of all the old ones.",
    ),
    Mistake(
        _rebuilt,
        "You rebuilt the best rank-k matrix, which is as large as A: compressed, it has k rows or k columns.",
    ),
)


# 09.3 The answer is any Q that passes: as many orthonormal columns as asked for, and nearly all of A in their span.


def range_basis(A: Array, k: int, p: int, q: int, rng: np.random.Generator) -> Array:
    Q = np.linalg.qr(A @ rng.standard_normal((A.shape[1], k + p)))[0]
    for _ in range(q):
        Q = np.linalg.qr(A.T @ Q)[0]
        Q = np.linalg.qr(A @ Q)[0]
    return Q


def _range_cases(rng: np.random.Generator) -> Iterator[Case]:
    for m, n, k, p, q in [(60, 40, 3, 5, 2), (40, 60, 5, 4, 1), (50, 30, 4, 5, 0)]:
        U, V = _orthonormal(rng, m, min(m, n)), _orthonormal(rng, n, min(m, n))
        yield (U * 0.5 ** np.arange(min(m, n))) @ V.T, k, p, q, np.random.default_rng(k)
    U, V = _orthonormal(rng, 70, 60), _orthonormal(rng, 60, 60)  # a flat tail: only power steps find the leading four
    yield (U * np.where(np.arange(60) < 4, 4.0, 1.0)) @ V.T, 4, 3, 2, np.random.default_rng(6)


def _is_range(got: object, A: Array, k: int, p: int, q: int, _: np.random.Generator) -> bool:
    if not isinstance(got, np.ndarray) or got.shape != (len(A), k + p) or not np.isfinite(got).all():
        return False
    if not np.allclose(got.T @ got, np.eye(k + p), atol=1e-8):
        return False
    best = np.linalg.norm(np.linalg.svd(A, compute_uv=False)[k:])
    allowed = best * (2.0 if q == 0 else 1.0)
    return bool(np.linalg.norm(A - got @ (got.T @ A)) <= allowed)


_RANGE_MISTAKES = (
    Mistake(
        lambda A, k, p, q, rng: range_basis(A, k, 0, q, rng),
        "Q has k columns: the sketch takes k + p random vectors, and p of them are there for safety.",
    ),
    Mistake(
        lambda A, k, p, q, rng: range_basis(A, k, p, 0, rng),
        "You left out the power steps: multiply by Aᵀ and by A again, q times, with a QR after each product.",
    ),
    Mistake(
        lambda A, k, p, q, rng: A @ rng.standard_normal((A.shape[1], k + p)),
        "You returned the sketch itself: its columns are not orthonormal yet. Take Q of its QR decomposition.",
    ),
    Mistake(
        lambda A, k, p, q, rng: _orthonormal(rng, len(A), k + p),
        "Your Q is random and has never seen A: the random vectors have to be multiplied by A.",
    ),
    Mistake(
        lambda A, k, p, q, rng: range_basis(A.T, k, p, q, rng),
        "You found a basis for the rows: Q has to span what A can reach, so its columns have m entries.",
    ),
)


# 09.4 Q is a projection's basis; the residual is never formed. The tail is large, so cancellation stays harmless.


def residual_norm(A: Array, Q: Array) -> float:
    return math.sqrt(max(0.0, float(np.linalg.norm(A) ** 2 - np.linalg.norm(Q.T @ A) ** 2)))


def _residual_cases(rng: np.random.Generator) -> Iterator[Case]:
    for m, n, k in [(8, 5, 2), (5, 8, 3), (6, 6, 1)]:
        yield rng.standard_normal((m, n)), _orthonormal(rng, m, k)


_RESIDUAL_MISTAKES = (
    Mistake(
        lambda A, Q: float(np.linalg.norm(A) - np.linalg.norm(Q.T @ A)),
        "You subtracted the norms: Pythagoras holds for their squares.",
    ),
    Mistake(
        lambda A, Q: residual_norm(A, Q) ** 2,
        "You forgot the square root: this is the squared error.",
    ),
    Mistake(
        lambda A, Q: float(np.linalg.norm(Q.T @ A)),
        "You returned the norm of what is kept, ‖QᵀA‖, and not of what is lost.",
    ),
    Mistake(
        lambda A, Q: residual_norm(A, Q) / float(np.linalg.norm(A)),
        "You divided by ‖A‖: that is the relative error.",
    ),
)


EXERCISES: list[Exercise] = [
    Exercise("09.1", "project on the span of the columns of Y", project, _project_cases, _PROJECT_MISTAKES),
    Exercise("09.2", "compress rows or columns", compress, _compress_cases, _COMPRESS_MISTAKES, _is_compressed),
    Exercise("09.3", "find a basis with random vectors", range_basis, _range_cases, _RANGE_MISTAKES, _is_range),
    Exercise("09.4", "the error without the residual", residual_norm, _residual_cases, _RESIDUAL_MISTAKES),
]
