"""Exercises of chapter 13: two scalings, α against the learning rate, a grid, a choice, and the best of k."""

import math
from collections.abc import Iterable

import numpy as np

from .engine import Case, Exercise, Mistake

# --- 13.1: two scalings ----------------------------------------------------------------------------


def _scaling(alpha: float, r: int, rule: str) -> float:
    return alpha / r if rule == "lora" else alpha / math.sqrt(r)


def _scaling_cases(rng: np.random.Generator) -> Iterable[Case]:
    for r in (2, 8, 64):
        alpha = float(rng.integers(3, 40))
        yield alpha, r, "lora"
        yield alpha, r, "rslora"


# --- 13.2: the learning rate of B after a change of α ----------------------------------------------


def _compensate(lr: float, c: float, optimizer: str) -> float:
    return lr / c**2 if optimizer == "sgd" else lr / c


def _compensate_cases(rng: np.random.Generator) -> Iterable[Case]:
    for c in (2.0, 4.0, 0.5, 3.0):
        lr = float(rng.uniform(1e-3, 1e-1))
        yield lr, c, "sgd"
        yield lr, c, "adam"


# --- 13.3: a grid for a quantity that acts by its ratio --------------------------------------------


def _log_grid(low: float, high: float, n: int) -> np.ndarray:
    return low * (high / low) ** (np.arange(n) / (n - 1))


def _log_grid_cases(rng: np.random.Generator) -> Iterable[Case]:
    yield 1e-4, 1e-2, 3
    for n in (4, 5, 8):
        low = float(rng.uniform(1e-5, 1e-4))
        yield low, low * float(rng.uniform(20, 500)), n


# --- 13.4: the cheapest setting within one standard error ------------------------------------------


def _choose(costs: np.ndarray, means: np.ndarray, errors: np.ndarray) -> int:
    best = int(np.argmax(means))
    good = np.flatnonzero(means >= means[best] - errors[best])
    return int(good[np.argmin(costs[good])])


def _choose_cases(rng: np.random.Generator) -> Iterable[Case]:
    costs = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    means, errors = np.array([0.70, 0.768, 0.784, 0.80, 0.79]), np.array([0.20, 0.04, 0.03, 0.018, 0.02])
    for _ in range(3):
        order = rng.permutation(5)
        yield costs[order], means[order], errors[order]


# --- 13.5: the best of k runs ----------------------------------------------------------------------


def _expected_best(values: np.ndarray, k: int) -> float:
    total = math.comb(len(values), k)
    return float(sum(math.comb(i, k - 1) * v for i, v in enumerate(np.sort(values))) / total)


def _with_replacement(values: np.ndarray, k: int) -> float:
    n = len(values)
    return float(sum((((i + 1) / n) ** k - (i / n) ** k) * v for i, v in enumerate(np.sort(values))))


def _best_cases(rng: np.random.Generator) -> Iterable[Case]:
    yield np.array([1.0, 2.0, 3.0]), 2
    for n, k in ((6, 3), (8, 2), (9, 5)):
        yield 0.8 + 0.02 * rng.standard_normal(n), k


EXERCISES = [
    Exercise(
        key="13.1",
        title="the scaling of LoRA and of rsLoRA",
        solution=_scaling,
        cases=_scaling_cases,
        mistakes=(
            Mistake(lambda alpha, r, rule: alpha, "you left the division out: the scaling is α/r for LoRA, not α."),
            Mistake(
                lambda alpha, r, rule: alpha / r,
                "you gave α/r for both. rsLoRA divides by the square root of r.",
            ),
            Mistake(
                lambda alpha, r, rule: alpha / math.sqrt(r) if rule == "lora" else alpha / r,
                "you have the two the wrong way round: LoRA divides by r, rsLoRA by √r.",
            ),
        ),
    ),
    Exercise(
        key="13.2",
        title="the learning rate of B after a change of α",
        solution=_compensate,
        cases=_compensate_cases,
        mistakes=(
            Mistake(
                lambda lr, c, optimizer: lr / c,
                "you divided by c for both. Under SGD the gradient of B grows by c as well, so divide by c².",
            ),
            Mistake(
                lambda lr, c, optimizer: lr / c**2,
                "you divided by c² for both. Adam's step does not grow with the gradient, so there it is c.",
            ),
            Mistake(
                lambda lr, c, optimizer: lr / c if optimizer == "sgd" else lr / math.sqrt(c),
                "that is right for one rate for both factors, if A's start is divided by √c. Here A starts as before.",
            ),
            Mistake(
                lambda lr, c, optimizer: lr * c**2 if optimizer == "sgd" else lr * c,
                "you multiplied. A larger α makes each step of ΔW larger, so the rate of B must fall.",
            ),
        ),
    ),
    Exercise(
        key="13.3",
        title="a grid of learning rates",
        solution=_log_grid,
        cases=_log_grid_cases,
        mistakes=(
            Mistake(
                lambda low, high, n: np.linspace(low, high, n),
                "equal differences put nearly all points near the upper end. Use equal ratios.",
            ),
            Mistake(
                lambda low, high, n: low * (high / low) ** (np.arange(n) / n),
                "your last point is below `high`: n points have n − 1 steps between them.",
            ),
            Mistake(
                lambda low, high, n: np.logspace(low, high, n),
                "np.logspace takes exponents, not ends: use np.geomspace, or give it the logarithms.",
            ),
        ),
    ),
    Exercise(
        key="13.4",
        title="the cheapest setting within one standard error of the best",
        solution=_choose,
        cases=_choose_cases,
        mistakes=(
            Mistake(
                lambda costs, means, errors: int(np.argmax(means)),
                "you took the highest mean, whatever it costs: a cheaper one within its error is preferred.",
            ),
            Mistake(
                lambda costs, means, errors: int(np.argmin(np.where(means >= means.max() - errors, costs, np.inf))),
                "you gave each setting its own error, so a noisy one passes. The bar is the best mean less its error.",
            ),
            Mistake(
                lambda costs, means, errors: int(
                    np.argmin(np.where(means >= means.max() - 2 * errors[np.argmax(means)], costs, np.inf))
                ),
                "you allowed two standard errors. The rule allows one.",
            ),
            Mistake(
                lambda costs, means, errors: int(
                    np.argmax(np.where(means >= means.max() - errors[np.argmax(means)], costs, -np.inf))
                ),
                "you took the dearest of the good ones; take the cheapest.",
            ),
        ),
    ),
    Exercise(
        key="13.5",
        title="what the best of k runs is expected to show",
        solution=_expected_best,
        cases=_best_cases,
        mistakes=(
            Mistake(
                _with_replacement,
                "you drew with replacement, so one run can be picked twice. A set of k runs has k different ones.",
            ),
            Mistake(
                lambda values, k: float(values.max()),
                "you gave the largest of all runs. The best of only k of them is often a smaller one.",
            ),
            Mistake(
                lambda values, k: float(np.sort(values)[-k:].mean()),
                "you averaged the k largest. Average, over all sets of k runs, the largest in each set.",
            ),
        ),
    ),
]
