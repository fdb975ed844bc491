"""Exercises of chapter 3: an adapter's forward pass, its size, a budget, its first gradient, a merge that works."""

from collections.abc import Iterator

import numpy as np
from scipy.stats import norm

from .engine import Case, Exercise, Mistake


def _relu(z: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum(z, 0))


def _gelu(z: np.ndarray) -> np.ndarray:
    return np.asarray(z * norm.cdf(z))


def adapter(h: np.ndarray, W_down: np.ndarray, b_down: np.ndarray, W_up: np.ndarray, b_up: np.ndarray) -> np.ndarray:
    return np.asarray(h + _relu(h @ W_down.T + b_down) @ W_up.T + b_up)


def _adapter_cases(rng: np.random.Generator) -> Iterator[Case]:
    for n, d, m in [(1, 4, 2), (5, 6, 3), (3, 8, 2)]:
        yield (
            rng.standard_normal((n, d)),
            rng.standard_normal((m, d)),
            rng.standard_normal(m),
            rng.standard_normal((d, m)),
            rng.standard_normal(d),
        )


_ADAPTER_MISTAKES = (
    Mistake(
        lambda h, W_down, b_down, W_up, b_up: _relu(h @ W_down.T + b_down) @ W_up.T + b_up,
        "you left out the way round the bottleneck: the adapter adds to h, it does not replace it.",
    ),
    Mistake(
        lambda h, W_down, b_down, W_up, b_up: h + (h @ W_down.T + b_down) @ W_up.T + b_up,
        "you left out the nonlinearity between the two projections.",
    ),
    Mistake(
        lambda h, W_down, b_down, W_up, b_up: h + _gelu(h @ W_down.T + b_down) @ W_up.T + b_up,
        "you took GELU, as the chapter's adapter does: here the nonlinearity is ReLU.",
    ),
    Mistake(
        lambda h, W_down, b_down, W_up, b_up: h + _relu((h @ W_down.T + b_down) @ W_up.T + b_up),
        "you applied the nonlinearity after the second projection: it stands in the bottleneck.",
    ),
    Mistake(
        lambda h, W_down, b_down, W_up, b_up: _relu(h + (h @ W_down.T + b_down) @ W_up.T + b_up),
        "you applied the nonlinearity to the sum: then even the way round the bottleneck loses what is negative.",
    ),
    Mistake(
        lambda h, W_down, b_down, W_up, b_up: h + _relu(h @ W_down.T) @ W_up.T,
        "you left out the two biases, b_down in the bottleneck and b_up behind it.",
    ),
    Mistake(
        lambda h, W_down, b_down, W_up, b_up: h + _relu(h @ W_down.T) @ W_up.T + b_up,
        "you left out b_down, which is added before the nonlinearity.",
    ),
    Mistake(
        lambda h, W_down, b_down, W_up, b_up: h + _relu(h @ W_down.T + b_down) @ W_up.T,
        "you left out b_up, which is added behind the second projection.",
    ),
)


def adapter_parameters(layers: int, d: int, m: int) -> int:
    return 2 * layers * (2 * m * d + d + m)


def _parameter_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield from [(6, 384, 35), (24, 1024, 64), (12, 768, 8)]
    yield int(rng.integers(2, 40)), int(rng.integers(100, 5000)), int(rng.integers(2, 90))


_PARAMETER_MISTAKES = (
    Mistake(
        lambda layers, d, m: 4 * layers * m * d,
        "you left out the biases: each adapter has m of them in the bottleneck and d behind it.",
    ),
    Mistake(
        lambda layers, d, m: layers * (2 * m * d + d + m),
        "you counted one adapter a layer: there are two, behind the attention and behind the feed-forward part.",
    ),
    Mistake(
        lambda layers, d, m: 2 * layers * (m * d + d + m),
        "you counted one of the two projections: down and up have m times d numbers each.",
    ),
    Mistake(
        lambda layers, d, m: 2 * layers * (2 * m * d + 2 * d),
        "you gave both projections a bias of d numbers: the one in the bottleneck has m.",
    ),
    Mistake(
        lambda layers, d, m: 2 * layers * (2 * m * d + 2 * m),
        "you gave both projections a bias of m numbers: the one behind the bottleneck has d.",
    ),
)


def widest(budget: int, layers: int, d: int) -> int:
    return int((budget // (2 * layers) - d) // (2 * d + 1))


def _budget_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield 331_776, 6, 384
    yield adapter_parameters(12, 768, 8), 12, 768  # spent to the last number
    yield adapter_parameters(12, 768, 8) - 1, 12, 768
    for _ in range(3):
        layers, d, m = int(rng.integers(2, 30)), int(rng.integers(60, 2000)), int(rng.integers(3, 90))
        yield adapter_parameters(layers, d, m) + int(rng.integers(layers * d, 3 * layers * d)), layers, d


_BUDGET_MISTAKES = (
    Mistake(
        lambda budget, layers, d: budget // (4 * layers * d),
        "you left out the biases, and so promise more than the budget can pay for.",
    ),
    Mistake(
        lambda budget, layers, d: (budget // layers - d) // (2 * d + 1),
        "you spent the whole budget of a layer on one adapter: there are two in each.",
    ),
    Mistake(
        lambda budget, layers, d: -(-(budget / (2 * layers) - d) // (2 * d + 1)),
        "you rounded up: the last unit of the bottleneck is not paid for.",
    ),
    Mistake(
        lambda budget, layers, d: round((budget / (2 * layers) - d) / (2 * d + 1)),
        "you rounded to the nearest number: the last unit of the bottleneck may not be paid for.",
    ),
    Mistake(
        lambda budget, layers, d: (budget / (2 * layers) - d) / (2 * d + 1),
        "you returned a fraction: a bottleneck has a whole number of units.",
    ),
)


def first_gradient(G: np.ndarray, H: np.ndarray, W_down: np.ndarray) -> np.ndarray:
    return np.asarray(G @ np.tanh(W_down @ H).T)


def _gradient_cases(rng: np.random.Generator) -> Iterator[Case]:
    for d, m, n in [(5, 2, 4), (6, 3, 7), (4, 1, 3)]:
        yield rng.standard_normal((d, n)), rng.standard_normal((d, n)), rng.standard_normal((m, d))


_GRADIENT_MISTAKES = (
    Mistake(
        lambda G, H, W_down: G @ (W_down @ H).T,
        "you left out tanh: what W_up multiplies, and so what stands in its gradient, is behind the nonlinearity.",
    ),
    Mistake(
        lambda G, H, W_down: np.tanh(W_down @ H) @ G.T,
        "you returned the transpose: the gradient has the shape of W_up, which is (d, m).",
    ),
    Mistake(
        lambda G, H, W_down: G @ (1 - np.tanh(W_down @ H) ** 2).T,
        "you took the derivative of tanh: it belongs to the gradient of W_down, not of W_up.",
    ),
    Mistake(
        lambda G, H, W_down: G @ np.tanh(W_down @ H).T / G.shape[1],
        "you divided by the number of tokens: G holds the gradients of the loss already, and they add up.",
    ),
    Mistake(
        lambda G, H, W_down: np.zeros(W_down.T.shape),
        "you say that nothing moves: W_up is zero, but its gradient is not. It is W_down whose gradient is zero.",
    ),
)


def merged(
    W: np.ndarray, b: np.ndarray, W_down: np.ndarray, b_down: np.ndarray, W_up: np.ndarray, b_up: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    M = np.eye(len(W)) + W_up @ W_down
    return M @ W, M @ b + W_up @ b_down + b_up


def _merge_cases(rng: np.random.Generator) -> Iterator[Case]:
    for d, m, n in [(4, 2, 4), (5, 2, 5), (3, 1, 3)]:
        yield (
            rng.standard_normal((d, n)),
            rng.standard_normal(d),
            rng.standard_normal((m, d)),
            rng.standard_normal(m),
            rng.standard_normal((d, m)),
            rng.standard_normal(d),
        )


_MERGE_MISTAKES = (
    Mistake(
        lambda W, b, W_down, b_down, W_up, b_up: (W + W_up @ W_down, b + W_up @ b_down + b_up),
        "you merged it as a parallel adapter, which reads x. A sequential one reads what W and b have made of x.",
    ),
    Mistake(
        lambda W, b, W_down, b_down, W_up, b_up: (W + W @ W_up @ W_down, b + W_up @ (W_down @ b + b_down) + b_up),
        "you have the product in the wrong order: the adapter comes after W, so its matrices stand to the left.",
    ),
    Mistake(
        lambda W, b, W_down, b_down, W_up, b_up: (W + W_up @ W_down @ W, b + W_up @ b_down + b_up),
        "you sent W through the adapter, but not b: the adapter reads Wx + b.",
    ),
    Mistake(
        lambda W, b, W_down, b_down, W_up, b_up: (W_up @ W_down @ W, W_up @ (W_down @ b + b_down) + b_up),
        "you left out the way round the bottleneck: Wx + b itself is part of the output.",
    ),
    Mistake(
        lambda W, b, W_down, b_down, W_up, b_up: (W + W_up @ W_down @ W, b + W_up @ W_down @ b),
        "you left out the adapter's own biases.",
    ),
    Mistake(
        lambda W, b, W_down, b_down, W_up, b_up: (W + W_up @ W_down @ W, b + W_up @ W_down @ b + b_up),
        "you left out b_down: it passes through W_up and ends in the bias.",
    ),
)


EXERCISES = [
    Exercise("03.1", "an adapter, by hand", adapter, _adapter_cases, _ADAPTER_MISTAKES),
    Exercise("03.2", "count its numbers", adapter_parameters, _parameter_cases, _PARAMETER_MISTAKES),
    Exercise("03.3", "the widest bottleneck for a budget", widest, _budget_cases, _BUDGET_MISTAKES),
    Exercise("03.4", "the first gradient", first_gradient, _gradient_cases, _GRADIENT_MISTAKES),
    Exercise("03.5", "merge a linear adapter", merged, _merge_cases, _MERGE_MISTAKES),
]
