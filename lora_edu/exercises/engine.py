"""How an exercise is checked: run the reader's function on generic inputs, and say which mistake was made.

An `Exercise` holds a correct solution, generic inputs, and the wrong answers that people really give. An answer
that behaves like one of those is told so in words; any other wrong answer is shown the first input on which it
differs. The exercises themselves are in the modules beside this one, one for each chapter.
"""

import copy
import html
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

Case = tuple[Any, ...]


@dataclass(frozen=True)
class Mistake:
    """A wrong answer that people give, and what to tell them."""

    answer: Callable[..., Any]
    diagnosis: str


@dataclass(frozen=True)
class Exercise:
    """One exercise: `key` is 'chapter.number', `cases` draws generic inputs from a seeded generator.

    An answer is right when `accepts(got, *case)` is true for every case; without `accepts`, when it equals what
    `solution` gives.
    """

    key: str
    title: str
    solution: Callable[..., Any]
    cases: Callable[[np.random.Generator], Iterable[Case]]
    mistakes: tuple[Mistake, ...]
    accepts: Callable[..., bool] | None = None

    def is_right(self, got: Any, case: Case) -> bool:
        if self.accepts is not None:
            return bool(self.accepts(got, *copy.deepcopy(case)))
        return same(got, self.solution(*copy.deepcopy(case)))


@dataclass(frozen=True)
class Verdict:
    """What a checker found: true when the answer passed. Shows itself as a line of text, or as a box in a notebook."""

    key: str
    state: str  # "passed", "failed" or "open"
    message: str

    def __bool__(self) -> bool:
        return self.state == "passed"

    def __repr__(self) -> str:
        mark = {"passed": "✓", "failed": "✗", "open": "○"}[self.state]
        return f"{mark} Exercise {self.key}: {self.message}"

    def _repr_html_(self) -> str:
        colour = {"passed": "#1a7f5a", "failed": "#b4441c", "open": "#6b7280"}[self.state]
        return (
            f'<div class="exercise-verdict {self.state}" style="border-left:4px solid {colour};padding:.4em .9em">'
            f"{html.escape(repr(self))}</div>"
        )


def judge(exercise: Exercise, answer: Callable[..., Any]) -> Verdict:
    """Run `answer` on the exercise's inputs and diagnose it."""
    if not callable(answer):
        raise TypeError(f"exercise {exercise.key} takes a function, not {type(answer).__name__}: leave out the ()")
    cases = list(exercise.cases(np.random.default_rng(0)))
    results = []
    for case in cases:
        try:
            got = answer(*copy.deepcopy(case))
        except Exception as error:  # a reader's bug, of any kind, is told and not raised
            return Verdict(
                exercise.key,
                "failed",
                f"your function raised {type(error).__name__}: {error}. Input: {_describe(case)}.",
            )
        if got is None or got is Ellipsis:
            return Verdict(
                exercise.key, "open", f"{exercise.title}. Replace the … in the function, then run this cell again."
            )
        results.append(got)
    wrong = [n for n, case in enumerate(cases) if not exercise.is_right(results[n], case)]
    if not wrong:
        return Verdict(exercise.key, "passed", f"{exercise.title}: right on all {len(cases)} inputs tried.")
    for mistake in exercise.mistakes:
        if all(same(got, mistake.answer(*copy.deepcopy(case))) for got, case in zip(results, cases, strict=True)):
            return Verdict(exercise.key, "failed", mistake.diagnosis)
    first = wrong[0]
    message = f"not yet. For {_describe(cases[first])} your function gives {_describe((results[first],))}"
    if exercise.accepts is None:
        message += f", but {_describe((exercise.solution(*copy.deepcopy(cases[first])),))} is right"
    return Verdict(exercise.key, "failed", message + ".")


def same(got: Any, expected: Any) -> bool:
    """Equality for what exercises return: numbers, arrays and tensors up to rounding, tuples item by item."""
    if isinstance(expected, tuple | list):
        if isinstance(got, np.ndarray | torch.Tensor) and got.ndim > 0:
            got = list(got)
        return (
            isinstance(got, tuple | list)
            and len(got) == len(expected)
            and all(same(g, e) for g, e in zip(got, expected, strict=True))
        )
    if isinstance(expected, bool | str):
        return isinstance(got, bool | str | np.bool_) and bool(got == expected)
    try:
        left, right = _as_array(got), _as_array(expected)
    except (TypeError, ValueError):
        return False
    return left.shape == right.shape and bool(np.allclose(left, right, rtol=1e-5, atol=1e-7, equal_nan=True))


def _as_array(value: Any) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if np.asarray(value).dtype.kind in "SU":
        raise TypeError("digits in a text are no number")
    return np.asarray(value, dtype=np.float64)


def _describe(values: Case) -> str:
    return ", ".join(_describe_one(value) for value in values)


def _describe_one(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, tuple | list):
        return f"({_describe(tuple(value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, np.ndarray) and value.ndim > 0:
        if value.size > 12:
            return f"an array of shape {value.shape}"
        return np.array2string(value, precision=4, separator=", ").replace("\n", "")
    if isinstance(value, float | np.floating):
        return f"{float(value):.6g}"
    return str(value)
