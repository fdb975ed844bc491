"""The pieces that a typeset formula is made of, once it is read: one small frozen class for each.

`grammar.py` builds them, `evaluate.py` gives them values, `decide.py` says whether the relations between them hold.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import Any, Union


@dataclass(frozen=True)
class Num:
    """A printed number. `unit` is the value of its last printed digit, `places` how many digits follow the point."""

    value: Fraction
    unit: Fraction
    places: int = 0
    truncated: bool = False  # 16.84…: the digits shown are right, and more follow


@dataclass(frozen=True)
class Sym:
    """A name: `base` in the kernel's spelling, with its index, and the words that prefix or suffix it."""

    base: str
    index: tuple["Expr", ...] = ()
    suffix: str = ""  # prime, star, or the words of a superscript
    prefix: str = ""  # delta, grad


@dataclass(frozen=True)
class Word:
    """A function or operator written in upright letters: rank, det, min."""

    name: str
    argument: "Expr"
    index: tuple["Expr", ...] = ()


@dataclass(frozen=True)
class Add:
    terms: tuple["Expr", ...]


@dataclass(frozen=True)
class Neg:
    argument: "Expr"


@dataclass(frozen=True)
class Mul:
    """A product in its order; `signs[i]` stands before factor i: "" side by side, "·" dot, "×" cross, "⊗", "⊙"."""

    factors: tuple["Expr", ...]
    signs: tuple[str, ...]


@dataclass(frozen=True)
class Div:
    above: "Expr"
    below: "Expr"


@dataclass(frozen=True)
class Pow:
    base: "Expr"
    exponent: "Expr"


@dataclass(frozen=True)
class Post:
    """Something written behind its argument: "T" transposed, "+" pseudo-inverse, "!", "%", "°"."""

    argument: "Expr"
    mark: str


@dataclass(frozen=True)
class Root:
    argument: "Expr"
    degree: "Expr"


@dataclass(frozen=True)
class Fence:
    """Something between two bars or brackets: "norm", "abs", "floor", "ceil", with what is written below."""

    kind: str
    argument: "Expr"
    index: str = ""


@dataclass(frozen=True)
class Paren:
    """Brackets: one item is a group, several are a tuple (or the arguments of a function before it)."""

    items: tuple["Expr", ...]
    opening: str = "("
    closing: str = ")"


@dataclass(frozen=True)
class Inner:
    left: "Expr"
    right: "Expr"


@dataclass(frozen=True)
class Grid:
    rows: tuple[tuple["Expr", ...], ...]
    kind: str = "matrix"


@dataclass(frozen=True)
class Big:
    """A sum or product over indices. Without `upper` the index runs over all that its names have."""

    kind: str
    indices: tuple[str, ...]
    lower: Union["Expr", None]
    upper: Union["Expr", None]
    body: "Expr"
    strict_above: Union["Expr", None] = None  # of a condition such as j > k


@dataclass(frozen=True)
class Binomial:
    above: "Expr"
    below: "Expr"


@dataclass(frozen=True)
class PlusMinus:
    argument: "Expr"
    upper_sign: int = 1  # -1 for ∓


@dataclass(frozen=True)
class Dots:
    """…"""


@dataclass(frozen=True)
class Space:
    """A number field, or the matrices of a shape over it: ℝ, ℝ^{m×n}."""

    field: str
    shape: tuple["Expr", ...] = ()


@dataclass(frozen=True)
class Chain:
    """Expressions with relations between them: a = b ≤ c."""

    items: tuple["Expr", ...]
    relations: tuple[str, ...]


@dataclass(frozen=True)
class Logic:
    """Two chains joined by ⟹ or ⟺."""

    left: "Statement"
    right: "Statement"
    connective: str


Expr = (
    Num | Sym | Word | Add | Neg | Mul | Div | Pow | Post | Root | Fence | Paren | Inner | Grid | Big | Binomial
    | PlusMinus | Dots | Space
)  # fmt: skip
Statement = Expr | Chain | Logic
_NODES = (*Expr.__args__, Chain, Logic)


def children(node: Statement) -> Iterator[Statement]:
    """The nodes right below."""
    for field in fields(node):
        yield from _nodes_in(getattr(node, field.name))


def _nodes_in(value: object) -> Iterator[Statement]:
    if isinstance(value, _NODES):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _nodes_in(item)


def walk(node: Statement) -> Iterator[Statement]:
    """The node and all below it."""
    yield node
    for child in children(node):
        yield from walk(child)


def substitute(node: Any, old: Statement, new: Statement) -> Any:
    """The formula with every `old` in it replaced by `new`."""
    if node == old:
        return new
    changes = {field.name: _replaced(getattr(node, field.name), old, new) for field in fields(node)}
    return replace(node, **changes)


def _replaced(value: object, old: Statement, new: Statement) -> object:
    if isinstance(value, _NODES):
        return substitute(value, old, new)
    if isinstance(value, tuple):
        return tuple(_replaced(item, old, new) for item in value)
    return value
