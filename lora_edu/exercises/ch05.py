"""Exercises of chapter 05: digits to keep, largest terms, the covariance matrix, PCA there and back, the smallest k."""

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from .engine import Case, Exercise, Mistake

Array = NDArray[np.float64]


# 05.1 Leading ones, zeros inside, and tolerances that tell one reading of "relative" from another.


def digits_to_keep(z: int, tolerance: float, compared_with: Callable[[int, int], float] = lambda z, kept: z) -> int:
    length = len(str(z))
    kept = [z - z % 10 ** (length - k) for k in range(length + 1)]
    return next(k for k in range(1, length + 1) if z - kept[k] <= tolerance * compared_with(z, kept[k]))


def _digits_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield from [(901_800_900, 0.01), (901_800_900, 0.001), (901_800_900, 1e-6), (199, 0.5), (1_999, 0.05)]
    yield from [(int(rng.integers(10**8, 10**9)), 1e-4), (7, 0.5), (129_999, 1e-9), (4_000, 0.02)]


_DIGITS_MISTAKES = (
    Mistake(
        lambda z, tolerance: digits_to_keep(z, tolerance, lambda z, kept: 1),
        "You compared the absolute error with the tolerance: divide it by z, for the error has to be relative.",
    ),
    Mistake(
        lambda z, tolerance: digits_to_keep(z, tolerance, lambda z, kept: kept),
        "You divided by the shortened number: a relative error compares with the true value, here z.",
    ),
    Mistake(
        lambda z, tolerance: min(len(str(z)), 1 + math.ceil(-math.log10(tolerance))),
        "You used the bound 10^(1-k): it holds for every number, but this z may need fewer digits. Try each k.",
    ),
    Mistake(lambda z, tolerance: 1, "You compared the signed error, which is never positive: compare its size."),
)


# 05.2 The largest term by size is negative in every case, and never the first.


def keep_largest(terms: Array, k: int) -> Array:
    return _kept(terms, np.argsort(np.abs(terms))[len(terms) - k :])


def _kept(terms: Array, where: NDArray[np.intp]) -> Array:
    kept = np.zeros_like(terms)
    kept[where] = terms[where]
    return kept


def _terms_cases(rng: np.random.Generator) -> Iterator[Case]:
    for length, k in [(6, 2), (9, 4), (5, 1), (7, 6), (4, 4)]:
        sizes = rng.permutation(np.arange(1, length + 1) + 0.5 * rng.random(length))
        signs = np.where(np.arange(length) % 2, 1.0, -1.0)
        signs[sizes.argmax()] = -1
        yield sizes * signs, k


_TERMS_MISTAKES = (
    Mistake(
        lambda terms, k: _kept(terms, np.argsort(terms)[len(terms) - k :]),
        "You compared with the sign: a large negative term matters as much as a positive one. Compare sizes.",
    ),
    Mistake(
        lambda terms, k: _kept(terms, np.argsort(np.abs(terms))[:k]),
        "You kept the k smallest: argsort goes from the smallest up.",
    ),
    Mistake(
        lambda terms, k: terms[np.argsort(-np.abs(terms))[:k]],
        "You returned the k terms alone: each has to stay in its place, with zeros in the others.",
    ),
)


# 05.3 More samples than columns, fewer, and a constant column; the means are far from zero.


def covariance_of(X: Array) -> Array:
    return _scatter(X - X.mean(axis=0)) / (len(X) - 1)


def _scatter(X: Array) -> Array:
    return np.asarray(X.T @ X)


def _samples(rng: np.random.Generator, n: int, p: int) -> Array:
    return rng.standard_normal((n, p)) @ rng.standard_normal((p, p)) + 3 * rng.standard_normal(p) + 2


def _samples_cases(rng: np.random.Generator) -> Iterator[Case]:
    for n, p in [(7, 3), (5, 5), (3, 6), (12, 2)]:
        yield (_samples(rng, n, p),)
    yield (np.column_stack([_samples(rng, 6, 2), np.full(6, 4.0)]),)


_COVARIANCE_MISTAKES = (
    Mistake(lambda X: _scatter(X) / (len(X) - 1), "You did not centre: subtract the mean of each column first."),
    Mistake(
        lambda X: _scatter(X - X.mean(axis=0)) / len(X),
        "You divided by n: the covariance of a sample has n - 1 in the denominator.",
    ),
    Mistake(
        lambda X: np.cov(X),
        "You took the rows as variables, as np.cov does: here each row is a sample, so the result is p by p.",
    ),
)


# 05.4 Square direction matrices let a transposed V pass without an error, as on real data.


def reconstruct(X: Array, k: int) -> Array:
    return _along(X, _sorted(covariance_of(X))[:, :k], X.mean(axis=0))


def _sorted(C: Array) -> Array:
    return np.asarray(np.linalg.eigh(C)[1][:, ::-1])


def _along(X: Array, V: Array, mean: Array) -> Array:
    return np.asarray(mean + (X - mean) @ V @ V.T)


def _reconstruct_cases(rng: np.random.Generator) -> Iterator[Case]:
    for n, p, k in [(9, 4, 2), (6, 5, 1), (8, 3, 2), (20, 6, 3)]:
        yield _samples(rng, n, p), k


_RECONSTRUCT_MISTAKES = (
    Mistake(
        lambda X, k: reconstruct(X, k) - X.mean(axis=0),
        "You forgot to add the mean back: the components describe the difference from it.",
    ),
    Mistake(
        lambda X, k: _along(X, _sorted(covariance_of(X))[:, ::-1][:, :k], X.mean(axis=0)),
        "You kept the directions of smallest variance: eigh sorts from the smallest eigenvalue up.",
    ),
    Mistake(
        lambda X, k: _along(X, _sorted(covariance_of(X)).T[:, :k], X.mean(axis=0)),
        "You took rows of V as directions: the eigenvectors that eigh returns are its columns.",
    ),
    Mistake(
        lambda X, k: _along(X, np.linalg.eigh(covariance_of(X))[1][-k:].T, X.mean(axis=0)),
        "You took the last k rows of V: the eigenvectors that eigh returns are columns, so take the last k columns.",
    ),
    Mistake(
        lambda X, k: _along(X, _sorted(_scatter(X))[:, :k], np.zeros(X.shape[1])),
        "You did not centre: the first direction then points at the mean.",
    ),
)


# 05.5 No share is met exactly, so that rounding decides nothing.


def components_needed(variances: Array, share: float) -> int:
    return _needed(variances[::-1], share)


def _needed(variances: Array, share: float) -> int:
    return int(np.argmax(np.cumsum(variances) / np.sum(variances) >= share)) + 1


def _needed_cases(rng: np.random.Generator) -> Iterator[Case]:
    for size, share in [(8, 0.9), (12, 0.55), (5, 0.3), (20, 0.97), (6, 0.7)]:
        yield np.sort(rng.exponential(size=size) ** 2), share


_NEEDED_MISTAKES = (
    Mistake(
        lambda variances, share: components_needed(variances, share) - 1,
        "You are one short: an index starts at 0, a number of components at 1.",
    ),
    Mistake(_needed, "You added from the smallest up: the largest variances have to come first."),
    Mistake(
        lambda variances, share: components_needed(np.sqrt(variances), share),
        "You added standard deviations: shares are of the variance, so do not take the square root.",
    ),
    Mistake(
        lambda variances, share: int(np.sum(variances / variances.sum() >= share)),
        "You compared each variance by itself: the share is of the sum of the first k, so add them up.",
    ),
)


EXERCISES: list[Exercise] = [
    Exercise("05.1", "how many digits", digits_to_keep, _digits_cases, _DIGITS_MISTAKES),
    Exercise("05.2", "keep the largest terms", keep_largest, _terms_cases, _TERMS_MISTAKES),
    Exercise("05.3", "the covariance matrix", covariance_of, _samples_cases, _COVARIANCE_MISTAKES),
    Exercise("05.4", "project and rebuild", reconstruct, _reconstruct_cases, _RECONSTRUCT_MISTAKES),
    Exercise("05.5", "the smallest k", components_needed, _needed_cases, _NEEDED_MISTAKES),
]
