"""Numbers and matrices as the verifier computes with them: exact while everything is exact, float64 after that.

A value is a SymPy expression or matrix (exact), or a Python number or two-dimensional array (float). A vector is a
column. `Work` remembers how coarse the coarsest float was and how large numbers became on the way, which is what a
fair tolerance depends on.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import sympy
from sympy.matrices.matrixbase import MatrixBase


class DoesNotCompute(ValueError):
    """The formula has no value: shapes that do not fit, a division by zero, an index out of range."""


class Unbound(LookupError):
    """A name in the formula is bound to nothing that it can be computed with."""


@dataclass
class Work:
    eps: float = 0.0
    scale: float = 0.0

    def see(self, value: Any) -> Any:
        """Note the size of a value that came up."""
        if isinstance(value, np.ndarray) and value.size:
            self.scale = max(self.scale, float(np.max(np.abs(value))))
        elif isinstance(value, float | complex):
            self.scale = max(self.scale, abs(value))
        return value

    def tolerance(self, size: float) -> float:
        """Half the digits of the coarsest float for results of this size, and what cancellation may leave."""
        half = math.sqrt(self.eps)
        return half * size + min(1000 * self.eps, half) * self.scale

    def coarse(self, eps: float) -> None:
        self.eps = max(self.eps, eps)


@dataclass(frozen=True)
class Eye:
    """A multiple of the identity whose size the other operand decides."""

    factor: Any = sympy.S.One


def is_matrix(value: Any) -> bool:
    return isinstance(value, MatrixBase | np.ndarray)


def is_exact(value: Any) -> bool:
    return isinstance(value, sympy.Basic | MatrixBase | Eye)


def lift(value: Any, work: Work, name: str = "it") -> Any:
    """A kernel's object as a value; a 1 × 1 matrix is a number. Raises Unbound for what is neither."""
    return scalar_if_one(_lift(value, work, name))


def _lift(value: Any, work: Work, name: str) -> Any:
    if isinstance(value, bool | np.bool_ | str | bytes | dict | set) or value is None:
        raise Unbound(f"{name} is bound to {type(value).__name__}, which is no number and no matrix")
    if isinstance(value, Eye):
        return value
    if hasattr(value, "detach"):
        value = _from_torch(value)
    if isinstance(value, int | np.integer):
        return sympy.Integer(int(value))
    if isinstance(value, Fraction):
        return sympy.Rational(value.numerator, value.denominator)
    if isinstance(value, float | np.floating):
        work.coarse(float(np.finfo(type(value)).eps))
        return work.see(float(value))
    if isinstance(value, complex | np.complexfloating):
        work.coarse(2.0**-52)
        return work.see(complex(value))
    if isinstance(value, MatrixBase):
        return value if not value.has(sympy.Float) else to_float(value, work)
    if isinstance(value, sympy.Basic):
        return value if not value.has(sympy.Float) or value.free_symbols else to_float(value, work)
    if isinstance(value, list | tuple | range):
        return _from_sequence(value, work, name)
    if isinstance(value, np.ndarray):
        return _from_array(value, work, name)
    if callable(value):
        return value
    raise Unbound(f"{name} is bound to {type(value).__name__}, which is no number and no matrix")


def _from_torch(tensor: Any) -> Any:
    array = tensor.detach().cpu()
    if array.dtype.is_floating_point and array.dtype.itemsize < 4:  # numpy has no bfloat16: keep the coarseness
        eps = float(np.finfo(np.float16).eps) if "bfloat" not in str(array.dtype) else 2.0**-8
        array = array.float().numpy().view(_Coarse)
        array.eps = eps
        return array
    return array.numpy()


class _Coarse(np.ndarray[Any, Any]):
    eps: float = 0.0


def _from_sequence(items: Sequence[Any], work: Work, name: str) -> Any:
    if items and isinstance(items[0], list | tuple | np.ndarray):
        try:
            return lift(np.array([[_plain(entry) for entry in row] for row in items]), work, name)
        except (ValueError, TypeError) as error:
            raise Unbound(f"{name} is a list that is no matrix") from error
    values = [lift(item, work, name) for item in items]
    if any(is_matrix(value) or callable(value) for value in values):
        raise Unbound(f"{name} is a sequence of {len(items)} objects that are no numbers")
    return column(values, work)


def _plain(entry: Any) -> Any:
    return sympy.Rational(entry.numerator, entry.denominator) if isinstance(entry, Fraction) else entry


def _from_array(array: "np.ndarray[Any, Any]", work: Work, name: str) -> Any:
    if array.ndim == 0:
        return lift(array.item() if array.dtype == object else array[()], work, name)
    if array.ndim > 2:
        raise Unbound(f"{name} has {array.ndim} axes; a matrix has two")
    eps = getattr(array, "eps", 0.0)  # of 16-bit floats, which come as float32
    if array.ndim == 1:
        array = array.reshape(-1, 1)
    if array.dtype == object:
        return sympy.Matrix([[_plain(entry) for entry in row] for row in array.tolist()])
    if array.dtype.kind in "iu" and array.size <= 400:
        return sympy.Matrix(array.tolist()) if array.size else sympy.zeros(*array.shape)
    if array.dtype.kind not in "iufc":
        raise Unbound(f"{name} is an array of {array.dtype}, which are no numbers")
    work.coarse(eps or float(np.finfo(array.dtype if array.dtype.kind in "fc" else float).eps))
    return work.see(np.asarray(array, dtype=complex if array.dtype.kind == "c" else float))


def column(values: Sequence[Any], work: Work) -> Any:
    if all(is_exact(value) for value in values):
        return sympy.Matrix([[value] for value in values])
    return np.array([[to_float(value, work)] for value in values])


def to_float(value: Any, work: Work) -> Any:
    """The value in float64 (or complex128). Raises DoesNotCompute when symbols are left in it."""
    if isinstance(value, np.ndarray | float | complex):
        return value
    work.coarse(2.0**-52)
    try:
        if isinstance(value, MatrixBase):
            numbers = [complex(entry.evalf(30)) for entry in value]
            array = np.array(numbers).reshape(value.shape)
            return work.see(array.real if not array.imag.any() else array)
        number = complex(sympy.sympify(value).evalf(30))
    except TypeError as error:
        raise DoesNotCompute(f"{value} is no number") from error
    return work.see(number.real if not number.imag else number)


def together(left: Any, right: Any, work: Work) -> tuple[Any, Any]:
    """Both exact, or both float."""
    if is_exact(left) and is_exact(right):
        return left, right
    return to_float(left, work), to_float(right, work)


def shape(value: Any) -> tuple[int, int]:
    return tuple(value.shape) if is_matrix(value) else (1, 1)


def described(value: Any) -> str:
    return "a number" if not is_matrix(value) else "{} × {}".format(*value.shape)


def add(left: Any, right: Any, work: Work) -> Any:
    if isinstance(left, Eye) or isinstance(right, Eye):
        return _add_identity(left, right, work)
    if shape(left) != shape(right) or is_matrix(left) != is_matrix(right):
        if not is_matrix(left) and left == 0:
            return right
        if not is_matrix(right) and right == 0:
            return left
        raise DoesNotCompute(f"{described(left)} and {described(right)} cannot be added")
    left, right = together(left, right, work)
    return work.see(left + right)


def _add_identity(left: Any, right: Any, work: Work) -> Any:
    if isinstance(left, Eye) and isinstance(right, Eye):
        return Eye(left.factor + right.factor)
    eye, other = (left, right) if isinstance(left, Eye) else (right, left)
    if not is_matrix(other):
        return add(other, eye.factor, work)  # one by one
    if shape(other)[0] != shape(other)[1]:
        raise DoesNotCompute(f"the identity cannot be added to {described(other)}")
    return add(other, identity_like(eye, other), work)


def identity_like(eye: Eye, other: Any) -> Any:
    return eye.factor * sympy.eye(shape(other)[0]) if is_exact(eye.factor) else eye.factor * np.eye(shape(other)[0])


def multiply(left: Any, right: Any, work: Work) -> Any:
    """A matrix product, or the product with a number; nothing commutes that does not."""
    if isinstance(left, Eye) or isinstance(right, Eye):
        eye, other = (left, right) if isinstance(left, Eye) else (right, left)
        if isinstance(other, Eye) or not is_matrix(other):
            return Eye(eye.factor * (other.factor if isinstance(other, Eye) else other))
        return multiply(eye.factor, other, work)
    if is_matrix(left) and is_matrix(right):
        if shape(left)[1] != shape(right)[0]:
            raise DoesNotCompute(f"{described(left)} times {described(right)} does not fit")
        left, right = together(left, right, work)
        return scalar_if_one(work.see(left @ right))
    left, right = together(left, right, work)
    return work.see(left * right)


def scalar_if_one(value: Any) -> Any:
    if is_matrix(value) and shape(value) == (1, 1):
        entry = value[0, 0]
        return entry if is_exact(value) else entry.item()
    return value


def divide(above: Any, below: Any, work: Work) -> Any:
    if isinstance(below, Eye):
        raise DoesNotCompute("one does not divide by a matrix")
    if is_matrix(below):
        raise DoesNotCompute(f"one does not divide by a matrix, here {described(below)}")
    if below == 0:
        raise DoesNotCompute("division by zero")
    if isinstance(above, Eye):
        return Eye(above.factor / below)
    above, below = together(above, below, work)
    return work.see(above / below)


def power(base: Any, exponent: Any, work: Work) -> Any:
    if is_matrix(exponent) or isinstance(exponent, Eye):
        raise DoesNotCompute("an exponent is a number")
    if isinstance(base, Eye):
        return Eye(base.factor**exponent)
    if not is_matrix(base):
        if base == 0 and exponent == -1:
            raise DoesNotCompute("division by zero")
        base, exponent = together(base, exponent, work)
        try:
            return work.see(base**exponent)
        except (ZeroDivisionError, OverflowError) as error:
            raise DoesNotCompute(str(error)) from error
    if shape(base)[0] != shape(base)[1]:
        raise DoesNotCompute(f"{described(base)} is not square and has no power")
    if isinstance(base, np.ndarray):
        if not is_exact(exponent) or not exponent.is_Integer:
            raise DoesNotCompute("only whole powers of a matrix are computed")
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            try:
                return work.see(np.linalg.matrix_power(base, int(exponent)))
            except np.linalg.LinAlgError as error:
                raise DoesNotCompute("the matrix cannot be inverted") from error
    try:
        return base**exponent
    except (ValueError, sympy.matrices.exceptions.NonInvertibleMatrixError) as error:
        raise DoesNotCompute("the matrix cannot be inverted") from error


def elementwise(function: Callable[[Any], Any], value: Any) -> Any:
    if isinstance(value, MatrixBase):
        return value.applyfunc(function)
    if isinstance(value, np.ndarray):
        return np.vectorize(lambda entry: function(entry))(value)
    return function(value)
