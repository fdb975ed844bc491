"""The value of a formula at one place of a chapter, its names looked up in the kernel."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import sympy
from sympy.matrices.matrixbase import MatrixBase

from . import operators
from .names import Scope, as_integer, containers, element, extent, letters_in, literal_index, spellings
from .patterns import expand_dots
from .syntax import (
    Add,
    Big,
    Binomial,
    Div,
    Dots,
    Expr,
    Fence,
    Grid,
    Inner,
    Mul,
    Neg,
    Num,
    Paren,
    PlusMinus,
    Post,
    Pow,
    Root,
    Space,
    Statement,
    Sym,
    Word,
    walk,
)  # fmt: skip
from .values import (
    DoesNotCompute,
    Eye,
    Unbound,
    Work,
    add,
    column,
    divide,
    elementwise,
    is_exact,
    is_matrix,
    lift,
    multiply,
    power,
    scalar_if_one,
    shape,
    to_float,
)  # fmt: skip

CONSTANTS = {"pi": sympy.pi, "π": sympy.pi, "infty": sympy.oo, "e": sympy.E}
MOST_TERMS = 20_000


class Evaluator:
    """Values of formulas in a scope. With `branches`, `sign` chooses the one that ± and an index {1, 2} stand for."""

    def __init__(self, scope: Scope, work: Work, sign: int = 1, branches: bool = False) -> None:
        self.scope, self.work, self.sign, self.branches = scope, work, sign, branches

    def __call__(self, node: Expr) -> Any:
        method: Callable[[Any], Any] = getattr(self, f"of_{type(node).__name__.lower()}")
        return method(node)

    def inner(self, names: Mapping[str, Any]) -> "Evaluator":
        return Evaluator(self.scope.with_layer(names), self.work, self.sign, self.branches)

    # names and numbers

    def of_num(self, node: Num) -> Any:
        return sympy.Rational(node.value.numerator, node.value.denominator)

    def of_sym(self, node: Sym) -> Any:
        return lift(self.object(node), self.work, spellings(node)[0])

    def object(self, node: Sym) -> Any:
        """What the kernel holds under a typeset name."""
        if not node.index:
            names = spellings(node)
            if not self.scope.has(*names):
                if node.base in CONSTANTS and not node.suffix + node.prefix:
                    return CONSTANTS[node.base]
                if node == Sym("I"):
                    return Eye()
            return self.scope.find(*names)
        if len(node.index) == 2 and all(isinstance(part, Num) for part in node.index) and self.branches:
            node = replace(node, index=(node.index[0 if self.sign > 0 else 1],))  # x_{1,2} = a ± b
        literal = literal_index(node.index)
        if node.base == "I" and len(node.index) == 1 and not self.scope.has(*spellings(node, literal or [])):
            return sympy.eye(as_integer(self(node.index[0])))
        if node.suffix.endswith("_upto"):
            return self.leading_columns(node)
        numbers = self.index_numbers(node)
        for layer in self.scope.layers:
            computed = [str(number) for number in numbers] if numbers else None
            tried = [words for words in (literal, computed) if words]
            for words in tried:
                for name in spellings(node, words):
                    if name in layer:
                        return layer[name]
            if numbers:
                for name in containers(node):
                    container = layer.get(name)
                    if container is not None and not callable(container):
                        self.note_size(container)
                        return element(container, self.split_digits(node, numbers, container), node, name)
        raise Unbound(f"{spellings(node, literal or ['…'])[0]} is bound to nothing here")

    def note_size(self, container: Any) -> None:
        """An entry of a float array is as uncertain as its largest one."""
        if isinstance(container, np.ndarray) and container.dtype.kind == "f" and container.size:
            self.work.see(np.asarray(container, dtype=float))

    def leading_columns(self, node: Sym) -> Any:
        plain = Sym(node.base, node.index[:-1], node.suffix.removesuffix("_upto"), node.prefix)
        return self.object(plain)[:, : as_integer(self(node.index[-1]))]

    def index_numbers(self, node: Sym) -> list[int] | None:
        try:
            return [as_integer(self(part)) for part in node.index]
        except (Unbound, DoesNotCompute, AttributeError):
            return None

    def split_digits(self, node: Sym, numbers: list[int], container: Any) -> list[int]:
        """a_{12} is row 1, column 2 of a matrix."""
        two = getattr(container, "ndim", 0) == 2 or isinstance(container, MatrixBase)
        if (
            two
            and len(numbers) == 1
            and isinstance(node.index[0], Num)
            and 11 <= numbers[0] <= 99
            and min(container.shape) < numbers[0]
        ):
            return [numbers[0] // 10, numbers[0] % 10]
        return numbers

    # arithmetic

    def of_add(self, node: Add) -> Any:
        if any(isinstance(term, Dots) for term in node.terms):
            return self.of_terms(expand_dots(node.terms, self), add)
        return self.of_terms(node.terms, add)

    def of_terms(self, terms: tuple[Expr, ...] | list[Expr], combine: Callable[[Any, Any, Work], Any]) -> Any:
        result = self(terms[0])
        for term in terms[1:]:
            result = combine(result, self(term), self.work)
        return result

    def of_neg(self, node: Neg) -> Any:
        return multiply(sympy.Integer(-1), self(node.argument), self.work)

    def of_plusminus(self, node: PlusMinus) -> Any:
        return multiply(sympy.Integer(self.sign * node.upper_sign), self(node.argument), self.work)

    def of_mul(self, node: Mul) -> Any:
        if any(isinstance(factor, Dots) for factor in node.factors):
            return self.of_terms(expand_dots(node.factors, self), multiply)
        result, position = None, 0
        while position < len(node.factors):
            sign = node.signs[position]
            value, position = self.next_factor(node, position)
            result = value if result is None else operators.multiplied(result, value, sign, self.work)
        return result

    def next_factor(self, node: Mul, position: int) -> tuple[Any, int]:
        """A factor, or a function with the brackets after it, or a differential such as dW′."""
        factor = node.factors[position]
        following = node.factors[position + 1] if position + 1 < len(node.factors) else None
        if isinstance(factor, Sym) and factor == Sym("d") and isinstance(following, Sym):
            differential = Sym(following.base, following.index, following.suffix, "d")
            literal = literal_index(following.index)
            if self.scope.has(*spellings(differential, literal or [])):
                return self(differential), position + 2
        if isinstance(factor, Sym) and isinstance(following, Paren) and node.signs[position + 1] == "":
            function = self.function(factor)
            if function is not None:
                arguments = [operators.plain(self(item)) for item in following.items]
                return self.called(function, arguments, factor), position + 2
        return self(factor), position + 1

    def function(self, node: Sym) -> Callable[..., Any] | None:
        try:
            found = self.object(node)
        except (Unbound, DoesNotCompute):
            return None
        return (
            found
            if callable(found)
            and not is_matrix(found)
            and not hasattr(found, "detach")
            and not isinstance(found, sympy.Basic)
            else None
        )

    def called(self, function: Callable[..., Any], arguments: list[Any], node: Sym | str) -> Any:
        name = node if isinstance(node, str) else node.base
        try:
            return lift(function(*arguments), self.work, f"{name}(…)")
        except Unbound:
            raise
        except Exception as error:
            raise DoesNotCompute(f"{name}(…) raised {type(error).__name__}: {error}") from error

    def of_div(self, node: Div) -> Any:
        above, below = node.above, node.below
        if (
            isinstance(below, Sym)
            and below.prefix == "partial_"
            and isinstance(above, Sym)
            and above.prefix == "partial_"
        ):
            return lift(self.gradient(above, below), self.work)
        return divide(self(above), self(below), self.work)

    def gradient(self, above: Sym, below: Sym) -> Any:
        name = below.base + ("_prime" if below.suffix == "_prime" else below.suffix)
        return self.scope.find(
            f"grad_{name}", f"d{above.base}_d{name}", *([f"grad_{below.base}"] if below.suffix else [])
        )

    def of_pow(self, node: Pow) -> Any:
        if isinstance(node.base, Post) and node.base.mark == "°":
            raise DoesNotCompute("degrees have no power")
        return power(self(node.base), self(node.exponent), self.work)

    def of_post(self, node: Post) -> Any:
        value = self(node.argument)
        if node.mark == "T" and not is_matrix(value) and self.is_number_name(node.argument) and self.scope.has("T"):
            exponent = lift(self.scope.find("T"), self.work, "T")
            return value if is_matrix(exponent) else power(value, exponent, self.work)
        return operators.marked(value, node.mark, self.work)

    @staticmethod
    def is_number_name(node: Expr) -> bool:
        """Whether a name is one that the book gives to numbers, so that T above it is an exponent."""
        return isinstance(node, Sym | Num) and not (isinstance(node, Sym) and node.base[:1].isupper())

    def of_root(self, node: Root) -> Any:
        value = self(node.argument)
        degree = self(node.degree)
        if is_matrix(value) or isinstance(value, Eye):
            raise DoesNotCompute("a root of a matrix is not computed")
        if is_exact(value):
            return sympy.root(value, degree)
        if isinstance(value, float) and value < 0:
            raise DoesNotCompute(f"the root of {value:.6g}, which is negative")
        return self.work.see(float(value) ** (1 / float(degree)))

    # what stands between brackets

    def of_paren(self, node: Paren) -> Any:
        if len(node.items) == 1:
            return self(node.items[0])
        if not node.items:
            raise DoesNotCompute("empty brackets have no value")
        return column([self(item) for item in node.items], self.work)

    def of_fence(self, node: Fence) -> Any:
        return operators.fenced(self(node.argument), node.kind, node.index, self.work)

    def of_inner(self, node: Inner) -> Any:
        return operators.inner_product(self(node.left), self(node.right), self.work)

    def of_grid(self, node: Grid) -> Any:
        if node.kind == "cases":
            raise DoesNotCompute("cases have no single value")
        if any(isinstance(entry, Dots) for row in node.rows for entry in row):
            raise DoesNotCompute("a matrix with dots in it has no value")
        rows = [[self(entry) for entry in row] for row in node.rows]
        if any(is_matrix(entry) or isinstance(entry, Eye) for row in rows for entry in row):
            return operators.blocks(rows, self.work)
        if all(is_exact(entry) for row in rows for entry in row):
            return sympy.Matrix(rows)
        return np.array([[to_float(entry, self.work) for entry in row] for row in rows])

    def of_word(self, node: Word) -> Any:
        argument = node.argument
        if node.name in {"min", "max"} and node.index and isinstance(node.index[0], Sym):
            return self.over_index(node)
        items = argument.items if isinstance(argument, Paren) and argument.opening == "(" else (argument,)
        values = [self(item) for item in items]
        index = self(node.index[0]) if node.index else None
        return operators.named(node.name, values, index, self.work)

    def over_index(self, node: Word) -> Any:
        letter = node.index[0]
        assert isinstance(letter, Sym)
        values = [self.inner({letter.base: n})(node.argument) for n in self.range_of(letter.base, node.argument)]
        return operators.named(node.name, values, None, self.work)

    def of_binomial(self, node: Binomial) -> Any:
        return sympy.binomial(self(node.above), self(node.below))

    def of_big(self, node: Big) -> Any:
        combine, result = (add, None) if node.kind == "sum" else (multiply, None)
        for values in self.index_values(node):
            term = self.inner(values)(node.body)
            result = term if result is None else combine(result, term, self.work)
        return (sympy.Integer(0) if node.kind == "sum" else sympy.Integer(1)) if result is None else result

    def index_values(self, node: Big) -> Iterator[dict[str, int]]:
        ranges = []
        for letter in node.indices:
            if node.lower is not None and node.upper is not None:
                ranges.append(range(as_integer(self(node.lower)), as_integer(self(node.upper)) + 1))
            else:
                first = 1
                if node.lower is not None:
                    first = as_integer(self(node.lower))
                if node.strict_above is not None:
                    first = as_integer(self(node.strict_above)) + 1
                last = max(self.range_of(letter, node.body), default=0)
                ranges.append(range(first, last + 1))
        if math.prod(map(len, ranges)) > MOST_TERMS:
            raise DoesNotCompute(f"a {node.kind} of more than {MOST_TERMS} terms")
        for values in product(*ranges):
            yield dict(zip(node.indices, values, strict=True))

    def range_of(self, letter: str, body: Statement) -> range:
        return index_range(letter, [body], self.scope.with_layer({letter: 1}), {letter})

    def of_dots(self, node: Dots) -> Any:
        raise DoesNotCompute("dots have no value here")

    def of_space(self, node: Space) -> Any:
        raise DoesNotCompute("a space of matrices has no value")


def index_range(letter: str, statements: list[Statement], scope: Scope, forced: set[str] | None = None) -> range:
    """1 to the last value at which each name that carries the index has an entry. Raises Unbound if none does."""
    limits = []
    open_scope = _Without(scope, forced or set())
    for statement in statements:
        for node in walk(statement):
            if not isinstance(node, Sym) or not node.index:
                continue
            sizes = extent(node, scope)
            for position, part in enumerate(node.index):
                if letter not in set(letters_in(part, open_scope)) and not (
                    isinstance(part, Sym) and part.base == letter
                ):
                    continue
                if position < len(sizes):
                    offset = _offset(part, letter)
                    limits.append(sizes[position] - offset)
    if not limits:
        raise Unbound(f"nothing here says how far the index {letter} goes")
    return range(1, min(limits) + 1)


class _Without(Scope):
    """A scope in which some letters count as bound to nothing, so that they are read as indices."""

    def __init__(self, scope: Scope, letters: set[str]) -> None:
        super().__init__(*scope.layers)
        self.letters = letters

    def has(self, *names: str) -> bool:
        return not set(names) & self.letters and super().has(*names)


def _offset(part: Expr, letter: str) -> int:
    if isinstance(part, Add):
        return sum(int(term.value) for term in part.terms if isinstance(term, Num))
    return 0


__all__ = ["Evaluator", "elementwise", "index_range", "scalar_if_one", "shape"]
