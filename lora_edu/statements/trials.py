"""Numeric statements: a claim is tried on small inputs and on generic ones, and a counterexample is shown."""

import inspect
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy

from .generic_inputs import Space, inputs
from .search import search
from .statement import Statement

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

TRIALS = 100
SMALL = (1, 2, 3)  # shared sizes go up to these, one after the other
Claim = Callable[..., object]
Spaces = Mapping[str, "Space | SearchStrategy[Any]"]


def numeric(name: str, claim: Claim, /, *, expected: bool = True, **spaces: "Space | SearchStrategy[Any]") -> Statement:
    """Try a claim on small matrices of integers, then on 100 generic inputs, and show one on which it fails.

    Each space, `matrices(...)`, `vectors(...)` or any strategy of Hypothesis, is drawn for the claim's parameter of
    that name. Sizes with the same letter are the same number, which goes to the claim too if it has a parameter of
    that name. The claim answers with a bool. If it raises an error, the statement does not hold and is `broken`.

    Raises TypeError or ValueError for spaces that do not fit the claim's parameters, and TypeError for an answer
    that is no bool.
    """
    parameters = _checked_parameters(claim, spaces)
    strategy = inputs(spaces)
    tried = 0

    def fails(values: dict[str, Any]) -> bool:
        nonlocal tried
        tried += 1
        return _answer(claim, parameters, values) is not True

    # Small integers first: a counterexample among them is one to look at.
    found = None
    for size in SMALL:
        found = found or search(inputs(spaces, small=size), fails, TRIALS // 2)
    tried = 0
    found = found or search(strategy, fails, TRIALS)
    if found is None:
        return Statement("numeric", name, True, expected, f"held on {tried} generic inputs", strategy=strategy)
    answer = _answer(claim, parameters, found)
    detail = _shortened(", ".join(f"{key} = {_printed(found[key])}" for key in parameters), 120)
    if isinstance(answer, Exception):
        error = _shortened(f"{type(answer).__name__}: {answer}", 80)
        return Statement("numeric", name, False, expected, f"{error}, for {detail}", broken=True, strategy=strategy)
    if answer is not False:
        raise TypeError(f"the claim of {name!r} must answer with a bool, not with {answer!r}")
    return Statement("numeric", name, False, expected, detail, strategy=strategy)


def _checked_parameters(claim: Claim, spaces: Spaces) -> list[str]:
    """The names that the claim is given: a space for each of its parameters, or a size that the spaces share."""
    from hypothesis.strategies import SearchStrategy

    if not callable(claim):
        raise TypeError(f"a claim is a function of the matrices that answers with a bool, not {claim!r}")
    if not spaces:
        raise ValueError("a claim needs at least one space to draw from, such as A=matrices('m', 'n')")
    for name, space in spaces.items():
        if not isinstance(space, Space | SearchStrategy):
            raise TypeError(f"{name}={space!r} is neither matrices(...) nor vectors(...) nor a Hypothesis strategy")
    sizes = {letter for space in spaces.values() if isinstance(space, Space) for letter in space.letters}
    if both := sorted(sizes & spaces.keys()):
        raise ValueError(f"{', '.join(both)}: the same name for a size and for what is drawn")
    parameters = inspect.signature(claim).parameters.values()
    taken = [p.name for p in parameters if p.default is p.empty or p.name in sizes | spaces.keys()]
    if unused := [name for name in spaces if name not in taken]:
        raise ValueError(f"the claim has no parameter {', '.join(unused)}; its parameters are {', '.join(taken)}")
    if unknown := [name for name in taken if name not in sizes | spaces.keys()]:
        raise ValueError(f"the claim's parameter {', '.join(unknown)} is neither a space nor one of their sizes")
    return taken


def _answer(claim: Claim, parameters: list[str], values: dict[str, Any]) -> object:
    """What the claim says of an input, or the error that it raises. It gets a copy, since it may change its input."""
    try:
        answer = claim(**{name: deepcopy(values[name]) for name in parameters})
    except Exception as error:
        return error
    return bool(answer) if isinstance(answer, np.bool_ | sympy.logic.boolalg.BooleanAtom) else answer


def _printed(value: object) -> str:
    """A value with three digits to a number, and without the minus of a negative zero."""
    if isinstance(value, np.ndarray):
        return f"[{', '.join(map(_printed, value))}]"
    if isinstance(value, float):
        return f"{value + 0.0:.3g}"
    return repr(value) if isinstance(value, str) else str(value)


def _shortened(text: str, length: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1] + "…"
