"""What a chapter asserts, each thing with the means to decide it, and to decide what it would say with a slip in it."""

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from .decide import Verdict, decide, show
from .mutations import Slip, mutated_digits, mutated_expressions, slips
from .names import Scope
from .numerals import Numeral
from .syntax import Chain, Expr, Mul, Statement, Sym
from .values import DoesNotCompute, Unbound, Work, is_exact, is_matrix, lift, to_float


@dataclass(frozen=True)
class Mutant:
    """A claim with one slip: `kind` says what slipped, `change` shows before and after."""

    kind: str
    change: str
    claim: "Claim"
    slip: Slip | None = None


class Claim(Protocol):
    def decide(self, scope: Scope) -> Verdict: ...

    def mutants(self) -> Iterator[Mutant]: ...


@dataclass(frozen=True)
class Equation:
    """A typeset relation; with `draws`, the name of a numeric Statement on whose random inputs it must hold.

    `let` are names and Python expressions that a comment before it sets; with draws they are evaluated for each.
    """

    statement: Statement
    draws: str = ""
    let: tuple[tuple[str, str], ...] = ()

    def decide(self, scope: Scope) -> Verdict:
        try:
            if not self.draws:
                return decide(self.statement, with_names(scope, self.let))
            drawn = [scope.with_layer(draw) for draw in scope.find(self.draws).draws()]
            return decide(self.statement, scope, (with_names(one, self.let) for one in drawn))
        except Unbound as error:
            return Verdict("unbound", detail=str(error.args[0]))
        except DoesNotCompute as error:
            return Verdict("false", detail=str(error))

    def mutants(self) -> Iterator[Mutant]:
        for slip in slips(self.statement):
            yield Mutant(f"{slip.kind} in an equation", slip.change, replace(self, statement=slip.statement), slip)


@dataclass(frozen=True)
class Evidence:
    """Python expressions, and the numbers and formulas without a relation that their values must equal, in order."""

    expressions: tuple[str, ...]
    targets: tuple[Numeral | Expr, ...]

    def values(self, scope: Scope) -> list[Any]:
        """One value a target. Raises Unbound, DoesNotCompute."""
        values = [value for expression in self.expressions for value in evaluated(expression, scope)]
        if len(values) != len(self.targets):
            raise DoesNotCompute(f"the evidence has {len(values)} values for {len(self.targets)} numbers")
        return values

    def decide(self, scope: Scope) -> Verdict:
        verdict = Verdict("true")
        for position in range(len(self.targets)):
            verdict = Supported(self, position).decide(scope)
            if not verdict.holds:
                break
        return verdict

    def mutants(self) -> Iterator[Mutant]:
        for position, expression in enumerate(self.expressions):
            for change, changed in mutated_expressions(expression):
                expressions = (*self.expressions[:position], changed, *self.expressions[position + 1 :])
                yield Mutant("expectation of a number", change, replace(self, expressions=expressions))


@dataclass(frozen=True)
class Supported:
    """A number of the prose, or a formula such as 4N + 12T, and its place in the evidence given for it."""

    evidence: Evidence
    position: int = 0

    def decide(self, scope: Scope) -> Verdict:
        target = self.evidence.targets[self.position]
        try:
            value = self.evidence.values(scope)[self.position]
            if isinstance(target, Numeral):
                return _compare(target, value)
        except Unbound as error:
            return Verdict("unbound", detail=str(error.args[0]))
        except DoesNotCompute as error:
            return Verdict("false", detail=str(error))
        name = Sym("value_of_the_evidence")
        return decide(Chain((target, name), ("=",)), scope.with_layer({name.base: value}))

    def mutants(self) -> Iterator[Mutant]:
        target = self.evidence.targets[self.position]
        if isinstance(target, Numeral):
            for change, numeral in mutated_digits(target):
                yield Mutant("digit in prose", change, self.with_target(numeral))
        else:
            for slip in slips(target):
                changed: Any = slip.statement
                yield Mutant(f"{slip.kind} in an equation", slip.change, self.with_target(changed), slip)
        if self.position == 0:
            yield from self.evidence.mutants()

    def with_target(self, target: Numeral | Expr) -> "Supported":
        targets = self.evidence.targets
        changed = (*targets[: self.position], target, *targets[self.position + 1 :])
        return replace(self, evidence=replace(self.evidence, targets=changed))


@dataclass(frozen=True)
class Known:
    """A number that must be one of a set: a figure of a cited work, a chapter's or an exercise's number."""

    numeral: Numeral
    allowed: Mapping[str, str]  # digits as printed, and where they stand
    kind: str
    otherwise: str

    def decide(self, scope: Scope) -> Verdict:
        where = self.allowed.get(self.numeral.digits)
        if where is None:
            return Verdict("false", self.kind, f"{self.numeral.digits} {self.otherwise}")
        return Verdict("true", self.kind, where)

    def mutants(self) -> Iterator[Mutant]:
        for change, numeral in mutated_digits(self.numeral):
            yield Mutant("digit in prose", change, replace(self, numeral=numeral))


def evaluated(expression: str, scope: Scope) -> list[Any]:
    """The values of an expression: the items of a list or tuple, or the one value. Raises Unbound, DoesNotCompute."""
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except SyntaxError as error:
        raise DoesNotCompute(f"the evidence {expression.strip()!r} is no Python expression") from error
    if not any(isinstance(node, ast.Name) for node in ast.walk(tree)):
        raise DoesNotCompute(f"the evidence {expression!r} uses no name: a constant proves nothing")
    return list(_flat(_run(expression, scope)))


def with_names(scope: Scope, let: Sequence[tuple[str, str]]) -> Scope:
    """The scope with the names that a comment sets, one after the other."""
    if not let:
        return scope
    layer: dict[str, Any] = {}
    for name, expression in let:
        layer = layer | {name: _run(expression, scope.with_layer(layer))}
    return scope.with_layer(layer)


def _run(expression: str, scope: Scope) -> Any:
    names: dict[str, Any] = {}
    for layer in reversed(scope.layers):
        names.update(layer)
    try:
        return eval(expression.strip(), names)
    except NameError as error:
        raise Unbound(str(error)) from error
    except Exception as error:
        raise DoesNotCompute(f"{expression.strip()!r} raised {type(error).__name__}: {error}") from error


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple) or type(value).__name__ == "Size":
        for item in value:
            yield from _flat(item)
    else:
        yield value


def _compare(numeral: Numeral, value: Any) -> Verdict:
    """Whether a number in prose agrees with a computed one, in the relation that the words before it state."""
    if isinstance(value, bool | np.bool_):
        return Verdict("false", detail="the evidence is a yes or no, not a number")
    work = Work()
    lifted = lift(value, work, "the evidence")
    if is_matrix(lifted) or callable(lifted):
        raise DoesNotCompute("the evidence is no single number")
    kind = "exact" if is_exact(lifted) else "numeric"
    number = to_float(lifted, work)
    target, half = float(numeral.value), float(numeral.unit) / 2 if numeral.rounded else 0.0
    room = (
        half + 1e-12 * abs(number)
        if half
        else (work.tolerance(abs(number)) if kind == "numeric" else 1e-12 * abs(target))
    )
    holds = {
        "=": abs(number - target) <= room, "≈": abs(number - target) <= room,
        "<": number < target, ">": number > target, "≤": number <= target + room, "≥": number >= target - room,
    }[numeral.relation]  # fmt: skip
    words = f"printed {numeral.text.strip()}, computed {show(lifted)}"
    return Verdict("true" if holds else "false", kind, words)


def product_items(expression: Expr) -> Sequence[Expr]:
    """A shape such as 3 × 3 is two numbers; anything else is one."""
    if isinstance(expression, Mul) and set(expression.signs[1:]) == {"×"}:
        return expression.factors
    return (expression,)
