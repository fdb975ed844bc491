"""Exercises of chapter 3: an adapter's forward pass, its size, a budget, its first gradient, a merge that works."""

import math
from collections.abc import Callable, Iterator

import numpy as np
from scipy.stats import norm

from .counts import adapter_numbers, miscounted_adapters, miscounted_layers
from .engine import Case, Exercise, Mistake

Array = np.ndarray
Elementwise = Callable[[Array], Array]


def _drawn(rng: np.random.Generator, *shapes: int | tuple[int, int]) -> Case:
    return tuple(rng.standard_normal(shape) for shape in shapes)


def _relu(z: Array) -> Array:
    return np.asarray(np.maximum(z, 0))


def _gelu(z: Array) -> Array:
    return np.asarray(z * norm.cdf(z))


def _linear(z: Array) -> Array:
    return z


def adapter(h: Array, W_down: Array, b_down: Array, W_up: Array, b_up: Array, *, σ: Elementwise = _relu) -> Array:
    return np.asarray(h + σ(h @ W_down.T + b_down) @ W_up.T + b_up)


def _adapter_cases(rng: np.random.Generator) -> Iterator[Case]:
    for n, d, m in [(1, 4, 2), (5, 6, 3), (3, 8, 2)]:
        yield _drawn(rng, (n, d), (m, d), m, (d, m), d)


def _with(σ: Elementwise) -> Callable[..., Array]:
    return lambda *case: adapter(*case, σ=σ)


def _after(σ: Elementwise) -> Callable[..., Array]:
    return lambda h, *rest: h + _relu(adapter(h, *rest, σ=σ) - h)


# D and U are the two projections, b and c their biases.
_ADAPTER_MISTAKES = (
    Mistake(lambda h, *rest: adapter(h, *rest) - h, "you left out the way round the bottleneck: h itself is added."),
    Mistake(lambda h, *rest: adapter(h, *rest) + h, "you added h twice: it goes round the bottleneck once."),
    Mistake(_with(_linear), "you left out the nonlinearity between the two projections."),
    Mistake(_with(_gelu), "you took GELU, as the chapter's adapter does: here the nonlinearity is ReLU."),
    Mistake(_with(np.tanh), "you took tanh, as exercise 03.4 does: here the nonlinearity is ReLU."),
    Mistake(_with(np.abs), "you took the magnitude: ReLU sets what is negative to zero."),
    Mistake(_after(_linear), "you applied the nonlinearity after the second projection: it stands in the bottleneck."),
    Mistake(_after(_relu), "you applied the nonlinearity twice: it stands in the bottleneck alone."),
    Mistake(lambda *case: _relu(_with(_linear)(*case)), "you applied ReLU to the sum: then h loses what is negative."),
    Mistake(lambda *case: _relu(adapter(*case)), "you applied ReLU to the sum too: it stands in the bottleneck."),
    Mistake(lambda h, D, b, U, c: adapter(h, D, 0 * b, U, 0 * c), "you left out the two biases, b_down and b_up."),
    Mistake(lambda h, D, b, U, c: adapter(h, D, 0 * b, U, c), "you left out b_down, added before the nonlinearity."),
    Mistake(lambda h, D, b, U, c: h + (_relu(h @ D.T) + b) @ U.T + c, "b_down is added before ReLU, not after it."),
    Mistake(lambda *case: adapter(*case) - case[-1], "you left out b_up, which is added behind the second projection."),
    Mistake(lambda *case: adapter(*case).T, "you returned the transpose: like h, it has a row for each token."),
)


def adapter_parameters(layers: int, d: int, m: int) -> int:
    return 2 * layers * adapter_numbers(d, m)


def _parameter_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield from [(6, 384, 35), (24, 1024, 64), (12, 768, 8)]
    yield int(rng.integers(2, 40)), int(rng.integers(100, 5000)), int(rng.integers(2, 90))


_PARAMETER_MISTAKES = (
    *miscounted_adapters(lambda count, layers, d, m: 2 * layers * count(d, m)),
    *miscounted_layers(adapter_parameters, at=0),
    Mistake(
        lambda layers, d, m: layers * adapter_numbers(d, m),
        "you counted one adapter a layer: there are two, behind the attention and behind the feed-forward part.",
    ),
    Mistake(lambda layers, d, m: 4 * layers * m * d + d + m, "you counted one adapter's biases: each has its own."),
    Mistake(lambda *case: 4 * adapter_parameters(*case), "you returned bytes: asked is how many numbers train."),
)


def widest(budget: int, layers: int, d: int) -> int:
    return (budget // (2 * layers) - d) // (2 * d + 1)


def _budget_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield 331_776, 6, 384
    yield adapter_parameters(12, 768, 8), 12, 768  # spent to the last number
    yield adapter_parameters(12, 768, 8) - 1, 12, 768
    for _ in range(3):
        layers, d, m = int(rng.integers(2, 30)), int(rng.integers(60, 2000)), int(rng.integers(3, 90))
        yield adapter_parameters(layers, d, m) + int(rng.integers(layers * d, 3 * layers * d)), layers, d


def _fraction(budget: int, layers: int, d: int) -> float:
    return (budget / (2 * layers) - d) / (2 * d + 1)


# n is the budget.
_BUDGET_MISTAKES = (
    *miscounted_layers(widest, at=1),
    Mistake(lambda n, L, d: n // (4 * L * d), "you left out the biases, and promise more than the budget can pay for."),
    Mistake(lambda n, L, d: (n // (2 * L) - d) // (2 * d), "you left out the bottleneck's bias, one number a unit."),
    Mistake(lambda n, L, d: (n // (2 * L) - d) // (d + 1), "you counted one projection: a unit pays for both."),
    Mistake(lambda n, L, d: widest(2 * n, L, d), "you spent a layer's budget on one adapter: there are two in each."),
    Mistake(lambda n, L, d: widest(2 * L * n, L, d), "you spent all on one adapter: there are two in every layer."),
    Mistake(lambda *case: math.ceil(_fraction(*case)), "you rounded up: the bottleneck's last unit is not paid for."),
    Mistake(lambda *case: round(_fraction(*case)), "you rounded to the nearest: the last unit may not be paid for."),
    Mistake(_fraction, "you returned a fraction: a bottleneck has a whole number of units."),
    Mistake(lambda *case: widest(*case) + 1, "you returned the first bottleneck that costs too much: take one less."),
    Mistake(lambda n, L, d: widest(n - 1, L, d), "you kept below the budget: an adapter may spend all of it."),
    Mistake(lambda n, L, d: adapter_parameters(L, d, widest(n, L, d)), "you returned what is spent, not the width."),
)


def first_gradient(G: Array, H: Array, W_down: Array) -> Array:
    return np.asarray(G @ np.tanh(W_down @ H).T)


def _gradient_cases(rng: np.random.Generator) -> Iterator[Case]:
    for d, m, n in [(5, 2, 4), (6, 3, 7), (4, 1, 3)]:
        yield _drawn(rng, (d, n), (d, n), (m, d))


_GRADIENT_MISTAKES = (
    Mistake(lambda G, H, D: G @ (D @ H).T, "you left out tanh: what W_up multiplies is behind the nonlinearity."),
    Mistake(lambda G, H, D: G @ _relu(D @ H).T, "you took ReLU, as 03.1 does: here the nonlinearity is tanh."),
    Mistake(lambda G, H, D: np.tanh(D @ H) @ G.T, "you returned the transpose: the gradient has W_up's shape, (d, m)."),
    Mistake(
        lambda G, H, D: G @ (1 - np.tanh(D @ H) ** 2).T,
        "you took the derivative of tanh: it belongs to the gradient of W_down, not of W_up.",
    ),
    Mistake(
        lambda G, H, D: first_gradient(G, H, D) / G.shape[1],
        "you divided by the number of tokens: G holds the gradients of the loss already, and they add up.",
    ),
    Mistake(lambda G, H, D: 0 * D.T, "you say that nothing moves: W_up is zero, but its gradient is not."),
    Mistake(lambda G, H, D: 0 * D, "this is the gradient of W_down, which is zero: asked is that of W_up."),
    Mistake(lambda G, H, D: -first_gradient(G, H, D), "this is the step downhill: the gradient has no minus."),
    Mistake(lambda G, H, D: first_gradient(H, H, D), "you put H where the gradients G of the outputs belong."),
    Mistake(lambda G, H, D: first_gradient(G, G, D), "you put G into the bottleneck: the inputs H go into it."),
    Mistake(lambda G, H, D: first_gradient(H, G, D), "you exchanged G and H: the inputs go through W_down."),
    Mistake(lambda G, H, D: G @ H.T, "you left out the bottleneck: W_up multiplies tanh(W_down H), not H."),
)


def merged(W: Array, b: Array, W_down: Array, b_down: Array, W_up: Array, b_up: Array) -> tuple[Array, Array]:
    M = np.eye(len(W)) + W_up @ W_down
    return M @ W, M @ b + W_up @ b_down + b_up


def _merge_cases(rng: np.random.Generator) -> Iterator[Case]:
    for d, m in [(4, 2), (5, 2), (3, 1)]:
        yield _drawn(rng, (d, d), d, (m, d), m, (d, m), d)


def _of(pair: Callable[[Array, Array, Array, Array], tuple[Array, Array]]) -> Callable[..., tuple[Array, Array]]:
    """What `pair` makes of W, b, the product P of the projections, and the bias c that the adapter adds."""
    return lambda W, b, W_down, b_down, W_up, b_up: pair(W, b, W_up @ W_down, W_up @ b_down + b_up)


_MERGE_MISTAKES = (
    Mistake(
        _of(lambda W, b, P, c: (W + P, b + c)),
        "you merged it as a parallel adapter, which reads x. A sequential one reads what W and b have made of x.",
    ),
    Mistake(
        _of(lambda W, b, P, c: (W + W @ P, b + P @ b + c)),
        "you have the product in the wrong order: the adapter comes after W, so its matrices stand to the left.",
    ),
    Mistake(_of(lambda W, b, P, c: (W + P @ W, b + c)), "you sent W through the adapter, but not b: it reads Wx + b."),
    Mistake(_of(lambda W, b, P, c: (P @ W, P @ b + c)), "you left out the way round the bottleneck: keep Wx + b too."),
    Mistake(_of(lambda W, b, P, c: (W + P @ W, P @ b + c)), "b goes round the bottleneck as Wx does: add b itself."),
    Mistake(_of(lambda W, b, P, c: (W + P @ W, b + P @ b)), "you left out the adapter's own biases."),
    Mistake(_of(lambda W, b, P, c: (W + P @ W, b)), "you left the bias: the adapter reads b and adds its own."),
    Mistake(lambda W, b, D, f, U, c: merged(W, b, D, 0 * f, U, c), "you left out b_down: it passes through W_up."),
    Mistake(lambda W, b, D, f, U, c: merged(W, b, D, f, U, 0 * c), "you left out b_up: it is added as it is."),
    Mistake(lambda *case: merged(*case)[0], "you returned the weight alone: return the pair (weight, bias)."),
    Mistake(lambda *case: merged(*case)[::-1], "you exchanged the two: the weight comes first, then the bias."),
)


EXERCISES = [
    Exercise("03.1", "an adapter, by hand", adapter, _adapter_cases, _ADAPTER_MISTAKES),
    Exercise("03.2", "count its numbers", adapter_parameters, _parameter_cases, _PARAMETER_MISTAKES),
    Exercise("03.3", "the widest bottleneck for a budget", widest, _budget_cases, _BUDGET_MISTAKES),
    Exercise("03.4", "the first gradient", first_gradient, _gradient_cases, _GRADIENT_MISTAKES),
    Exercise("03.5", "merge a linear adapter", merged, _merge_cases, _MERGE_MISTAKES),
]
