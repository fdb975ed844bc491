"""Exact statements: SymPy decides them without rounding, as true, as false, or with an error, and never by a guess.

A difference is shown to be zero by algebra, and to be other than zero by its value at 60 digits.
"""

from fractions import Fraction
from typing import Any

import numpy as np
import sympy
from numpy.typing import NDArray
from sympy.polys.polyerrors import NotAlgebraic

from .statement import Statement

BY_SYMPY = "decided by SymPy, nothing rounded"
DIGITS = 60
CLEARLY_NONZERO = sympy.Rational(1, 10**40)  # far above what rounding at that many digits may leave


def exact(name: str, left: object, right: object = None, *, expected: bool = True) -> Statement:
    """Decide left = right in SymPy, with nothing rounded; or, with one argument, a SymPy relation or a bool.

    Both sides are numbers (int, Fraction, SymPy), SymPy expressions, or matrices of them (SymPy, nested lists, numpy
    integers), of one shape if they are to be equal. Expressions with symbols are equal if they are so for all values
    of the symbols. A bool is taken as it is: compute it from exact values.

    Raises TypeError for a float, or anything else that is not exact, and ValueError if SymPy can decide neither.
    """
    if right is None:
        how = "decided in exact arithmetic" if isinstance(left, bool | np.bool_) else BY_SYMPY
        return Statement("exact", name, decide_relation(left), expected, how)
    L, R = as_exact(left), as_exact(right)
    if L.shape != R.shape:
        return Statement("exact", name, False, expected, f"the shapes are {L.shape} and {R.shape}")
    gap = next((gap for gap in np.asarray(L - R, dtype=object).flat if not is_zero(gap)), None)
    detail = BY_SYMPY if gap is None else f"left − right = {brief(gap)}"
    return Statement("exact", name, gap is None, expected, detail)


def as_exact(value: object) -> NDArray[np.object_]:
    """A number, or a matrix in any form, as an array of SymPy expressions with the same shape.

    Raises TypeError for a float or anything else that is not exact, and ValueError for an infinite number.
    """
    array = np.asarray(value, dtype=object)
    exact = np.empty(array.shape, dtype=object)
    for index in np.ndindex(array.shape):
        exact[index] = _exact_number(array[index])
    return exact


def is_zero(expression: sympy.Expr) -> bool:
    """Whether an expression is zero, for all values of its symbols.

    Raises ValueError if SymPy can show neither.
    """
    expression = sympy.expand(expression)
    if expression.is_Rational:
        return bool(expression == 0)
    for choice in (0, -1):
        value = sympy.N(expression.subs(_point(expression, choice)), DIGITS)
        if value.is_number and value.is_finite and abs(value) > CLEARLY_NONZERO:
            return False
    if any(simpler(expression) == 0 for simpler in (sympy.radsimp, sympy.simplify)):
        return True
    if not expression.free_symbols:
        x = sympy.Dummy()
        try:
            return bool(sympy.minimal_polynomial(expression, x) == x)
        except (NotAlgebraic, NotImplementedError):
            pass
    raise ValueError(f"SymPy can show neither that {expression} is zero nor that it is not")


def decide_relation(relation: object) -> bool:
    """Whether a SymPy relation, or a bool, is true.

    Raises TypeError for anything else or a relation with floats, and ValueError if SymPy cannot decide it.
    """
    if isinstance(relation, bool | np.bool_ | sympy.logic.boolalg.BooleanAtom):
        return bool(relation)
    if not isinstance(relation, sympy.core.relational.Relational):
        raise TypeError(f"a relation or a bool is needed, or two sides to compare, not {relation!r}")
    left, right = (as_exact(side).item() for side in relation.args)
    gap = left - right
    if isinstance(relation, sympy.Eq):
        return is_zero(gap)
    decided = sympy.simplify(relation) if gap.free_symbols else relation.func(_sign(gap), 0)
    if not isinstance(decided, sympy.logic.boolalg.BooleanAtom):
        raise ValueError(f"SymPy cannot decide {relation}")
    return bool(decided)


def brief(number: sympy.Expr) -> str:
    """The number itself if it is short, else its value to three digits."""
    number = sympy.simplify(number)
    text = str(number)
    return text if len(text) <= 40 or number.free_symbols else f"{sympy.N(number, 3)}, rounded"


def _exact_number(value: Any) -> sympy.Expr:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | Fraction | sympy.Expr):
        raise TypeError(f"a {type(value).__name__} is not exact: give integers, fractions or SymPy, not {value!r}")
    number = sympy.sympify(value)
    if number.has(sympy.Float):
        raise TypeError(f"a float is not exact: give integers, fractions or SymPy, not {value!r}")
    if number.has(sympy.nan, sympy.oo, -sympy.oo, sympy.zoo):
        raise ValueError(f"{value!r} is not a finite number")
    return number


def _sign(number: sympy.Expr) -> sympy.Expr:
    return sympy.Integer(0) if is_zero(number) else sympy.sign(sympy.N(number, DIGITS))


def _point(expression: sympy.Expr, choice: int) -> dict[sympy.Symbol, sympy.Expr]:
    """For each symbol the first or last generic value that its assumptions allow. One that has none is left alone."""
    point = {}
    for i, symbol in enumerate(sorted(expression.free_symbols, key=str)):
        p = sympy.Integer(sympy.prime(i + 2))
        candidates = (p / 2, p, p + 1, -p, -p / 2)
        allowed = [c for c in candidates if all(getattr(c, f"is_{k}") == v for k, v in symbol.assumptions0.items())]
        if allowed:
            point[symbol] = allowed[choice]
    return point
