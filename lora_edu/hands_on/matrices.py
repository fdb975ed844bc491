"""Two figures about one small matrix: the rank lab of chapter 06 and the SVD ellipse of chapter 07.

What they say without a script must be the same on every machine. So a determinant is taken exactly and then rounded,
and a singular value below the tolerance, which is nothing but rounding, is not printed.
"""

import numpy as np
from numpy.typing import ArrayLike

from ..linalg import exact_rank, numerical_rank
from ..linalg.checks import Array, as_matrix, as_rational_matrix
from .figure import HandsOn, table

LARGEST = 1e6  # beyond it the entries no longer fit their boxes


def rank_lab(A: ArrayLike) -> HandsOn:
    """The rank of a 3 x 3 matrix as one edits it: exact and in floating point, with a tolerance to move.

    The figure shows the determinant as computed and exactly, the three singular values against the tolerance, and
    the columns as arrows with the line, plane or box that they span.

    Raises ValueError unless A is 3 x 3, finite, and no entry is larger than a million in size.
    """
    A = _small_matrix(A, 3, "rank_lab")
    rank, tolerance, _ = numerical_rank(A)
    rows = [("quantity", "value"), ("rank at numpy's tolerance", str(rank))]
    rows += [("exact rank of the stored numbers", str(exact_rank(A))), ("determinant, exactly", _determinant(A))]
    rows += _singular_values(A)
    return HandsOn(
        figure="rank-lab",
        title="Rank lab",
        data={"matrix": A.tolist()},
        state={"matrix": A.tolist(), "tolerance": None},
        still=table(f"The rank of {_words(A)}", rows),
        words=f"the matrix {_words(A)} has rank {rank} at tolerance {tolerance:.1e}.",
    )


def svd_ellipse(A: ArrayLike) -> HandsOn:
    """A 2 x 2 matrix as what it does to the unit circle: rotation, stretch, rotation. Its columns can be dragged.

    Raises ValueError unless A is 2 x 2, finite, and no entry is larger than a million in size.
    """
    A = _small_matrix(A, 2, "svd_ellipse")
    values = _singular_values(A)
    rows = [("quantity", "value"), *values, ("determinant, exactly", _determinant(A))]
    return HandsOn(
        figure="svd-ellipse",
        title="SVD ellipse",
        data={"matrix": A.tolist()},
        state={"matrix": A.tolist(), "step": 3},
        still=table(f"What {_words(A)} does to the unit circle", rows),
        words=f"the matrix {_words(A)} takes the unit circle to an ellipse. "
        + ", ".join(f"{name} is {value}" for name, value in values)
        + ".",
    )


def _small_matrix(A: ArrayLike, size: int, name: str) -> Array:
    A = as_matrix(A).astype(np.float64)
    if A.shape != (size, size):
        raise ValueError(f"{name} takes a matrix of shape {(size, size)}, got {A.shape}")
    if np.abs(A).max() > LARGEST:
        raise ValueError(f"{name} takes entries up to {LARGEST:.0e} in size, got {A.flat[np.abs(A).argmax()]:g}")
    return A


def _singular_values(A: Array) -> list[tuple[str, str]]:
    _, tolerance, s = numerical_rank(A)
    digits = "₁₂₃"
    return [(f"σ{digits[i]}", f"{x:.5g}" if x > tolerance else "below the tolerance") for i, x in enumerate(s)]


def _determinant(A: Array) -> str:
    exact = as_rational_matrix(A).to_field()
    return f"{float(exact.domain.to_sympy(exact.det())):.5g}"


def _words(A: Array) -> str:
    return "[" + ", ".join("[" + ", ".join(f"{x:.12g}" for x in row) + "]" for row in A) + "]"
