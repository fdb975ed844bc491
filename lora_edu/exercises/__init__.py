"""Checkers for the exercises of the chapters: `check("06.1", my_function)` runs a function and says what it got wrong.

`EXERCISES` maps each key to its `Exercise`. To add one, add it to the list of its chapter's module and give it at
least three mistakes that people really make, each with its own diagnosis.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from .engine import Exercise, Mistake, Verdict, judge

__all__ = ["EXERCISES", "Exercise", "Mistake", "Verdict", "check"]

CHAPTERS = 20

EXERCISES: dict[str, Exercise] = {
    exercise.key: exercise
    for module in (import_module(f".ch{number:02d}", __name__) for number in range(1, CHAPTERS + 1))
    for exercise in module.EXERCISES
}


def check(key: str, answer: Callable[..., Any]) -> Verdict:
    """Check a reader's `answer` to the exercise `key`, for example "11.2", and return a verdict that displays itself.

    An untouched stub (one that returns `...` or None) is "open", neither right nor wrong. Errors that the answer
    raises are reported in the verdict. Raises KeyError for a key that no chapter has.
    """
    if key not in EXERCISES:
        raise KeyError(f"no exercise {key!r}; there are {', '.join(EXERCISES)}")
    return judge(EXERCISES[key], answer)
