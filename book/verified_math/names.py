r"""From a typeset name to what the kernel calls it: $\Delta W_1$ is `delta_W_1`, $v_i$ is column i of `V`.

The rules are the book's notation (its page of that name), written down once.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from sympy.matrices.matrixbase import MatrixBase

from .syntax import Add, Expr, Neg, Num, Sym
from .values import DoesNotCompute, Unbound

INDEX_LETTERS = "ij"  # always "for every"; k and l only where they are bound to nothing
LOOSE_LETTERS = "kl"
SPELLINGS = {
    "lambda": ("lam", "lambda_", "lamda", "λ"),
    "epsilon": ("epsilon", "eps", "ε"),
    "varepsilon": ("epsilon", "eps", "varepsilon", "ε"),
    "varphi": ("varphi", "phi", "φ"),
    "in": ("n_in", "in_", "in_features"),
    "out": ("n_out", "out", "out_features"),
    "Sigma": ("Sigma", "Σ"),
    "ell": ("ell", "l"),
    "lr": ("lr", "learning_rate"),
}
CONTAINERS = {"sigma": ("sigma", "sigmas", "s"), "lambda": ("lam", "lambda_", "lambdas", "eigenvalues")}
GREEK_LETTERS = dict(
    zip(
        [
            "alpha",
            "beta",
            "gamma",
            "delta",
            "epsilon",
            "zeta",
            "eta",
            "theta",
            "iota",
            "kappa",
            "lambda",
            "mu",
            "nu",
            "xi",
            "pi",
            "rho",
            "sigma",
            "tau",
            "phi",
            "chi",
            "psi",
            "omega",
        ],
        "αβγδεζηθικλμνξπρστφχψω",
        strict=True,
    )
)


class Scope:
    """Names in layers, the nearest first: what a comment binds, one random draw, the kernel."""

    def __init__(self, *layers: Mapping[str, Any]) -> None:
        self.layers = layers

    def with_layer(self, layer: Mapping[str, Any]) -> "Scope":
        return Scope(layer, *self.layers)

    def find(self, *names: str) -> Any:
        for layer in self.layers:
            for name in names:
                if name in layer:
                    return layer[name]
        raise Unbound(f"{names[0]} is bound to nothing here")

    def has(self, *names: str) -> bool:
        return any(name in layer for layer in self.layers for name in names)


def spellings(symbol: Sym, index: Sequence[str] = ()) -> list[str]:
    """The names that the kernel may use, the likeliest first."""
    bases = list(SPELLINGS.get(symbol.base, (symbol.base,)))
    if symbol.base in GREEK_LETTERS:
        bases.append(GREEK_LETTERS[symbol.base])
    result = []
    prefixes = [symbol.prefix] if symbol.prefix != "delta_" else ["delta_", "delta", "Delta_", "Δ"]
    suffixes = [symbol.suffix] if symbol.suffix == symbol.suffix.lower() else [symbol.suffix, symbol.suffix.lower()]
    joined = "".join(index)
    under = "_".join(index)
    for base in bases:
        for prefix in prefixes:
            for suffix in suffixes:
                if not index:
                    result.append(f"{prefix}{base}{suffix}")
                    continue
                result += [f"{prefix}{base}_{joined}{suffix}", f"{prefix}{base}{joined}{suffix}"]
                result += [f"{prefix}{base}{suffix}_{joined}", f"{prefix}{base}_{under}{suffix}"]
    return result


def literal_index(index: Sequence[Expr]) -> list[str] | None:
    """The index as it would stand in a name, or None where it is an expression."""
    words = []
    for part in index:
        if isinstance(part, Num):
            words.append(str(part.value))
        elif isinstance(part, Sym) and not part.index:
            words.append(part.base + part.suffix)
        else:
            return None
    return words


def containers(symbol: Sym) -> list[str]:
    """What may hold the entries or columns of a symbol with an index: itself, or the matrix of the same letter."""
    names = list(CONTAINERS.get(symbol.base, ())) or spellings(Sym(symbol.base, (), symbol.suffix, symbol.prefix))
    if len(symbol.base) == 1 and symbol.base.islower():
        names += spellings(Sym(symbol.base.upper(), (), symbol.suffix, symbol.prefix))
    return names


def element(container: Any, where: Sequence[int], symbol: Sym, found_as: str) -> Any:
    """Entry `where` (from 1) of a vector, a list, or a matrix; one index of a matrix is a column."""
    if min(where) < 1:
        raise DoesNotCompute(f"index {min(where)} of {found_as}: indices begin at 1")
    if hasattr(container, "detach"):
        container = container.detach().cpu().numpy()
    try:
        if len(where) == 2:
            row, column = where[0] - 1, where[1] - 1
            return container[row][column] if isinstance(container, list | tuple) else container[row, column]
        position = where[0] - 1
        two = getattr(container, "ndim", 1) == 2 or isinstance(container, MatrixBase)
        if not two:
            if position >= len(container):
                raise IndexError
            return container[position]
        columns = container.shape[1]
        if isinstance(container, MatrixBase) and columns == 1:
            return container[position]
        if found_as[:1].isupper():
            if not symbol.base[:1].islower():
                raise Unbound(f"{found_as} with one index is bound to nothing here")
            return container[:, position]
        return container[position]
    except IndexError as error:
        raise DoesNotCompute(f"{found_as} has no entry {', '.join(map(str, where))}") from error
    except TypeError as error:
        raise Unbound(f"{found_as} has no entries") from error


def extent(symbol: Sym, scope: Scope) -> list[int]:
    """How far each index of a symbol goes; an empty list when nothing says."""
    for layer in scope.layers:
        count = 0
        while len(symbol.index) == 1 and any(name in layer for name in spellings(symbol, [str(count + 1)])):
            count += 1
        if count:
            return [count]
        for name in containers(symbol):
            if name in layer:
                sizes = _sizes(layer[name], name, len(symbol.index))
                if sizes:
                    return sizes
    return []


def _sizes(container: Any, name: str, indices: int) -> list[int]:
    shape = tuple(container.shape) if hasattr(container, "shape") else None
    if shape is None:
        if not isinstance(container, list | tuple) or not container:
            return []
        nested = indices == 2 and isinstance(container[0], list | tuple)
        return [len(container), len(container[0])] if nested else [len(container)][:indices]
    if len(shape) == 2 and indices == 2:
        return list(shape)
    if len(shape) == 2 and indices == 1:
        if isinstance(container, MatrixBase) and shape[1] == 1:
            return [shape[0]]
        return [shape[1] if name[:1].isupper() else shape[0]]
    return [shape[0]] if len(shape) == 1 and indices == 1 else []


def is_index_letter(part: Expr, scope: Scope) -> bool:
    if not (isinstance(part, Sym) and not part.index and not part.suffix and len(part.base) == 1):
        return False
    return part.base in INDEX_LETTERS or (part.base in LOOSE_LETTERS and not scope.has(part.base))


def letters_in(part: Expr, scope: Scope) -> Iterator[str]:
    """The index letters that an index is made of, as in i, i + 1 or −i."""
    if isinstance(part, Add):
        for term in part.terms:
            yield from letters_in(term, scope)
    elif isinstance(part, Neg):
        yield from letters_in(part.argument, scope)
    elif is_index_letter(part, scope) and isinstance(part, Sym):
        yield part.base


def as_integer(value: Any) -> int:
    """An index as a Python integer. Raises DoesNotCompute when it is none."""
    try:
        number = float(value)
    except TypeError as error:
        raise DoesNotCompute(f"{value} is no index") from error
    if number != int(number) or not np.isfinite(number):
        raise DoesNotCompute(f"{value} is no index")
    return int(number)
