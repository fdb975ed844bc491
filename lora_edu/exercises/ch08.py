"""Exercises of chapter 08: truncate, read off errors, choose k, keep to a budget, count above noise."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .engine import Case, Exercise, Mistake

Array = NDArray[np.float64]


# 08.1 Tall and square matrices: there the thin Vt is square, and reading it as V raises no error.


def _factors(A: Array) -> tuple[Array, Array, Array]:
    U, s, Vt = np.linalg.svd(A, full_matrices=False)
    return U, s, Vt


def truncate(A: Array, k: int) -> Array:
    U, s, Vt = _factors(A)
    return np.asarray((U[:, :k] * s[:k]) @ Vt[:k])


def _truncate_cases(rng: np.random.Generator) -> Iterator[Case]:
    for m, n, k in [(7, 7, 2), (9, 5, 1), (12, 8, 3), (6, 6, 4)]:
        yield rng.standard_normal((m, n)), k


def _misread(A: Array, k: int) -> Array:
    U, s, Vt = _factors(A)
    return np.asarray((U[:, :k] * s[:k]) @ Vt[:, :k].T)


_TRUNCATE_MISTAKES = (
    Mistake(_misread, "You took k columns of Vt and transposed: its rows are the right singular vectors. Use Vt[:k]."),
    Mistake(
        lambda A, k: _factors(A)[0][:, :k] @ _factors(A)[2][:k],
        "You left out the singular values: the i-th column of U takes the factor s[i].",
    ),
    Mistake(
        lambda A, k: A - truncate(A, min(A.shape) - k),
        "You kept the k smallest terms: singular values come largest first, so the best are s[:k].",
    ),
    Mistake(
        lambda A, k: truncate(A, k + 1),
        "You kept k + 1 terms: a slice [:k] holds the indices 0 to k − 1, and that is k of them.",
    ),
    Mistake(lambda A, k: A - truncate(A, k), "You returned what is cut off: the truncation is the sum of the first k."),
)


# 08.2 With k = len(s) nothing is dropped and both errors are 0.


def errors(s: Array, k: int) -> tuple[float, float]:
    tail = s[k:]
    return (float(tail[0]) if len(tail) else 0.0, float(np.sqrt(np.sum(tail**2))))


def _errors_cases(rng: np.random.Generator) -> Iterator[Case]:
    for length, k in [(5, 2), (6, 1), (4, 3), (7, 4)]:
        yield np.sort(1 + 9 * rng.random(length))[::-1].copy(), k
    yield np.array([3.0, 2.0, 1.0]), 3


_ERRORS_MISTAKES = (
    Mistake(
        lambda s, k: errors(s, k - 1),
        "You counted σ_k as dropped: terms 1 to k are kept, so the first that is missing is σ_{k+1}, s[k] in code.",
    ),
    Mistake(
        lambda s, k: (errors(s, k)[0], float(np.sum(s[k:]))),
        "You added the σ themselves: perpendicular terms add as squares do, so take the root of the sum of σ².",
    ),
    Mistake(
        lambda s, k: (errors(s, k)[0], float(np.sum(s[k:] ** 2))),
        "You forgot the square root: the sum of the dropped σ² is the squared Frobenius error.",
    ),
    Mistake(
        lambda s, k: (float(s[0]), float(np.sqrt(np.sum(s[:k] ** 2)))),
        "You measured what is kept: the errors come from the tail of the spectrum, from σ_{k+1} on.",
    ),
    Mistake(lambda s, k: errors(s, k)[::-1], "You swapped the two: the spectral error comes first, then Frobenius."),
)


# 08.3 Every spectrum is such that all the mistakes disagree with the solution somewhere.


def smallest_rank(s: Array, error: float) -> int:
    shares = np.append(np.cumsum(s[::-1] ** 2)[::-1], 0) / np.sum(s**2)  # dropped, for k = 0, 1, …, len(s)
    return int(np.argmax(shares <= error**2))


def _rank_cases(rng: np.random.Generator) -> Iterator[Case]:
    for length, decay, error in [(20, 0.8, 0.1), (30, 0.9, 0.3), (25, 0.7, 0.02), (40, 0.95, 0.5)]:
        yield np.sort(decay ** np.arange(length) * (0.9 + 0.2 * rng.random(length)))[::-1].copy(), error


_RANK_MISTAKES = (
    Mistake(
        lambda s, error: smallest_rank(s, error) - 1,
        "Your k is one too small: position 0 of a cumulative sum holds one term, so add 1 to the position.",
    ),
    Mistake(
        lambda s, error: smallest_rank(s, math.sqrt(error)),
        "You asked for the energy share 1 − ε: an error of ε leaves the share ε² out, so ask for 1 − ε².",
    ),
    Mistake(
        lambda s, error: smallest_rank(np.sqrt(s), math.sqrt(error)),
        "You added the σ themselves: the Frobenius norm adds their squares.",
    ),
    Mistake(
        lambda s, error: int(np.sum(s > error * s[0])),
        "You compared each σ with ε·σ₁: that is the error in the spectral norm, and Frobenius is asked.",
    ),
)


# 08.4 Budgets that are met exactly, that leave a rest, and that would pay for more than min(m, n) terms.


def affordable_rank(m: int, n: int, budget: int) -> int:
    return min(budget // (m + n + 1), m, n)


def _budget_cases(rng: np.random.Generator) -> Iterator[Case]:
    for m, n in [(40, 30), (300, 500), (768, 3072)]:
        k, step = int(rng.integers(3, 20)), m + n + 1
        yield m, n, k * step
        yield m, n, k * step + step - 1
    yield 90_000, 1_000, 10**6
    yield 512, 512, 512 * 512
    yield 8, 30, 8 * 30 * 4


_BUDGET_MISTAKES = (
    Mistake(
        lambda m, n, budget: min(budget // (m + n), m, n),
        "You counted two factors, k(m + n) numbers: here the k singular values are stored as well.",
    ),
    Mistake(
        lambda m, n, budget: budget // (m + n + 1),
        "You can go above min(m, n), where no term is left to keep: a large budget buys min(m, n) terms at most.",
    ),
    Mistake(
        lambda m, n, budget: min(math.ceil(budget / (m + n + 1)), m, n),
        "You rounded up: the last term does not fit into the budget any more. Round down.",
    ),
)


# 08.5 Spectra of noise with a few strong terms: the edges of the mistakes lie between other values.


def signal_rank(A: Array, tau: float) -> int:
    return _above(A, tau * (math.sqrt(A.shape[0]) + math.sqrt(A.shape[1])))


def _above(A: Array, edge: float) -> int:
    return int(np.sum(_factors(A)[1] > edge))


def _noise_cases(rng: np.random.Generator) -> Iterator[Case]:
    for m, n, tau, ranks in [(90, 40, 0.5, 3), (40, 90, 2.0, 2), (70, 70, 1.5, 4), (120, 30, 0.2, 1)]:
        edge = tau * (math.sqrt(m) + math.sqrt(n))
        U, V = (np.linalg.qr(rng.standard_normal((size, ranks + 1)))[0] for size in (m, n))
        strengths = edge * np.append(np.linspace(3.2, 1.75, ranks), 1.05)
        noise = tau * rng.standard_normal((m, n))
        yield (U * strengths) @ V.T + noise, tau


_NOISE_MISTAKES = (
    Mistake(
        lambda A, tau: _above(A, tau * math.sqrt(sum(A.shape))),
        "You took √(m + n): the edge is √m + √n, the sum of the two roots, which is larger.",
    ),
    Mistake(
        lambda A, tau: _above(A, math.sqrt(A.shape[0]) + math.sqrt(A.shape[1])),
        "You left out the size of the noise: the edge grows with its standard deviation, so multiply by tau.",
    ),
    Mistake(
        lambda A, tau: _above(A, tau * 2 * math.sqrt(max(A.shape))),
        "You took 2√n for the longer side: that is the edge of a square matrix. Here it is √m + √n.",
    ),
    Mistake(lambda A, tau: _above(A, 0), "You counted every non-zero singular value: noise fills them all."),
)


EXERCISES: list[Exercise] = [
    Exercise("08.1", "truncate", truncate, _truncate_cases, _TRUNCATE_MISTAKES),
    Exercise("08.2", "both errors from the spectrum alone", errors, _errors_cases, _ERRORS_MISTAKES),
    Exercise("08.3", "the smallest rank for an error", smallest_rank, _rank_cases, _RANK_MISTAKES),
    Exercise("08.4", "the rank that a budget buys", affordable_rank, _budget_cases, _BUDGET_MISTAKES),
    Exercise("08.5", "count what stands above the noise", signal_rank, _noise_cases, _NOISE_MISTAKES),
]
