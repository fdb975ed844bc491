"""What was claimed, what came out, and on what evidence: the one line under a cell, and the entry in the ledger."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from .search import search

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

_made: list["Statement"] = []


@dataclass(frozen=True)
class Statement:
    """A claim with its verdict. It is truthy when it holds, and shows itself as one line.

    `expected` is False for a claim that is wrong on purpose. `broken` says that the claim raised an error, which
    shows it neither true nor false: it does not hold, and it is not as expected either.

    Raises TypeError for a name that is no string.
    """

    kind: Literal["exact", "numeric", "empirical"]
    name: str
    holds: bool
    expected: bool
    detail: str
    broken: bool = False
    strategy: "SearchStrategy[dict[str, Any]] | None" = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError(f"a statement begins with its name in words, not with {self.name!r}")
        _made.append(self)

    def __bool__(self) -> bool:
        return self.holds

    @property
    def as_expected(self) -> bool:
        """Whether it came out as the author said. The book is not built while a statement in it did not."""
        return self.holds == self.expected and not self.broken

    def draws(self, count: int = 50) -> list[dict[str, Any]]:
        """Inputs of the kind that a numeric claim was tried on, with its shared sizes; the same in every run.

        They are fewer than `count` only if there are no more. Raises ValueError for a count below 1, and TypeError
        for a statement of another kind, which has no inputs.
        """
        if self.strategy is None:
            raise TypeError(f"only a numeric statement has inputs to draw, and {self.name!r} is {self.kind}")
        if count < 1:
            raise ValueError(f"count={count} must be at least 1")
        drawn: list[dict[str, Any]] = []

        def keep(values: dict[str, Any]) -> bool:
            drawn.append(values)
            return False

        search(self.strategy, keep, count)
        return drawn

    def __repr__(self) -> str:
        return f"{'✓' if self.holds else '✗'} {self.kind} · {self.name} · {self._verdict()}"

    def _verdict(self) -> str:
        if self.holds:
            return self.detail if self.expected else f"{self.detail}, but was expected to be false"
        if self.as_expected:
            return f"false, as expected: {self.detail}"
        if self.kind == "numeric" and not self.broken:
            return f"fails, e.g. for {self.detail}"
        return f"fails: {self.detail}"


def made_statements() -> list[Statement]:
    """All statements made since the last call, in order. This is what the book's verifier reads after each cell."""
    made = _made.copy()
    _made.clear()
    return made
