"""Exercises of chapter 14: the error of a merge, the size of a file, a sum as one pair, groups of rows, break-even."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .engine import Case, Exercise, Mistake

Array = NDArray[np.float64]
Shapes = list[tuple[int, int]]

# 14.1 The weights spread over several powers of two, so that one spacing for all of them is wrong.


def spacing(W: Array, p: int) -> Array:
    return np.asarray(2.0 ** (np.floor(np.log2(np.abs(W))) - p + 1))


def merge_error(W: Array, delta: Array, p: int) -> float:
    return float(np.linalg.norm(spacing(W, p)) / (np.sqrt(12) * np.linalg.norm(delta)))


def _error_cases(rng: np.random.Generator) -> Iterator[Case]:
    for (rows, columns), p in [((4, 6), 8), ((5, 3), 11), ((7, 7), 24), ((2, 9), 8)]:
        yield rng.standard_normal((rows, columns)), 0.01 * rng.standard_normal((rows, columns)), p


_ERROR_MISTAKES = (
    Mistake(
        lambda W, delta, p: float(np.linalg.norm(spacing(W, p)) / (2 * np.linalg.norm(delta))),
        "You took half a spacing for every entry, which is the largest error. The root mean square is h/√12.",
    ),
    Mistake(
        lambda W, delta, p: float(np.linalg.norm(spacing(W, p)) / (12 * np.linalg.norm(delta))),
        "You divided by 12, not by √12: h²/12 is the mean of the squared error.",
    ),
    Mistake(
        lambda W, delta, p: float(np.linalg.norm(spacing(delta, p)) / (np.sqrt(12) * np.linalg.norm(delta))),
        "You took the spacing at ΔW. The sum is as large as W, so it is rounded on the grid of W.",
    ),
    Mistake(
        lambda W, delta, p: merge_error(W, delta, p + 1),
        "Your spacing is half of the right one: from 1 to 2 there are 2^(p−1) steps, so h(1) = 2^(1−p).",
    ),
    Mistake(
        lambda W, delta, p: float(np.linalg.norm(2.0 ** (1 - p) * W) / (np.sqrt(12) * np.linalg.norm(delta))),
        "You let the spacing grow with |w|. It is constant from one power of two to the next: round log₂|w| down.",
    ),
)


def file_size(shapes: Shapes, r: int, itemsize: int, header: int) -> int:
    return 8 + 8 * math.ceil(header / 8) + itemsize * sum(r * (n_in + n_out) for n_out, n_in in shapes)


def _size_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield [(384, 384), (1536, 384), (384, 1536)], 8, 4, 1001
    yield [(768, 3072)], 4, 2, 230
    yield [(5, 3), (2, 9)], 1, 4, 333
    yield [(int(rng.integers(2, 99)), int(rng.integers(2, 99))) for _ in range(5)], 2, 2, 640


_SIZE_MISTAKES = (
    Mistake(
        lambda shapes, r, itemsize, header: file_size(shapes, r, itemsize, header) - 8,
        "You left out the first 8 bytes, which say how long the header is.",
    ),
    Mistake(
        lambda shapes, r, itemsize, header: file_size(shapes, r, itemsize, 0) + header,
        "You did not pad the header: it is filled with spaces up to a multiple of 8.",
    ),
    Mistake(
        lambda shapes, r, itemsize, header: file_size(shapes, r, 1, header),
        "You counted numbers, not bytes: each number takes itemsize bytes.",
    ),
    Mistake(
        lambda shapes, r, itemsize, header: file_size([(n_out, 0) for n_out, _ in shapes], r, itemsize, header),
        "You counted B alone: A, with its r·in numbers, is in the file as well.",
    ),
)


def one_pair(Bs: list[Array], As: list[Array], weights: list[float]) -> tuple[Array, Array]:
    return np.hstack([w * B for w, B in zip(weights, Bs, strict=True)]), np.vstack(As)


def _pair_cases(rng: np.random.Generator) -> Iterator[Case]:
    for n_out, n_in, r, n in [(5, 7, 2, 2), (6, 6, 1, 3), (8, 4, 2, 2), (3, 9, 1, 4)]:
        Bs = [rng.standard_normal((n_out, r)) for _ in range(n)]
        As = [rng.standard_normal((r, n_in)) for _ in range(n)]
        yield Bs, As, [float(w) for w in rng.uniform(0.2, 2, n)]


_PAIR_MISTAKES = (
    Mistake(
        lambda Bs, As, weights: (
            sum(w * B for w, B in zip(weights, Bs, strict=True)),
            sum(w * A for w, A in zip(weights, As, strict=True)),
        ),
        "You summed the factors. Their product has cross terms such as B₁A₂, which belong to no adapter.",
    ),
    Mistake(
        lambda Bs, As, weights: (sum(w * B for w, B in zip(weights, Bs, strict=True)), sum(As)),
        "You summed the factors, with the weights in B alone: the cross terms, such as B₁A₂, are still there.",
    ),
    Mistake(
        lambda Bs, As, weights: (
            np.hstack([w * B for w, B in zip(weights, Bs, strict=True)]),
            np.vstack([w * A for w, A in zip(weights, As, strict=True)]),
        ),
        "You put the weights into both factors, so each adapter is counted with the square of its weight.",
    ),
    Mistake(
        lambda Bs, As, weights: (np.hstack(Bs), np.vstack(As)),
        "You left out the weights: this pair is the plain sum of the updates.",
    ),
    Mistake(
        lambda Bs, As, weights: (np.hstack(Bs), np.vstack([w * A for w, A in zip(weights, As, strict=True)])),
        "The sum is right, but the weights stand in A. Here they are wanted in B.",
    ),
)


def groups(names: list[str | None]) -> list[tuple[str, list[int]]]:
    found: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        if name is not None:
            found.setdefault(name, []).append(row)
    return list(found.items())


def _runs(names: list[str | None]) -> list[tuple[str, list[int]]]:
    found: list[tuple[str, list[int]]] = []
    for row, name in enumerate(names):
        if name is not None and found and found[-1][0] == name and found[-1][1][-1] == row - 1:
            found[-1][1].append(row)
        elif name is not None:
            found.append((name, [row]))
    return found


def _groups_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield (["tweets", "movies", None, "movies", "tweets"],)
    yield (["movies", "movies", "editorials"],)
    yield ([None, "products", None],)
    yield ([["tweets", "movies", "products", None][int(i)] for i in rng.permutation([0, 0, 1, 2, 2, 1, 3, 0])],)


_GROUPS_MISTAKES = (
    Mistake(_runs, "You grouped neighbours only: rows of one adapter that stand apart belong together as well."),
    Mistake(
        lambda names: [
            (str(name), [i for i, other in enumerate(names) if other == name]) for name in dict.fromkeys(names)
        ],
        "You made a group of the rows without an adapter: they take the plain base and need no second product.",
    ),
    Mistake(
        lambda names: sorted(groups(names)),
        "You sorted the groups by name. Here they are wanted in the order in which they first appear.",
    ),
    Mistake(
        lambda names: [(name, [row + 1 for row in rows]) for name, rows in groups(names)],
        "You counted the rows from 1: a tensor's first row is row 0.",
    ),
)


def break_even(base: int, adapter: int) -> int:
    return base // (base - adapter) + 1


def _even_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield from [(90_264_584, 1_330_184), (1000, 500), (1000, 750), (7, 6), (1000, 640)]


_EVEN_MISTAKES = (
    Mistake(
        lambda base, adapter: math.ceil(base / (base - adapter)),
        "At this number the two may still be equal. Asked is the smallest at which one base takes strictly less.",
    ),
    Mistake(
        lambda base, adapter: base // adapter + 1,
        "You asked when the adapters together outweigh the base. Compare base + N·adapter with N·base.",
    ),
    Mistake(
        lambda base, adapter: 1,
        "You left out the one base: next to its adapters it must be in memory as well.",
    ),
)

EXERCISES: list[Exercise] = [
    Exercise("14.1", "the predicted error of a merge", merge_error, _error_cases, _ERROR_MISTAKES),
    Exercise("14.2", "the size of an adapter's file", file_size, _size_cases, _SIZE_MISTAKES),
    Exercise("14.3", "a weighted sum of adapters as one pair", one_pair, _pair_cases, _PAIR_MISTAKES),
    Exercise("14.4", "the rows of each adapter in a batch", groups, _groups_cases, _GROUPS_MISTAKES),
    Exercise("14.5", "from how many adapters one base takes less", break_even, _even_cases, _EVEN_MISTAKES),
]
