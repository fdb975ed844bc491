"""Whether an exact quantity is zero, proved by SymPy; nothing is rounded on the way to a yes."""

from dataclasses import dataclass
from typing import Any

import sympy
from sympy.matrices.matrixbase import MatrixBase

DIGITS = 50


@dataclass(frozen=True)
class Zero:
    holds: bool
    proved: bool  # False: zero to fifty digits, and no proof was found


def is_zero(value: Any) -> Zero:
    """Decide whether a SymPy expression or matrix is zero."""
    if isinstance(value, MatrixBase):
        entries = [is_zero(entry) for entry in value]
        return Zero(all(entry.holds for entry in entries), all(entry.proved for entry in entries))
    value = sympy.sympify(value)
    if value.is_Rational:
        return Zero(value == 0, True)
    if value.free_symbols:
        return Zero(sympy.simplify(value) == 0, True)
    size = abs(value.evalf(DIGITS, chop=False))
    if size.is_number and size > sympy.Float(10) ** (-DIGITS + 20):
        return Zero(False, True)
    return Zero(True, _proved_zero(value))


def _proved_zero(value: sympy.Expr) -> bool:
    expanded = sympy.expand(value)
    if expanded == 0 or sympy.radsimp(expanded) == 0:
        return True
    if sympy.simplify(expanded) == 0:
        return True
    try:
        variable = sympy.Symbol("x")
        return bool(sympy.minimal_polynomial(expanded, variable) == variable)
    except (NotImplementedError, sympy.polys.polyerrors.PolynomialError):
        return False
