"""What the operators and functions of the formulas do to values: norms, ranks, traces, products of other kinds."""

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import sympy
from sympy.matrices.matrixbase import MatrixBase

from lora_edu.linalg import exact_rank, numerical_rank

from .values import (
    DoesNotCompute,
    Eye,
    Work,
    described,
    divide,
    elementwise,
    is_exact,
    is_matrix,
    multiply,
    power,
    scalar_if_one,
    shape,
    to_float,
    together,
)  # fmt: skip

_SCALAR: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "exp": (sympy.exp, np.exp),
    "ln": (sympy.log, np.log),
    "lg": (lambda x: sympy.log(x, 10), np.log10),
    "sin": (sympy.sin, np.sin),
    "cos": (sympy.cos, np.cos),
    "tan": (sympy.tan, np.tan),
    "arcsin": (sympy.asin, np.arcsin),
    "arccos": (sympy.acos, np.arccos),
    "arctan": (sympy.atan, np.arctan),
    "sinh": (sympy.sinh, np.sinh),
    "cosh": (sympy.cosh, np.cosh),
    "tanh": (sympy.tanh, np.tanh),
    "sign": (sympy.sign, np.sign),
    "sgn": (sympy.sign, np.sign),
}


def plain(value: Any) -> Any:
    """A value as a function of the chapter expects it: int, float, array, or SymPy where nothing else is exact."""
    if isinstance(value, sympy.Integer):
        return int(value)
    if isinstance(value, sympy.Expr) and value.is_number:
        return value if not value.is_Rational else float(value)
    if isinstance(value, MatrixBase) and all(entry.is_Integer for entry in value):
        return np.array(value.tolist(), dtype=np.int64)
    if isinstance(value, np.ndarray) and value.shape[1] == 1:
        return value[:, 0]
    return value


def multiplied(left: Any, right: Any, sign: str, work: Work) -> Any:
    """left · right for any of the signs of a product. Between two columns the dot is the inner product."""
    if sign == "⊗":
        return _float_pair(np.kron, left, right, work)
    if sign == "⊙":
        if shape(left) != shape(right):
            raise DoesNotCompute(f"{described(left)} and {described(right)} have no entrywise product")
        return _float_pair(np.multiply, left, right, work)
    columns = is_matrix(left) and is_matrix(right) and shape(left)[1] == shape(right)[1] == 1
    if sign == "·" and columns:
        return inner_product(left, right, work)
    if sign == "×" and (is_matrix(left) or is_matrix(right)):
        raise DoesNotCompute("× stands between numbers, and for shapes")
    return multiply(left, right, work)


def _float_pair(function: Callable[[Any, Any], Any], left: Any, right: Any, work: Work) -> Any:
    if isinstance(left, MatrixBase) and isinstance(right, MatrixBase):
        if function is np.multiply:
            return left.multiply_elementwise(right)
        return sympy.kronecker_product(left, right)
    return work.see(function(to_float(left, work), to_float(right, work)))


def inner_product(left: Any, right: Any, work: Work) -> Any:
    """⟨X, Y⟩: the sum of the products of entries."""
    if shape(left) != shape(right):
        raise DoesNotCompute(f"⟨ ⟩ of {described(left)} and {described(right)}")
    left, right = together(left, right, work)
    if not is_matrix(left):
        return left * right
    if isinstance(left, MatrixBase):
        return sum(left.multiply_elementwise(right), sympy.Integer(0))
    return work.see(float(np.sum(left * right)))


def marked(value: Any, mark: str, work: Work) -> Any:
    """What is written behind a value: T, +, !, %, °."""
    if mark == "T":
        return value.T if is_matrix(value) else value
    if mark == "+":
        return work.see(np.linalg.pinv(to_float(value, work))) if not isinstance(value, MatrixBase) else value.pinv()
    if is_matrix(value) or isinstance(value, Eye):
        raise DoesNotCompute(f"{mark} stands behind a number")
    if mark == "!":
        return sympy.factorial(value)
    return divide(value, sympy.Integer(100), work) if mark == "%" else value


def fenced(value: Any, kind: str, index: str, work: Work) -> Any:
    if kind == "norm":
        return norm(value, index, work)
    if is_matrix(value):
        raise DoesNotCompute(f"|·| of {described(value)} is not clear: write det, or a norm with its index")
    if kind == "floor":
        return sympy.floor(value)
    if kind == "ceil":
        return sympy.ceiling(value)
    return abs(value)


def norm(value: Any, index: str, work: Work) -> Any:
    """‖·‖ of a vector, ‖·‖_F, ‖·‖₂, ‖·‖₁, ‖·‖_∞, ‖·‖_* of a matrix."""
    if isinstance(value, Eye):
        raise DoesNotCompute("the size of the identity is not known here")
    if not is_matrix(value):
        return abs(value)
    vector = 1 in shape(value)
    if not index and not vector:
        raise DoesNotCompute(f"which norm of {described(value)}? Write ‖·‖_F or ‖·‖₂")
    name = {"": "F", "F": "F", "2": "F" if vector else "2", "*": "nuc", "∗": "nuc", "·": "nuc", "infty": "inf"}.get(
        index, index
    )
    if name == "F" and isinstance(value, MatrixBase):
        return sympy.sqrt(sum((abs(entry) ** 2 for entry in value), sympy.Integer(0)))
    orders: dict[str, Any] = {"F": None, "2": 2, "nuc": "nuc", "inf": np.inf, "1": 1}
    if name not in orders:
        raise DoesNotCompute(f"the norm ‖·‖_{index} is not known")
    array = to_float(value, work)
    if vector and name in {"1", "inf"}:
        array = array.ravel()
    return work.see(float(np.linalg.norm(array, orders[name])))


def rank(value: Any, work: Work) -> Any:
    if isinstance(value, Eye):
        raise DoesNotCompute("the size of the identity is not known here")
    if not is_matrix(value):
        return sympy.Integer(int(value != 0))
    if isinstance(value, MatrixBase):
        if all(entry.is_Rational for entry in value):
            return sympy.Integer(exact_rank(value))
        return sympy.Integer(value.rank(simplify=True))
    tolerance = work.eps * max(value.shape) * np.linalg.norm(value, 2)
    if not np.isfinite(value).all():
        raise DoesNotCompute("a matrix with entries that are not finite has no rank")
    return sympy.Integer(numerical_rank(value, float(tolerance)).rank)


def determinant(value: Any, work: Work) -> Any:
    if not is_matrix(value):
        return value
    if shape(value)[0] != shape(value)[1]:
        raise DoesNotCompute(f"{described(value)} has no determinant")
    if isinstance(value, MatrixBase):
        return value.det()
    work.scale = max(work.scale, float(np.prod(np.linalg.norm(value, axis=1))))
    return float(np.linalg.det(value))


def trace(value: Any, work: Work) -> Any:
    if not is_matrix(value):
        return value
    if shape(value)[0] != shape(value)[1]:
        raise DoesNotCompute(f"{described(value)} has no trace")
    return value.trace() if isinstance(value, MatrixBase) else work.see(float(np.trace(value)))


def diagonal(value: Any) -> Any:
    if not is_matrix(value):
        return value
    if 1 in shape(value):
        return sympy.diag(*value) if isinstance(value, MatrixBase) else np.diag(value.ravel())
    if isinstance(value, MatrixBase):
        return sympy.Matrix([[entry] for entry in value.diagonal()])
    return np.diag(value).reshape(-1, 1)


def named(name: str, values: list[Any], index: Any, work: Work) -> Any:
    """A function in upright letters, of one argument or, for min, max and gcd, of several."""
    if name in {"min", "max"}:
        return _extreme(name, values, work)
    if name == "gcd":
        return reduce(sympy.gcd, values)
    if name == "diag" and len(values) > 1:
        return diagonal(
            sympy.Matrix(values) if all(map(is_exact, values)) else np.array([[to_float(v, work)] for v in values])
        )
    if len(values) != 1:
        raise DoesNotCompute(f"{name} of {len(values)} arguments")
    value = values[0]
    if name == "log":
        return _logarithm(value, index, work)
    if name in _SCALAR:
        exact, floating = _SCALAR[name]
        return elementwise(exact, value) if is_exact(value) else work.see(elementwise(floating, value))
    return _of_matrix(name, value, work)


def _logarithm(value: Any, base: Any, work: Work) -> Any:
    natural = elementwise(sympy.log if is_exact(value) else np.log, value)
    return natural if base is None else divide(natural, sympy.log(base), work)


def _of_matrix(name: str, value: Any, work: Work) -> Any:
    flat: Any = value if not is_matrix(value) else list(value) if isinstance(value, MatrixBase) else value.ravel()
    if name == "rank":
        return rank(value, work)
    if name == "det":
        return determinant(value, work)
    if name == "tr":
        return trace(value, work)
    if name == "diag":
        return diagonal(value)
    if name == "vec":
        return value.T.reshape(len(value), 1) if isinstance(value, MatrixBase) else value.T.reshape(-1, 1)
    if name == "dim":
        return sympy.Integer(shape(value)[0])
    if name == "nnz":
        return sympy.Integer(sum(entry != 0 for entry in flat))
    if name in {"mean", "var", "std"}:
        return work.see(float(getattr(np, name)(to_float(value, work))))
    raise DoesNotCompute(f"{name} is not known")


def _extreme(name: str, values: list[Any], work: Work) -> Any:
    if len(values) == 1 and is_matrix(values[0]):
        values = list(values[0]) if isinstance(values[0], MatrixBase) else list(map(float, values[0].ravel()))
    if any(is_matrix(value) for value in values):
        raise DoesNotCompute(f"{name} of matrices")
    if all(is_exact(value) for value in values):
        return (sympy.Min if name == "min" else sympy.Max)(*values)
    return (min if name == "min" else max)(to_float(value, work) for value in values)


def blocks(rows: list[list[Any]], work: Work) -> Any:
    """A matrix of matrices."""
    try:
        if all(isinstance(entry, MatrixBase) for row in rows for entry in row):
            return reduce(lambda a, b: a.col_join(b), [reduce(lambda a, b: a.row_join(b), row) for row in rows])
        return np.block([[np.atleast_2d(to_float(entry, work)) for entry in row] for row in rows])
    except (ValueError, sympy.matrices.exceptions.ShapeError) as error:
        raise DoesNotCompute("the blocks of a matrix do not fit") from error


__all__ = ["blocks", "fenced", "inner_product", "marked", "multiplied", "named", "plain", "power", "scalar_if_one"]
