"""What a printed number promises: that it is right to its last digit, which allows half a unit of that digit."""

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from .syntax import Expr, Grid, Mul, Neg, Num, Paren, PlusMinus, Post, Pow, substitute, walk
from .values import DoesNotCompute, Work, to_float

if TYPE_CHECKING:
    from .evaluate import Evaluator


@dataclass(frozen=True)
class Printed:
    """The units of the last digits of a printed number, tuple or matrix, in reading order."""

    units: tuple[float, ...]
    decimal: tuple[bool, ...]
    truncated: bool = False
    integers_round: bool = False
    on_right: bool = True

    @property
    def has_decimals(self) -> bool:
        return any(self.decimal)

    def rounded(self, integers_too: bool, on_right: bool) -> "Printed":
        """With ≈, integers are rounded as well; beside decimals in one matrix they are meant as they stand."""
        return replace(self, integers_round=integers_too and not self.has_decimals, on_right=on_right)

    def half_units(self, shape: tuple[int, ...]) -> Any:
        halves = [
            unit / 2 if decimal or self.integers_round else 0.0
            for unit, decimal in zip(self.units, self.decimal, strict=True)
        ]
        if len(halves) == 1:
            return np.asarray(halves[0])
        return np.array(halves).reshape(shape if int(np.prod(shape)) == len(halves) else (len(halves), 1))


def printed(node: Expr) -> Printed | None:
    """The promise of a side that is nothing but printed numbers, or None for one that is computed."""
    if isinstance(node, Num):
        return Printed((float(node.unit),), (node.places > 0,), node.truncated)
    if isinstance(node, Neg | PlusMinus):
        return printed(node.argument)
    if isinstance(node, Post) and node.mark in "%°":
        inner = printed(node.argument)
        if inner is None or node.mark == "°":
            return inner
        return replace(inner, units=tuple(unit / 100 for unit in inner.units), decimal=(True,) * len(inner.units))
    if isinstance(node, Mul) and len(node.factors) == 2:
        return _scientific(node)
    if isinstance(node, Grid):
        return _joined([entry for row in node.rows for entry in row])
    if isinstance(node, Paren) and node.items:
        return _joined(list(node.items))
    return None


def _scientific(node: Mul) -> Printed | None:
    mantissa, scale = node.factors
    inner = printed(mantissa)
    if inner is None or not (isinstance(scale, Pow) and isinstance(scale.base, Num) and scale.base.value == 10):
        return None
    exponent = scale.exponent
    sign, number = (-1, exponent.argument) if isinstance(exponent, Neg) else (1, exponent)
    if not isinstance(number, Num) or number.value.denominator != 1:
        return None
    factor = float(Fraction(10) ** (sign * int(number.value)))
    return replace(
        inner, units=tuple(unit * factor for unit in inner.units), decimal=(inner.has_decimals,) * len(inner.units)
    )


def _joined(entries: list[Expr]) -> Printed | None:
    parts = [printed(entry) for entry in entries]
    if not parts or any(part is None for part in parts):
        return None
    known = [part for part in parts if part is not None]
    return Printed(
        tuple(unit for part in known for unit in part.units), tuple(flag for part in known for flag in part.decimal)
    )


def allowance(node: Expr, evaluator: "Evaluator") -> Any:
    """How far a side can be off because decimals in it were rounded: to first order, all in the worst direction."""
    decimals = {part for part in walk(node) if isinstance(part, Num) and part.places > 0}
    if not decimals:
        return 0.0
    try:
        middle = np.asarray(to_float(evaluator(node), Work()))
        total = np.zeros(middle.shape)
        for number in decimals:
            pushed = replace(number, value=number.value + number.unit / 2)
            moved = np.asarray(to_float(evaluator(substitute(node, number, pushed)), Work()))
            total = total + np.abs(moved - middle)
    except DoesNotCompute:
        return 0.0
    return total
