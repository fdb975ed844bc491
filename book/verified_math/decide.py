"""Whether a typeset relation holds: exactly where all is exact, else to the last printed digit."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import sympy

from .evaluate import Evaluator, index_range
from .exactness import is_zero
from .names import INDEX_LETTERS, Scope, as_integer, letters_in
from .patterns import expand_chain
from .printed import Printed, allowance, printed
from .syntax import (
    Big,
    Chain,
    Dots,
    Expr,
    Logic,
    Mul,
    Neg,
    Num,
    Paren,
    PlusMinus,
    Pow,
    Root,
    Space,
    Statement,
    Sym,
    Word,
    children,
    walk,
)  # fmt: skip
from .values import (
    DoesNotCompute,
    Eye,
    Unbound,
    Work,
    identity_like,
    is_exact,
    is_matrix,
    lift,
    scalar_if_one,
    shape,
    to_float,
)

UNDECIDED = {"∼": "is distributed as", "∝": "is proportional to", "→": "goes to", "↦": "is mapped to", "≅": "≅",
             "⊂": "⊂", "⊆": "⊆", "∘": "∘", "not": "not"}  # fmt: skip
ABOUT = 0.01  # ≈ where no digits are printed
MUCH = 10  # ≪ and ≫
MOST_CASES = 2_000
INVERSE = Neg(Num(Fraction(1), Fraction(1)))


class Undecidable(ValueError):
    """The formula is read, and asserts something that numbers cannot decide."""


@dataclass(frozen=True)
class Verdict:
    """`status` is true, false, unbound or unparsed; `kind` exact or numeric; `detail` has the values of both sides."""

    status: str
    kind: str = ""
    detail: str = ""

    @property
    def holds(self) -> bool:
        return self.status == "true"


def decide(statement: Statement, scope: Scope, draws: Iterable[Scope] = ()) -> Verdict:
    """Decide one statement in a scope, or in each of the scopes that random draws make of it."""
    try:
        count, details = 0, ""
        for drawn in draws:
            verdict = _decide_once(statement, drawn)
            if not verdict.holds:
                return Verdict(
                    verdict.status, "numeric", f"{verdict.detail}, on an input with {_sizes(drawn.layers[0])}"
                )
            count, details = count + 1, verdict.detail
        if count:
            return Verdict("true", "numeric", f"on {count} generic inputs; on the last one {details}")
        return _decide_once(statement, scope)
    except Unbound as error:
        return Verdict("unbound", detail=str(error.args[0]))
    except Undecidable as error:
        return Verdict("unparsed", detail=str(error))
    except DoesNotCompute as error:
        return Verdict("false", detail=f"it does not compute: {error}")


def asserts(statement: Statement) -> bool:
    """Whether it claims a relation (and is not the range of an index, as in i = 1, 2)."""
    if isinstance(statement, Logic):
        return True
    if not isinstance(statement, Chain):
        return False
    first = statement.items[0]
    return not (isinstance(first, Sym) and not first.index and first.base in INDEX_LETTERS and not first.suffix)


def has_number(node: Statement) -> bool:
    """Whether a number stands in it that is neither an index nor the −1 of an inverse."""
    if isinstance(node, Num):
        return True
    if isinstance(node, Pow) and node.exponent == INVERSE:
        return has_number(node.base)
    if isinstance(node, Sym):
        return False
    if isinstance(node, Root):
        return has_number(node.argument)
    return any(has_number(child) for child in children(node))


def _sizes(draw: Mapping[str, Any]) -> str:
    parts = []
    for name, value in draw.items():
        size = "×".join(map(str, np.shape(value)))
        parts.append(f"{name} {size}" if size else f"{name} = {value}")
    return ", ".join(parts)


def _decide_once(statement: Statement, scope: Scope) -> Verdict:
    last = Verdict("true", "exact")
    kinds, shown = set(), ""
    branches = any(isinstance(node, PlusMinus) for node in walk(statement))
    for values in _index_cases(statement, scope):
        for sign in (1, -1) if branches else (0,):
            last = _decide_case(statement, scope.with_layer(values) if values else scope, sign)
            if not last.holds:
                where = ", ".join(f"{letter} = {value}" for letter, value in values.items())
                return Verdict(last.status, last.kind, f"{last.detail}{f', for {where}' if where else ''}")
            kinds.add(last.kind)
            shown = shown or last.detail
    return Verdict("true", "exact" if kinds <= {"exact"} else "numeric", shown or last.detail)


def _index_cases(statement: Statement, scope: Scope) -> Iterable[dict[str, int]]:
    """Every value of the letters i, j (and k, l where they are free) that stand in an index outside a sum."""
    letters = sorted(set(_free_letters(statement, scope, frozenset())))
    ranges = [index_range(letter, [statement], scope, {letter}) for letter in letters]
    count = int(np.prod([len(r) for r in ranges])) if ranges else 1
    if count == 0:
        raise DoesNotCompute("an index has no values")
    if count > MOST_CASES:
        raise Undecidable(f"{count} values of the indices are too many")
    for values in product(*ranges):
        yield dict(zip(letters, values, strict=True))


def _free_letters(node: Statement, scope: Scope, taken: frozenset[str]) -> Iterable[str]:
    if isinstance(node, Big):
        taken = taken | set(node.indices)
    if isinstance(node, Word) and node.name in {"min", "max"} and node.index and isinstance(node.index[0], Sym):
        taken = taken | {node.index[0].base}
    if isinstance(node, Sym) and node.index:
        for part in node.index:
            for letter in letters_in(part, scope):
                if letter not in taken:
                    yield letter
    for child in children(node):
        yield from _free_letters(child, scope, taken)


def _decide_case(statement: Statement, scope: Scope, sign: int) -> Verdict:
    if isinstance(statement, Logic):
        left, right = _decide_case(statement.left, scope, sign), _decide_case(statement.right, scope, sign)
        holds = left.holds == right.holds if statement.connective == "⟺" else right.holds or not left.holds
        kind = "exact" if left.kind == right.kind == "exact" else "numeric"
        words = f"left is {left.status} ({left.detail}), right is {right.status} ({right.detail})"
        return Verdict("true" if holds else "false", kind, words)
    if not isinstance(statement, Chain):
        raise Undecidable("it has no relation to decide")
    items, relations = expand_chain(statement, Evaluator(scope, Work(), sign, sign != 0))
    kinds, details = [], []
    for before, relation, after in zip(items, relations, items[1:], strict=False):
        holds, exact, detail = _pair(before, relation, after, scope, sign)
        if not holds:
            return Verdict("false", "exact" if exact else "numeric", detail)
        kinds.append(exact)
        details.append(detail)
    return Verdict("true", "exact" if all(kinds) else "numeric", "; ".join(details[:3]))


def _pair(left: Expr, relation: str, right: Expr, scope: Scope, sign: int) -> tuple[bool, bool, str]:
    """One relation between two sides: whether it holds, whether that is exact, and both values in words."""
    if relation in UNDECIDED:
        raise Undecidable(f"the relation {relation!r} ({UNDECIDED[relation]}) is not one that numbers decide")
    work = Work()
    evaluator = Evaluator(scope, work, sign, sign != 0)
    if relation in "∈∉":
        holds, words = _member(left, right, evaluator)
        return holds == (relation == "∈"), True, words
    a, b = evaluator(left), evaluator(right)
    if (callable(a) and not is_matrix(a) and not is_exact(a)) or (callable(b) and not is_matrix(b) and not is_exact(b)):
        raise Unbound("a function stands where a number is meant")
    if relation == "⊥":
        product_ = evaluator(Mul((left, right), ("", "·")))
        holds, exact = _equal(product_, sympy.Integer(0), work)
        return holds, exact, f"the inner product is {show(product_)}"
    words = f"{show(a)} {relation} {show(b)}"
    if relation in {"=", "≈", "≠", "≉"}:
        holds, exact = _compare_equal(left, a, relation, right, b, evaluator)
    else:
        holds, exact = _ordered(a, relation, b, work)
    return holds, exact and not work.eps, words if holds else f"{words}{_gap(a, b)}"


def _gap(a: Any, b: Any) -> str:
    """By how much two sides differ, where that can be said."""
    try:
        left, right = _fitting(a, b)
        difference = np.abs(np.asarray(to_float(left, Work())) - np.asarray(to_float(right, Work())))
    except DoesNotCompute:
        return ""
    return f" (off by {'up to ' if difference.size > 1 else ''}{np.max(difference):.3g})"


def _compare_equal(left: Expr, a: Any, relation: str, right: Expr, b: Any, evaluator: Evaluator) -> tuple[bool, bool]:
    mine, theirs = printed(left), printed(right)
    work = evaluator.work
    if relation == "≉":
        holds, exact = _compare_equal(left, a, "≈", right, b, evaluator)
        return not holds, exact
    if relation == "≠":
        holds, exact = _equal(a, b, work)
        return not holds, exact
    if mine is not None and theirs is not None:
        if relation == "=":
            return _equal(a, b, work)
        return _within(a, b, [mine, theirs], evaluator, 0.0), False
    side = mine or theirs
    if side is not None and (relation == "≈" or side.has_decimals):
        other = right if mine else left
        extra = allowance(other, evaluator) if relation == "≈" else 0.0
        return _within(a, b, [side.rounded(relation == "≈", on_right=mine is None)], evaluator, extra), False
    if relation == "≈":
        extra = allowance(left, evaluator) + allowance(right, evaluator)
        size = np.maximum(np.abs(to_float(_sized(a, b), work)), np.abs(to_float(_sized(b, a), work))).max()
        if np.any(extra):
            return _within(a, b, [], evaluator, extra), False
        return _within(a, b, [], evaluator, ABOUT * size), False
    return _equal(a, b, work)


def _sized(value: Any, other: Any) -> Any:
    return identity_like(value, other) if isinstance(value, Eye) and is_matrix(other) else value


def _fitting(a: Any, b: Any) -> tuple[Any, Any]:
    """Both sides in one shape. Zero fits every shape; a tuple fits a row. Raises DoesNotCompute when nothing fits."""
    if isinstance(a, Eye) and isinstance(b, Eye):
        return a.factor, b.factor
    a, b = scalar_if_one(_sized(a, b)), scalar_if_one(_sized(b, a))
    a, b = (side.factor if isinstance(side, Eye) else side for side in (a, b))  # one by one
    if is_matrix(a) and is_matrix(b) and shape(a) != shape(b):
        raise DoesNotCompute(f"{shape(a)[0]} × {shape(a)[1]} on the left, {shape(b)[0]} × {shape(b)[1]} on the right")
    if is_matrix(a) and not is_matrix(b):
        if b != 0:
            raise DoesNotCompute(f"a matrix of {shape(a)[0]} × {shape(a)[1]} on the left, a number on the right")
        b = a * 0
    elif is_matrix(b) and not is_matrix(a):
        if a != 0:
            raise DoesNotCompute(f"a number on the left, a matrix of {shape(b)[0]} × {shape(b)[1]} on the right")
        a = b * 0
    return a, b


def _equal(a: Any, b: Any, work: Work) -> tuple[bool, bool]:
    a, b = _fitting(a, b)
    if is_exact(a) and is_exact(b):
        verdict = is_zero(a - b) if not (_infinite(a) or _infinite(b)) else a == b
        return verdict.holds if hasattr(verdict, "holds") else bool(verdict), getattr(verdict, "proved", True)
    left, right = np.asarray(to_float(a, work)), np.asarray(to_float(b, work))
    return bool(np.all(np.abs(left - right) <= work.tolerance(_size(left, right)))), False


def _size(left: Any, right: Any) -> float:
    return float(max(np.max(np.abs(left), initial=0.0), np.max(np.abs(right), initial=0.0)))


def _infinite(value: Any) -> bool:
    return isinstance(value, sympy.Expr) and bool(value.has(sympy.oo, sympy.zoo, sympy.nan))


def _within(a: Any, b: Any, sides: list[Printed], evaluator: Evaluator, extra: Any) -> bool:
    a, b = _fitting(a, b)
    left, right = np.asarray(to_float(a, evaluator.work)), np.asarray(to_float(b, evaluator.work))
    room: Any = np.asarray(extra, dtype=float)
    for side in sides:
        room = np.maximum(room, 0) + side.half_units(left.shape if left.ndim else ())
    rounding = 1e-12 * np.maximum(np.abs(left), np.abs(right)) + (2 * evaluator.work.eps * evaluator.work.scale)
    difference = left - right
    if len(sides) == 1 and sides[0].truncated:
        more = np.abs(left) - np.abs(right) if sides[0].on_right else np.abs(right) - np.abs(left)
        return bool(np.all((more >= 0) & (more < 2 * sides[0].half_units(()))))
    room = np.where(
        room > 0, room + rounding, evaluator.work.tolerance(_size(left, right)) if evaluator.work.eps else 0.0
    )
    return bool(np.all(np.abs(difference) <= room))


def _ordered(a: Any, relation: str, b: Any, work: Work) -> tuple[bool, bool]:
    if isinstance(a, Eye) or isinstance(b, Eye):
        raise DoesNotCompute("matrices are not ordered")
    if is_matrix(a) and is_matrix(b) and shape(a) != shape(b):
        raise DoesNotCompute("two matrices of different shapes are not ordered")
    exact = is_exact(a) and is_exact(b) and not is_matrix(a) and not is_matrix(b)
    if exact:
        difference = a - b if not (_infinite(a) or _infinite(b)) else None
        if difference is None:
            return bool(_ORDER[relation](float(a), float(b), 0.0)), True
        if difference.free_symbols:
            raise DoesNotCompute(
                f"{difference} has no sign while {', '.join(map(str, difference.free_symbols))} is open"
            )
        zero = is_zero(difference)
        if zero.holds:
            return relation in "≤≥", zero.proved
        if relation in "≪≫":
            return bool(_ORDER[relation](float(a), float(b), 0.0)), True
        return bool((difference.evalf(40) < 0) == (relation in "<≤")), True
    left, right = to_float(a, work), to_float(b, work)
    if np.iscomplexobj(left) or np.iscomplexobj(right):
        raise DoesNotCompute("complex numbers are not ordered")
    return bool(
        np.all(_ORDER[relation](np.asarray(left), np.asarray(right), work.tolerance(_size(left, right))))
    ), False


_ORDER = {
    "<": lambda a, b, tolerance: a < b,
    ">": lambda a, b, tolerance: a > b,
    "≤": lambda a, b, tolerance: a <= b + tolerance,
    "≥": lambda a, b, tolerance: a >= b - tolerance,
    "≪": lambda a, b, tolerance: MUCH * a <= b,
    "≫": lambda a, b, tolerance: a >= MUCH * b,
}  # fmt: skip


def _member(left: Expr, right: Expr, evaluator: Evaluator) -> tuple[bool, str]:
    if isinstance(right, Space):
        return _in_space(evaluator(left), right, evaluator)
    if isinstance(right, Paren):
        value = evaluator(left)
        if right.opening == "{":
            items = [item for item in right.items if not isinstance(item, Dots)]
            found = any(_equal(value, evaluator(item), evaluator.work)[0] for item in items)
            return found, f"{show(value)} in a set of {len(items)}"
        if len(right.items) == 2:
            low, high = evaluator(right.items[0]), evaluator(right.items[1])
            above = _ordered(value, "≥" if right.opening == "[" else ">", low, evaluator.work)[0]
            below = _ordered(value, "≤" if right.closing == "]" else "<", high, evaluator.work)[0]
            return above and below, f"{show(value)} in {right.opening}{show(low)}, {show(high)}{right.closing}"
    container = evaluator.object(right) if isinstance(right, Sym) else evaluator(right)
    try:
        return any(value == evaluator.object(left) for value in container), "membership"  # type: ignore[arg-type]
    except (TypeError, AttributeError) as error:
        raise Undecidable("what stands right of ∈ is no set that can be looked into") from error


def _in_space(value: Any, space: Space, evaluator: Evaluator) -> tuple[bool, str]:
    sizes = [as_integer(evaluator(size)) for size in space.shape]
    if isinstance(value, Eye):
        return len(sizes) == 2 and sizes[0] == sizes[1], "the identity"
    have = shape(value)
    wanted = {0: (1, 1), 1: (sizes[0], 1) if sizes else (1, 1), 2: tuple(sizes)}.get(len(sizes))
    if wanted is None:
        raise Undecidable("spaces of tensors are not read")
    words = f"shape {have[0]} × {have[1]}, for {wanted[0]} × {wanted[1]}"
    entries = np.asarray(to_float(value, evaluator.work))
    if space.field in {"Z", "N", "Q"}:
        whole = bool(np.all(entries == np.round(entries))) if space.field != "Q" else True
        return have == wanted and whole and (space.field != "N" or bool(np.all(entries >= 0))), words
    if space.field == "R" and np.iscomplexobj(entries):
        return False, "entries that are not real"
    return have == wanted, words


def show(value: Any) -> str:
    """A value in a few characters: eight digits a number, at most four rows and columns.

    A float that is only rounding beside the largest of its matrix is shown as 0: its digits differ between machines.
    """
    if isinstance(value, Eye):
        return "I" if value.factor == 1 else f"{show(value.factor)} I"
    if is_matrix(value):
        rows, columns = shape(value)
        if rows > 4 or columns > 4:
            return f"[{rows} × {columns}]"
        table = [[value[i, j] for j in range(columns)] for i in range(rows)]
        floats = [abs(entry) for row in table for entry in row if isinstance(entry, float | complex)]
        noise = 1e-13 * max(floats, default=0.0)
        shown = [[0.0 if isinstance(x, float | complex) and abs(x) <= noise else x for x in row] for row in table]
        return "[" + ", ".join("[" + ", ".join(show(x) for x in row) + "]" for row in shown) + "]"
    if isinstance(value, sympy.Expr):
        text = str(value)
        if value.is_Integer or value.free_symbols or (len(text) <= 14 and not value.is_Number):
            return text
        number = complex(value.evalf(20))
        return f"{number.real:.10g}" if not number.imag else f"{number:.4g}"
    if isinstance(value, complex):
        return f"{value:.4g}"
    return f"{float(value):.8g}" if not callable(value) else "a function"


__all__ = ["Expr", "Verdict", "asserts", "decide", "has_number", "lift", "show"]
