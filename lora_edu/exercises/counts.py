"""Counts that several chapters ask for, and the ways they go wrong: the numbers of an adapter, the layers of a model.

Who miscounts an adapter in chapter 2 does it in the same way in chapter 3. So the wrong counts stand here once, each
with what to tell. The exercise says what it makes of a count: a hybrid, a whole model, a budget.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from .engine import Mistake

Answer = Callable[..., Any]


def adapter_numbers(d: int, m: int) -> int:
    """Numbers in an adapter for rows of width d: two projections, biases of m in the bottleneck and of d behind it."""
    return 2 * m * d + d + m


_MISCOUNTS: tuple[tuple[Answer, str], ...] = (
    (lambda d, m: 2 * m * d, "you left out the biases: an adapter has m of them in the bottleneck, and d behind it."),
    (lambda d, m: 2 * m * d + d, "you left out the bias in the bottleneck: m numbers in each adapter."),
    (lambda d, m: 2 * m * d + m, "you left out the bias behind the bottleneck: d numbers in each adapter."),
    (lambda d, m: m * d + d + m, "you counted one of the two projections: down and up have m times d numbers each."),
    (lambda d, m: 2 * m * d + 2 * d, "you gave both projections a bias of d numbers: the one in the bottleneck has m."),
    (lambda d, m: 2 * m * d + 2 * m, "you gave both projections a bias of m numbers: the one of the second has d."),
)


def miscounted_adapters(answer: Answer) -> tuple[Mistake, ...]:
    """Mistakes of an exercise where `answer(count, *case)` follows from the numbers `count(d, m)` of one adapter."""
    return tuple(Mistake(partial(answer, count), told) for count, told in _MISCOUNTS)


def miscounted_layers(solution: Answer, at: int) -> tuple[Mistake, ...]:
    """Mistakes of an exercise whose argument number `at` is the number of layers; the last returns a list."""

    def with_layers(layers: Callable[[int], int]) -> Answer:
        return lambda *case: solution(*case[:at], layers(case[at]), *case[at + 1 :])

    return (
        Mistake(with_layers(lambda L: 1), "you counted one layer only: the model has `layers` of them."),
        Mistake(with_layers(lambda L: L - 1), "you counted one layer too few: all `layers` count, the last one too."),
        Mistake(with_layers(lambda L: L + 1), "you counted one layer too many: the word vectors are none."),
        Mistake(lambda *case: [solution(*case)], "you returned a list with the number in it: return the number alone."),
    )
