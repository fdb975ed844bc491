"""Generic matrices for trying theorems on: rectangular, non-symmetric, of any rank, with zero rows, badly scaled.

A theorem that is tried only on square or well-behaved matrices is hardly tried at all. Hypothesis chooses sizes,
ranks and scales here; the entries come from numpy. Read `search` next, which goes through them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # Hypothesis is loaded when it is first needed
    from hypothesis.strategies import DrawFn, SearchStrategy

Size = int | str
Array = NDArray[Any]
LARGEST = 6  # a shared size is drawn from 1 to this


@dataclass(frozen=True)
class Space:
    """The matrices, or the vectors, of one shape. A letter in `shape` or `rank` is the same number all over a draw."""

    shape: tuple[Size, ...]
    rank: Size | None = None
    integers: bool = False
    scaled: bool = True

    def __post_init__(self) -> None:
        for size in self.shape if self.rank is None else (*self.shape, self.rank):
            if isinstance(size, bool) or not isinstance(size, int | str):
                raise TypeError(f"a size is a letter or an integer, not {size!r}")
            if not (size.isidentifier() if isinstance(size, str) else size >= 1):
                raise ValueError(f"a size is a letter or an integer from 1 on, not {size!r}")
        known = [size for size in self.shape if isinstance(size, int)]
        if isinstance(self.rank, int) and self.rank > min(known, default=self.rank):
            raise ValueError(f"rank={self.rank} exceeds {min(known)}, the smaller side of shape {self.shape}")

    @property
    def letters(self) -> list[str]:
        return [size for size in (*self.shape, self.rank) if isinstance(size, str)]


def matrices(
    rows: Size, columns: Size, *, rank: Size | None = None, integers: bool = False, scaled: bool = True
) -> Space:
    """The (rows, columns) matrices, to be drawn by `numeric`. A size is a number, or a letter for one from 1 to 6.

    A letter stands for the same number in all matrices of a draw. Entries are float64. Some matrices are dense, some
    a product of thin factors, some have a row or column of zeros; when `scaled`, some have rows or columns multiplied
    or divided by up to a million. These scales are powers of two: they round nothing, so the rank stays. With `rank`,
    a number or again a letter, all matrices have exactly that rank, for `exact_rank` too. With `integers` the entries
    are small int64 numbers, and are not scaled.

    Raises TypeError for a size that is no integer and no letter, and ValueError for one below 1, or a rank above a
    side.
    """
    return Space((rows, columns), rank, integers, scaled)


def vectors(size: Size, *, integers: bool = False, scaled: bool = True) -> Space:
    """The vectors of that many entries, shape (size,), to be drawn by `numeric`. All else is as in `matrices`."""
    return Space((size,), None, integers, scaled)


def inputs(
    spaces: "Mapping[str, Space | SearchStrategy[Any]]", small: int | None = None
) -> "SearchStrategy[dict[str, Any]]":
    """The strategy that draws a value from each space, and the sizes that they share, all under their names.

    With `small` the shared sizes go up to that number only, and the entries are small integers: matrices to look at.
    """
    from hypothesis import strategies as st

    ours = [space for space in spaces.values() if isinstance(space, Space)]

    @st.composite
    def drawn(draw: "DrawFn") -> dict[str, Any]:
        sizes = _draw_sizes(draw, ours, small or LARGEST)
        rng = None if small or not ours else np.random.default_rng(draw(st.integers(0, 2**16)))
        values = {
            name: _draw_array(draw, space, sizes, rng) if isinstance(space, Space) else draw(space)
            for name, space in spaces.items()
        }
        return values | sizes

    return drawn()


def _draw_sizes(draw: "DrawFn", spaces: list[Space], largest: int) -> dict[str, int]:
    """A number for every letter: first the sides, then the ranks, which must fit into them."""
    from hypothesis import assume
    from hypothesis import strategies as st

    letters = dict.fromkeys(letter for space in spaces for letter in space.letters)
    ranks = {space.rank for space in spaces}
    sizes: dict[str, int] = {}
    for letter in sorted(letters, key=lambda letter: letter in ranks):
        low = max([1, *(space.rank for space in spaces if letter in space.shape and isinstance(space.rank, int))])
        sides = [sizes.get(str(side), side) for space in spaces if space.rank == letter for side in space.shape]
        high = min([max(largest, low), *(side for side in sides if isinstance(side, int))])
        sizes[letter] = draw(st.integers(low, max(low, high)))
    for space in spaces:
        if space.rank is not None:
            assume(_number(space.rank, sizes) <= min(_number(side, sizes) for side in space.shape))
    return sizes


def _number(size: Size, sizes: dict[str, int]) -> int:
    return sizes[size] if isinstance(size, str) else size


def _draw_array(draw: "DrawFn", space: Space, sizes: dict[str, int], rng: np.random.Generator | None) -> Array:
    shape = tuple(_number(side, sizes) for side in space.shape)
    m, n = (*shape, 1)[:2]
    rank = None if space.rank is None else _number(space.rank, sizes)
    A = _small(draw, m, n, rank) if rng is None else _generic(draw, space, m, n, rank, rng)
    return A.reshape(shape).astype(np.int64 if space.integers else np.float64)


def _small(draw: "DrawFn", m: int, n: int, rank: int | None) -> Array:
    """Small integers, drawn one by one: Hypothesis turns as many of them into zeros as it can."""
    from hypothesis import strategies as st

    A = np.array(draw(st.lists(st.integers(-3, 3), min_size=m * n, max_size=m * n))).reshape(m, n)
    return A if rank is None else _of_rank(rank, A)


def _generic(draw: "DrawFn", space: Space, m: int, n: int, rank: int | None, rng: np.random.Generator) -> Array:
    """A matrix whose structure Hypothesis draws, and whose entries come from `rng`."""
    from hypothesis import strategies as st

    largest = draw(st.sampled_from((1, 9)))
    lost = draw(st.integers(-3, min(m, n) - 1)) if rank is None else min(m, n) - rank
    A: Array = rng.integers(-largest, largest + 1, (m, n))
    if lost > 0 or rank is not None:
        A = _of_rank(min(m, n) - lost, A)[rng.permutation(m)][:, rng.permutation(n)]
    elif not space.integers and draw(st.booleans()):
        A = rng.standard_normal((m, n))
    if rank is None and (axis := draw(st.sampled_from((*[None] * 6, 0, 1)))) is not None:
        A.swapaxes(0, axis)[rng.random(A.shape[axis]) < 0.5] = 0
    if space.scaled and not space.integers and (axis := draw(st.sampled_from((None, 0, 1)))) is not None:
        A = np.ldexp(A, rng.integers(-20, 21, (m, 1) if axis == 0 else (1, n)))
    return A


def _of_rank(rank: int, entries: Array) -> Array:
    """L (m, rank) times U (rank, n), both read from one matrix of integers: below its diagonal, and from there on.

    L has ones on its diagonal and U no zeros, so both have full rank. In integers their product is not rounded;
    rounded, it would have a higher rank.
    """
    m, n = entries.shape
    L = np.tril(entries[:, :rank], -1) + np.eye(m, rank, dtype=np.int64)
    U = np.triu(np.where(entries == 0, np.eye(m, n, dtype=np.int64), entries)[:rank])
    A: Array = L @ U
    return A
