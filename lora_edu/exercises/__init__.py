"""Checkers for the exercises of the chapters: `check("06.1", my_function)` runs a function and says what it got wrong.

`EXERCISES` maps each key to its `Exercise`. To add one, add it to the list of its chapter's module and give it at
least three mistakes that people really make, each with its own diagnosis.
"""

from collections.abc import Callable
from typing import Any

from . import ch01, ch05, ch06, ch07, ch08, ch09, ch10, ch11, ch12, ch13, ch14, ch15, ch16, ch19
from .engine import Exercise, Mistake, Verdict, judge

__all__ = ["EXERCISES", "Exercise", "Mistake", "Verdict", "check"]

EXERCISES: dict[str, Exercise] = {
    exercise.key: exercise
    for chapter in (ch01, ch05, ch06, ch07, ch08, ch09, ch10, ch11, ch12, ch13, ch14, ch15, ch16, ch19)
    for exercise in chapter.EXERCISES
}


def check(key: str, answer: Callable[..., Any]) -> Verdict:
    """Check a reader's `answer` to the exercise `key`, for example "11.2", and return a verdict that displays itself.

    An untouched stub (one that returns `...` or None) is "open", neither right nor wrong. Errors that the answer
    raises are reported in the verdict. Raises KeyError for a key that no chapter has.
    """
    if key not in EXERCISES:
        raise KeyError(f"no exercise {key!r}; there are {', '.join(EXERCISES)}")
    return judge(EXERCISES[key], answer)
