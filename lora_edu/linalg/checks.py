"""What counts as a matrix here: real, two axes, not empty, finite. All else is refused, with its shape or entry."""

import math

import numpy as np
import sympy
from numpy.typing import ArrayLike, NDArray
from sympy.polys.matrices import DomainMatrix

Array = NDArray[np.floating]


def as_matrix(A: ArrayLike) -> Array:
    """`A` as a two-dimensional, finite, non-empty float array. float32 is kept, all else becomes float64."""
    try:
        array = np.asarray(A)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"expected a non-empty matrix with two axes: {error}") from None
    if np.iscomplexobj(array):
        raise ValueError("expected a real matrix, got complex entries")
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"expected a non-empty matrix with two axes, got shape {array.shape}")
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        total = array.sum()  # one reading, and no mask as large as the matrix; of finite entries it may still overflow
    if not np.isfinite(total) and not np.isfinite(array).all():
        raise ValueError("the matrix has entries that are not finite (nan or inf)")
    return array


def as_rational_matrix(A: ArrayLike) -> DomainMatrix:
    """`A` as an exact matrix over the rationals."""
    array = np.asarray(A, dtype=object)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"expected a non-empty matrix with two axes, got shape {array.shape}")
    entries = []
    for entry in array.ravel():
        try:
            # numpy's own scalars go through Python's numbers, which SymPy turns into rationals without rounding
            number = entry.item() if isinstance(entry, np.generic) else entry
            if isinstance(number, float) and not math.isfinite(number):  # sympy.Rational(nan) is 0
                raise ValueError("nan or infinite")
            entries.append(sympy.Rational(number))
        except (TypeError, ValueError) as error:
            raise ValueError(f"entry {entry!r} is not a finite rational number") from error
    return DomainMatrix.from_Matrix(sympy.Matrix(*array.shape, entries))
