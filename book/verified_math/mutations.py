"""One slip at a time: in a formula, a number, a Python expression. Nothing here decides; it only makes mistakes."""

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from fractions import Fraction
from typing import Any

from .numerals import Numeral
from .syntax import (
    Add,
    Big,
    Binomial,
    Chain,
    Div,
    Expr,
    Fence,
    Grid,
    Mul,
    Neg,
    Num,
    Paren,
    Post,
    Pow,
    Root,
    Space,
    Statement,
    Sym,
    Word,
    walk,
)  # fmt: skip

FLIPPED = {"≤": "≥", "≥": "≤", "<": ">", ">": "<", "=": "≠", "≠": "=", "≈": "≉", "∈": "∉", "∉": "∈", "≪": "≫", "≫": "≪",
           "⊥": "="}  # fmt: skip


@dataclass(frozen=True)
class Slip:
    """A formula with one slip. `before` and `after` are the parts that differ; with one value, nothing changed."""

    kind: str
    statement: Statement
    before: Statement | None
    after: Statement | None

    @property
    def change(self) -> str:
        return f"{spelled(self.before)} → {spelled(self.after)}"


def slips(node: Statement, at_top: bool = True) -> Iterator[Slip]:
    """Every formula that is this one with a slip in one place."""
    for kind, changed in _here(node, at_top):
        yield Slip(kind, changed, node, changed)
    for field in fields(node):
        value = getattr(node, field.name)
        for slip, changed_value in _inside(value, node, field.name):
            yield replace(slip, statement=replace(node, **{field.name: changed_value}))


def _inside(value: Any, parent: Statement, name: str) -> Iterator[tuple[Slip, Any]]:
    if isinstance(value, tuple):
        for position, item in enumerate(value):
            for slip, changed in _inside(item, parent, name):
                yield slip, (*value[:position], changed, *value[position + 1 :])
    elif is_dataclass(value) and not isinstance(value, type):
        alone = isinstance(parent, Chain | Grid | Paren)
        node: Any = value
        for slip in slips(node, alone):
            if isinstance(parent, Sym) and name == "index":
                whole = replace(parent, index=_with_part(parent.index, value, slip.statement))
                slip = replace(slip, kind="index", before=parent, after=whole)
            yield slip, slip.statement


def _with_part(index: tuple[Expr, ...], old: Any, new: Any) -> tuple[Expr, ...]:
    return tuple(new if part is old else part for part in index)


def _here(node: Statement, alone: bool) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Num):
        for value in changed_digits(node):
            yield "digit", replace(node, value=value)
        if alone and node.value:
            yield "sign", Neg(node)
    elif isinstance(node, Neg):
        yield "sign", node.argument
    elif isinstance(node, Add):
        for position, term in enumerate(node.terms):
            if not isinstance(term, Neg):
                yield "sign", replace(node, terms=(*node.terms[:position], Neg(term), *node.terms[position + 1 :]))
    elif isinstance(node, Mul):
        yield from _products(node)
    elif isinstance(node, Div):
        yield "operator", Mul((node.above, node.below), ("", "·"))
    elif isinstance(node, Post) and node.mark == "T":
        yield "transpose", node.argument
    elif isinstance(node, Root):
        yield "operator", node.argument
    elif isinstance(node, Binomial):
        yield "operator", Binomial(node.below, node.above)
    elif isinstance(node, Fence) and node.kind == "norm" and node.index in {"F", "2"}:
        yield "index", replace(node, index="2" if node.index == "F" else "F")
    elif isinstance(node, Word) and node.name in {"min", "max"}:
        yield "operator", replace(node, name="max" if node.name == "min" else "min")
    elif isinstance(node, Big):
        yield "operator", replace(node, kind="prod" if node.kind == "sum" else "sum")
    elif isinstance(node, Space) and len(node.shape) == 2 and node.shape[0] != node.shape[1]:
        yield "index", replace(node, shape=node.shape[::-1])
    elif isinstance(node, Chain):
        for position, relation in enumerate(node.relations):
            if relation in FLIPPED:
                changed = (*node.relations[:position], FLIPPED[relation], *node.relations[position + 1 :])
                yield "relation", replace(node, relations=changed)
    elif isinstance(node, Sym) and node.base in "ij" and not node.index:
        yield "index", Sym("j" if node.base == "i" else "i")


def _products(node: Mul) -> Iterator[tuple[str, Any]]:
    for position, (factor, sign) in enumerate(zip(node.factors, node.signs, strict=True)):
        if sign == "·":
            left, right = node.factors[:position], node.factors[position:]
            parts = [part[0] if len(part) == 1 else Mul(part, ("",) * len(part)) for part in (left, right)]
            yield "operator", Add(tuple(parts))
        if _is_matrix_name(factor):
            changed = (*node.factors[:position], Post(factor, "T"), *node.factors[position + 1 :])
            yield "transpose", replace(node, factors=changed)
    for position in range(len(node.factors) - 1):
        a, b = node.factors[position : position + 2]
        if _has_matrix(a) and _has_matrix(b) and not isinstance(b, Paren):
            changed = (*node.factors[:position], b, a, *node.factors[position + 2 :])
            yield "operator", replace(node, factors=changed)


def _is_matrix_name(node: Expr) -> bool:
    return isinstance(node, Sym) and node.base[:1].isupper() and not (node.base == "I" and not node.index)


def _has_matrix(node: Expr) -> bool:
    return any(_is_matrix_name(part) for part in walk(node) if isinstance(part, Sym))


def changed_digits(number: Num) -> list[Fraction]:
    """The number with its last digit, and with its first one, changed."""
    count = abs(number.value) / number.unit
    last = number.value + (number.unit if int(count) % 10 != 9 else -number.unit)
    length = len(str(int(count)))
    if length == 1:
        return [last]
    top = number.unit * 10 ** (length - 1)
    return [last, number.value + (top if str(int(count))[0] != "9" else -top)]


def mutated_digits(numeral: Numeral) -> Iterator[tuple[str, Numeral]]:
    """A number of the prose with its last digit, and with its first one, changed."""
    positions = [position for position, character in enumerate(numeral.digits) if character.isdigit()]
    for position in sorted({positions[0], positions[-1]}) if positions else ():
        old = numeral.digits[position]
        new = str((int(old) + 1) % 10) if old != "9" else "8"
        digits = numeral.digits[:position] + new + numeral.digits[position + 1 :]
        if Fraction(digits) == Fraction(numeral.digits):
            continue
        value = (
            numeral.value * Fraction(digits) / Fraction(numeral.digits)
            if Fraction(numeral.digits)
            else Fraction(digits)
        )
        yield f"{numeral.digits} → {digits}", replace(numeral, digits=digits, value=value, text=digits)


class _Mutator(ast.NodeTransformer):
    """Applies the slip number `wanted` of those that a tree offers, and counts them."""

    def __init__(self, wanted: int) -> None:
        self.wanted, self.count, self.change = wanted, 0, ""

    def offered(self, node: ast.AST, changed: ast.AST) -> ast.AST:
        self.count += 1
        if self.count - 1 != self.wanted:
            return node
        self.change = f"{ast.unparse(node)} → {ast.unparse(changed)}"
        return ast.copy_location(changed, node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, bool) or not isinstance(node.value, int | float):
            return node
        value = node.value + 1 if isinstance(node.value, int) else node.value * 1.5 + (node.value == 0)
        return self.offered(node, ast.Constant(value))

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        swaps: dict[type[ast.operator], ast.operator] = {
            ast.Add: ast.Sub(), ast.Sub: ast.Add(), ast.Mult: ast.Add(), ast.Div: ast.Mult(),
        }  # fmt: skip
        other = swaps.get(type(node.op))
        return self.offered(node, ast.BinOp(node.left, other, node.right)) if other else node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        self.generic_visit(node)
        return self.offered(node, node.operand) if isinstance(node.op, ast.USub | ast.Not) else node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        return self.offered(node, node.value) if node.attr == "T" else node

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        # Of a comparison with a tolerance only the direction matters: its number is a choice.
        if len(node.ops) == 1 and isinstance(node.ops[0], ast.Lt | ast.Gt):
            node.left = self.visit(node.left)
        else:
            self.generic_visit(node)
        others: dict[type[ast.cmpop], ast.cmpop] = {
            ast.Eq: ast.NotEq(), ast.NotEq: ast.Eq(), ast.Lt: ast.Gt(), ast.Gt: ast.Lt(), ast.LtE: ast.Gt(),
            ast.GtE: ast.Lt(), ast.In: ast.NotIn(), ast.NotIn: ast.In(), ast.Is: ast.IsNot(), ast.IsNot: ast.Is(),
        }  # fmt: skip
        for position, operator in enumerate(node.ops):
            ops = [*node.ops[:position], others[type(operator)], *node.ops[position + 1 :]]
            changed = self.offered(node, ast.Compare(node.left, ops, node.comparators))
            if changed is not node:
                return changed
        return node

    def visit_keyword(self, node: ast.keyword) -> ast.AST:
        return (
            node
            if node.arg in {"rtol", "atol", "abs_tol", "rel_tol", "tolerance", "ord", "axis", "dim"}
            else self.generic_visit(node)
        )


def mutated_trees(tree: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Copies of a Python tree, each with one slip."""
    wanted = 0
    while True:
        mutator = _Mutator(wanted)
        changed = mutator.visit(copy.deepcopy(tree))
        if wanted >= mutator.count:
            return
        yield mutator.change, ast.fix_missing_locations(changed)
        wanted += 1


def mutated_expressions(code: str) -> Iterator[tuple[str, str]]:
    for change, tree in mutated_trees(ast.parse(code.strip(), mode="eval")):
        yield change, ast.unparse(tree)


def spelled(node: Statement | None) -> str:
    """A formula in one line, for people: not LaTeX, but close to what they read."""
    if node is None:
        return ""
    if isinstance(node, Num):
        number = node.value
        return f"{float(number):.{node.places}f}" if node.places else str(number)
    if isinstance(node, Sym):
        index = ",".join(map(spelled, node.index))
        return f"{node.prefix.replace('delta_', 'Δ')}{node.base}{f'_{index}' if index else ''}{node.suffix}"
    if isinstance(node, Neg):
        return f"−{spelled(node.argument)}"
    if isinstance(node, Add):
        return " + ".join(map(spelled, node.terms)).replace("+ −", "− ")
    if isinstance(node, Mul):
        return "".join(
            f"{f' {sign} ' if sign else ' '}{spelled(f)}" for f, sign in zip(node.factors, node.signs, strict=True)
        ).strip()
    if isinstance(node, Div):
        return f"({spelled(node.above)}) / ({spelled(node.below)})"
    if isinstance(node, Pow):
        return f"{spelled(node.base)}^{spelled(node.exponent)}"
    if isinstance(node, Post):
        return f"{spelled(node.argument)}{'ᵀ' if node.mark == 'T' else node.mark}"
    if isinstance(node, Paren):
        return f"{node.opening or '('}{', '.join(map(spelled, node.items))}{node.closing or ')'}"
    if isinstance(node, Word):
        return f"{node.name} {spelled(node.argument)}"
    if isinstance(node, Fence):
        return f"‖{spelled(node.argument)}‖_{node.index}" if node.kind == "norm" else f"|{spelled(node.argument)}|"
    if isinstance(node, Chain):
        words = [spelled(node.items[0])]
        for relation, item in zip(node.relations, node.items[1:], strict=True):
            words += [relation, spelled(item)]
        return " ".join(words)
    if isinstance(node, Root):
        return f"√({spelled(node.argument)})"
    if isinstance(node, Grid):
        return "[" + "; ".join(", ".join(map(spelled, row)) for row in node.rows) + "]"
    if isinstance(node, Space):
        return node.field + ("^" + "×".join(map(spelled, node.shape)) if node.shape else "")
    if isinstance(node, Big):
        return f"{node.kind}_{','.join(node.indices)} {spelled(node.body)}"
    return type(node).__name__.lower()
