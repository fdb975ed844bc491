"""Exercises of chapter 1: the bytes and the operations of a fine-tune, and how long it takes."""

from collections.abc import Iterable

import numpy as np

from .engine import Case, Exercise, Mistake

# --- 01.1: bytes that scale with the parameters, in mixed precision --------------------------------------------


def _state_bytes(frozen: int, trained: int) -> int:
    return 2 * frozen + (2 + 2 + 12) * trained


def _state_cases(rng: np.random.Generator) -> Iterable[Case]:
    yield 0, 6 * 10**9
    for _ in range(3):
        yield int(rng.integers(10**6, 10**10)), int(rng.integers(10**4, 10**8))


# --- 01.2: bytes of the activations -----------------------------------------------------------------------------


def _activation_bytes(batch: int, length: int, layers: int, width: int, heads: int) -> int:
    return 4 * batch * length * layers * (18 * width + 3 * heads * length)


def _activation_cases(rng: np.random.Generator) -> Iterable[Case]:
    yield 8, 32, 6, 384, 12
    for _ in range(3):
        batch, length, layers, heads = (int(x) for x in rng.integers(2, 40, size=4))
        yield batch, length, layers, 64 * heads, heads


# --- 01.3: operations of LoRA -----------------------------------------------------------------------------------


def _lora_flops(frozen: int, factors: int, tokens: int) -> int:
    return (2 + 2) * frozen * tokens + (2 + 4) * factors * tokens


def _flops_cases(rng: np.random.Generator) -> Iterable[Case]:
    yield 10_616_832, 331_776, 256
    for _ in range(3):
        yield int(rng.integers(10**6, 10**8)), int(rng.integers(10**3, 10**6)), int(rng.integers(2, 5000))


# --- 01.4: hours -----------------------------------------------------------------------------------------------


def _hours(parameters: float, tokens: float, cards: int, peak: float, utilization: float) -> float:
    return 6 * parameters * tokens / (cards * peak * utilization) / 3600


def _hours_cases(rng: np.random.Generator) -> Iterable[Case]:
    yield 6e9, 1e8, 8, 155e12, 0.4
    for _ in range(3):
        n, d = 10 ** rng.uniform(8, 11, size=2)
        yield float(n), float(d), int(rng.integers(2, 65)), float(rng.uniform(5e13, 1e15)), float(rng.uniform(0.2, 0.6))


EXERCISES = [
    Exercise(
        key="01.1",
        title="bytes of weights, gradients and optimizer in mixed precision",
        solution=_state_bytes,
        cases=_state_cases,
        mistakes=(
            Mistake(
                lambda frozen, trained: 2 * frozen + (2 + 2 + 8) * trained,
                "you left out the master copy: in mixed precision each trained parameter is also kept in float32, "
                "4 bytes more.",
            ),
            Mistake(
                lambda frozen, trained: 16 * (frozen + trained),
                "you gave a frozen parameter a gradient, a master copy and Adam's numbers. It has its 2 bytes alone.",
            ),
            Mistake(
                lambda frozen, trained: 16 * trained,
                "you left out the frozen weights: they do not train, but they are in memory.",
            ),
            Mistake(
                lambda frozen, trained: 4 * frozen + 16 * trained,
                "you kept the frozen weights in float32. In mixed precision a weight takes 2 bytes.",
            ),
            Mistake(
                lambda frozen, trained: 2 * frozen + 14 * trained,
                "you left out the gradients: 2 bytes for each trained parameter.",
            ),
        ),
    ),
    Exercise(
        key="01.2",
        title="bytes of the activations",
        solution=_activation_bytes,
        cases=_activation_cases,
        mistakes=(
            Mistake(
                lambda batch, length, layers, width, heads: 4 * batch * length * layers * 18 * width,
                "you left out attention: each of the h heads keeps three numbers for every pair of tokens.",
            ),
            Mistake(
                lambda batch, length, layers, width, heads: (
                    4 * batch * layers * (18 * width * length + 3 * heads * length)
                ),
                "attention keeps numbers for each pair of tokens, so that part grows with the square of the length.",
            ),
            Mistake(
                lambda batch, length, layers, width, heads: 4 * batch * length * (18 * width + 3 * heads * length),
                "you counted one layer. Every layer keeps its own activations until the backward pass reaches it.",
            ),
            Mistake(
                lambda batch, length, layers, width, heads: batch * length * layers * (18 * width + 3 * heads * length),
                "you counted numbers, not bytes: a float32 takes 4 bytes.",
            ),
        ),
    ),
    Exercise(
        key="01.3",
        title="operations of a training with LoRA",
        solution=_lora_flops,
        cases=_flops_cases,
        mistakes=(
            Mistake(
                lambda frozen, factors, tokens: 6 * (frozen + factors) * tokens,
                "you computed a gradient for the frozen weights too. They save 2 of their 6 operations.",
            ),
            Mistake(
                lambda frozen, factors, tokens: (2 * frozen + 6 * factors) * tokens,
                "you stopped the backward pass at the frozen weights. It must go through them to reach the factors "
                "below: 2 operations more.",
            ),
            Mistake(
                lambda frozen, factors, tokens: 6 * factors * tokens,
                "you counted the factors alone. The frozen weights are multiplied as well, forward and backward.",
            ),
            Mistake(
                lambda frozen, factors, tokens: 4 * (frozen + factors) * tokens,
                "you gave the factors 4 operations. They are trained, so they take 6: 2 forward and 4 backward.",
            ),
        ),
    ),
    Exercise(
        key="01.4",
        title="hours of a full fine-tuning",
        solution=_hours,
        cases=_hours_cases,
        mistakes=(
            Mistake(
                lambda n, d, cards, peak, share: 2 * n * d / (cards * peak * share) / 3600,
                "you counted the forward pass alone. The backward pass takes twice as much again: 6 in all.",
            ),
            Mistake(
                lambda n, d, cards, peak, share: 6 * n * d / (cards * peak) / 3600,
                "you let the cards run at their peak. They achieve a share of it: divide by the utilization too.",
            ),
            Mistake(
                lambda n, d, cards, peak, share: share * 6 * n * d / (cards * peak) / 3600,
                "you multiplied by the utilization. The smaller the share of the peak, the longer it takes: divide.",
            ),
            Mistake(
                lambda n, d, cards, peak, share: 6 * n * d / (cards * peak * share),
                "those are seconds. An hour has 3600 of them.",
            ),
            Mistake(
                lambda n, d, cards, peak, share: 6 * n * d / (peak * share) / 3600,
                "you let one card do the work of all.",
            ),
        ),
    ),
]
