"""The verifier of the book's mathematics: it reads typeset equations and decides them in the kernel of the chapter."""

from collections.abc import Mapping
from typing import Any

from .decide import Verdict, decide
from .grammar import parse
from .names import Scope
from .tokens import Unparsed

__all__ = ["Verdict", "check"]


def check(latex: str, names: Mapping[str, Any]) -> list[Verdict]:
    """A verdict on each statement of a formula, with its symbols looked up in `names`.

    What cannot be read, and names that are bound to nothing, are verdicts too; nothing is raised.
    """
    try:
        return [decide(statement, Scope(names)) for statement in parse(latex)]
    except Unparsed as error:
        return [Verdict("unparsed", detail=str(error))]
