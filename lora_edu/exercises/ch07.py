"""Exercises of chapter 07: rebuild a matrix from its factors, find σ without an SVD, fix the signs, audit a claim."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .engine import Case, Exercise, Mistake

Array = NDArray[np.float64]


def _orthonormal(rng: np.random.Generator, rows: int, columns: int) -> Array:
    return np.linalg.qr(rng.standard_normal((rows, columns)))[0]


def _low_rank(rng: np.random.Generator, m: int, n: int, r: int) -> Array:
    return rng.standard_normal((m, r)) @ rng.standard_normal((r, n))


# 07.1 Wide matrices come with full factors only: Vh read as V is silent there, and raises an error on thin ones.


def rebuild(U: Array, s: Array, Vh: Array) -> Array:
    k = len(s)
    return (U[:, :k] * s) @ Vh[:k]


def _rebuild_cases(rng: np.random.Generator) -> Iterator[Case]:
    for m, n, r in [(4, 4, 4), (5, 3, 3), (3, 5, 3), (4, 6, 2), (3, 1, 1)]:
        yield tuple(np.linalg.svd(_low_rank(rng, m, n, r), full_matrices=True))
    yield tuple(np.linalg.svd(_low_rank(rng, 6, 3, 2), full_matrices=False))


_REBUILD_MISTAKES = (
    Mistake(
        lambda U, s, Vh: (U[:, : len(s)] * s) @ Vh.T[: len(s)],
        "You read Vh as V and transposed it again: numpy's third output is Vᵀ already. A square Vh gives no warning.",
    ),
    Mistake(
        lambda U, s, Vh: U[:, : len(s)] @ Vh[: len(s)],
        "You left out the singular values: the i-th column of U takes the factor s[i].",
    ),
    Mistake(
        lambda U, s, Vh: (U[:, : len(s)] * s**2) @ Vh[: len(s)],
        "You squared the singular values: numpy returns σ itself, not the eigenvalue σ² of AᵀA.",
    ),
    Mistake(lambda U, s, Vh: rebuild(U, s, Vh).T, "You rebuilt Aᵀ: the order is U, then Σ, then Vᵀ."),
)


# 07.2 The matrices are small in size, so that the rounding of a zero eigenvalue stays small after the square root.


def singular_values(A: Array) -> Array:
    gram = A @ A.T if A.shape[0] <= A.shape[1] else A.T @ A
    return np.asarray(np.sqrt(np.clip(np.linalg.eigvalsh(gram), 0, None))[::-1])


def _gram_cases(rng: np.random.Generator) -> Iterator[Case]:
    for m, n, r in [(3, 5, 3), (6, 4, 4), (4, 4, 4), (5, 3, 2), (2, 6, 1), (1, 4, 1)]:
        yield (0.1 * _low_rank(rng, m, n, r),)


def _of_columns(A: Array) -> Array:
    return np.asarray(np.sqrt(np.clip(np.linalg.eigvalsh(A.T @ A), 0, None))[::-1])


def _of_larger(A: Array) -> Array:
    return _of_columns(A if A.shape[1] >= A.shape[0] else A.T)


_GRAM_MISTAKES = (
    Mistake(
        lambda A: singular_values(A) ** 2,
        "You forgot the square root: the eigenvalues of the Gram matrix are σ², not σ.",
    ),
    Mistake(
        lambda A: singular_values(A)[::-1],
        "You returned them in ascending order, as eigvalsh does: singular values go from the largest down.",
    ),
    Mistake(
        lambda A: singular_values(A)[::-1] ** 2,
        "You returned eigvalsh's output as it is: take the square root, and turn the order round.",
    ),
    Mistake(
        _of_columns,
        "You used AᵀA for every shape: a wide matrix has only m singular values, and gets n. Take AAᵀ there.",
    ),
    Mistake(
        _of_larger,
        "You used the larger Gram matrix: it adds zeros, and an m x n matrix has just min(m, n) singular values.",
    ),
)


# 07.3 Tall and square factors: there Vt is square, and flipping its columns for its rows raises no error.


def _signs(rows: Array) -> Array:
    return np.asarray(np.sign(rows[np.arange(len(rows)), np.abs(rows).argmax(axis=1)]))


def fix_signs(U: Array, Vt: Array) -> tuple[Array, Array]:
    signs = _signs(U.T)
    return U * signs, Vt * signs[:, None]


def _sign_cases(rng: np.random.Generator) -> Iterator[Case]:
    for m, n in [(5, 3), (4, 4), (7, 2)]:
        yield _orthonormal(rng, m, n), _orthonormal(rng, n, n).T
    U = np.zeros((5, 3))
    U[0, 1], U[1:, [0, 2]] = -1, _orthonormal(rng, 4, 2)
    yield U, _orthonormal(rng, 3, 3).T


_SIGN_MISTAKES = (
    Mistake(
        lambda U, Vt: (fix_signs(U, Vt)[0], Vt),
        "You flipped U alone: the row of Vt with the same index has to flip with it, or the product is no longer A.",
    ),
    Mistake(
        lambda U, Vt: (U * _signs(U.T), Vt * _signs(Vt)[:, None]),
        "You gave Vt signs of its own: one sign belongs to the pair uᵢ, vᵢ, and here U decides it.",
    ),
    Mistake(
        lambda U, Vt: (U * _signs(U.T), Vt * _signs(U.T)),
        "You flipped the columns of Vt: the right singular vectors are its rows.",
    ),
    Mistake(
        lambda U, Vt: (U * np.sign(U[0]), Vt * np.sign(U[0])[:, None]),
        "You took the sign of the first entry: if it is zero, the vector is wiped out. Take the largest entry.",
    ),
    Mistake(
        lambda U, Vt: (U * np.sign(U.sum(axis=0)), Vt * np.sign(U.sum(axis=0))[:, None]),
        "You took the sign of the column's sum: the rule asks for the sign of its entry of largest magnitude.",
    ),
)


# 07.4 Every answer is the verdict of the first check that fails, so a mistake is a list of checks that lacks one.


def _first_failure(A: Array, U: Array, s: Array, Vt: Array, skip: str = "", by_rows: bool = False) -> str:
    gram = U @ U.T if by_rows else U.T @ U
    checks = {
        "U": np.allclose(gram, np.eye(len(gram))),
        "V": np.allclose(Vt @ Vt.T, np.eye(len(Vt))),
        "sign": (s >= 0).all(),
        "order": (np.diff(s) <= 0).all(),
        "product": np.allclose((U * s) @ Vt, A),
    }
    return next((name for name, holds in checks.items() if name not in skip.split() and not holds), "SVD")


def _audit_cases(rng: np.random.Generator) -> Iterator[Case]:
    for m, n in [(5, 3), (3, 5), (4, 4)]:
        k = min(m, n)
        U, Vt, s = _orthonormal(rng, m, k), _orthonormal(rng, n, k).T, np.sort(1 + rng.random(k))[::-1]
        A, one_less = (U * s) @ Vt, np.diag([1.0] * (k - 1) + [-1.0])
        yield A, U, s, Vt
        yield A, U * 2, s / 2, Vt
        yield A, U, s / 2, Vt * 2
        yield A, U, s @ one_less, one_less @ Vt
        yield A, U[:, ::-1], s[::-1], Vt[::-1]
        yield A, U, s, one_less @ Vt


_AUDIT_MISTAKES = (
    Mistake(
        lambda A, U, s, Vt: _first_failure(A, U, s, Vt, skip="U V sign order"),
        "You checked the product alone: an SVD also has orthonormal U and V, and σ ≥ 0 in order.",
    ),
    Mistake(
        lambda A, U, s, Vt: _first_failure(A, U, s, Vt, skip="V"),
        "You did not check V: the rows of Vt have to be orthonormal too.",
    ),
    Mistake(
        lambda A, U, s, Vt: _first_failure(A, U, s, Vt, skip="sign"),
        "You let a negative singular value pass: σ is a length, so its sign belongs into u or v.",
    ),
    Mistake(
        lambda A, U, s, Vt: _first_failure(A, U, s, Vt, skip="order"),
        "You did not check the order: σ₁ ≥ σ₂ ≥ … is part of the definition.",
    ),
    Mistake(
        lambda A, U, s, Vt: _first_failure(A, U, s, Vt, by_rows=True),
        "You tested UUᵀ: in thin form U has orthonormal columns, so UᵀU = I, while UUᵀ is only a projection.",
    ),
)


EXERCISES: list[Exercise] = [
    Exercise("07.1", "rebuild A from numpy's factors", rebuild, _rebuild_cases, _REBUILD_MISTAKES),
    Exercise("07.2", "singular values from the smaller Gram matrix", singular_values, _gram_cases, _GRAM_MISTAKES),
    Exercise("07.3", "one choice of signs", fix_signs, _sign_cases, _SIGN_MISTAKES),
    Exercise("07.4", "tell a true SVD from a false one", _first_failure, _audit_cases, _AUDIT_MISTAKES),
]
