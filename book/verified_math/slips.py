"""Tries slips on what was found true, in the chapter's kernel, and keeps which of them the verification noticed.

A slip in the prose is decided where the statement stands. A slip in a check of the code is run in a copy of the kernel
(a fork), so that nothing of it is left behind.
"""

import ast
import copy
import io
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from .claims import Claim, Equation, Mutant, with_names
from .decide import Verdict
from .evaluate import Evaluator
from .mutations import Slip, mutated_trees
from .names import Scope
from .session import Item
from .syntax import Chain, Logic, Num, Space
from .values import DoesNotCompute, Unbound, Work

SECONDS = 10
STATEMENTS = {"exact", "numeric", "empirical"}


@dataclass(frozen=True)
class Outcome:
    """`result` is noticed, survived, or same: the slip changed no value, so the statement still says what it said."""

    chapter: str
    where: str
    kind: str
    change: str
    text: str
    result: str


class _TookTooLong(BaseException):
    pass


@dataclass
class Slips:
    """`share` of all possible slips is tried; which ones depends on `seed` alone."""

    chapter: str
    seed: int
    share: float
    outcomes: list[Outcome] = field(default_factory=list)

    def watch(self, item: Item, scope: Scope, verdict: Verdict, identity: str) -> None:
        """Try slips on a claim that has just been found true."""
        assert item.claim is not None
        for count, mutant in enumerate(item.claim.mutants()):
            if self.chosen(identity, count):
                result = self.result_of(mutant, item.claim, scope)
                self.outcomes.append(Outcome(self.chapter, identity, mutant.kind, mutant.change, item.text, result))

    def chosen(self, where: str, count: int) -> bool:
        digest = sha256(f"{self.seed} {self.chapter} {where} {count}".encode()).digest()
        return int.from_bytes(digest[:8], "big") < self.share * 2**64

    def result_of(self, mutant: Mutant, claim: Claim, scope: Scope) -> str:
        try:
            holds = _within_time(lambda: mutant.claim.decide(scope)).holds
        except _TookTooLong:
            return "noticed"  # the verification gives up on a statement as well, and says so
        except Exception:  # what cannot be decided at all is not verified
            return "noticed"
        if not holds:
            return "noticed"
        return "same" if mutant.slip and same_value(mutant.slip, claim, scope) else "survived"

    def after(self, cell: str, source: str, names: Mapping[str, Any]) -> None:
        """Try slips on the checks of a code cell that has just run."""
        for position, (statement, kind, changes) in enumerate(check_slips(source)):
            wanted = [pair for count, pair in enumerate(changes) if self.chosen(f"{cell}.{position}", count)]
            if not wanted or not passes_in_copy(statement, names):
                continue
            for change, changed in wanted:
                result = "survived" if passes_in_copy(changed, names) else "noticed"
                text = ast.unparse(statement).splitlines()[0]
                self.outcomes.append(Outcome(self.chapter, cell, kind, change, text[:120], result))


def _within_time(action: Callable[[], Verdict]) -> Verdict:
    def give_up(*_: object) -> None:
        raise _TookTooLong

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        return action()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def same_value(slip: Slip, claim: Claim, scope: Scope) -> bool:
    """Whether the part that slipped still has its value: Σᵀ for a diagonal Σ, or two numbers that changed places."""
    from .decide import _equal

    before, after = slip.before, slip.after
    if (
        before is None
        or after is None
        or any(isinstance(part, Chain | Logic | Num | Space) for part in (before, after))
    ):
        return False
    scopes = [scope]
    if isinstance(claim, Equation):
        drawn = [scope.with_layer(draw) for draw in scope.find(claim.draws).draws()] if claim.draws else [scope]
        scopes = [with_names(one, claim.let) for one in drawn]
    try:
        for one in scopes:
            work = Work()
            evaluator = Evaluator(one, work)
            if not _equal(evaluator(before), evaluator(after), work)[0]:  # type: ignore[arg-type]
                return False
    except (Unbound, DoesNotCompute):
        return False
    return True


def check_slips(source: str) -> Iterator[tuple[ast.stmt, str, list[tuple[str, ast.stmt]]]]:
    """Each top-level statement of a cell that checks something, with the forms it takes when its check has a slip."""
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a cell with IPython's own syntax has no checks of ours
        return
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            continue
        checks = [node for node in ast.walk(statement) if _is_check(node)]
        for position, check in enumerate(checks):
            kind = "expectation of an assertion" if isinstance(check, ast.Assert) else "expectation of a statement"
            changes = [
                (change, _with_check(statement, position, part, changed))
                for part, tree_ in _parts(check)
                for change, changed in mutated_trees(tree_)
            ]
            yield statement, kind, changes


def _is_check(node: ast.AST) -> bool:
    return isinstance(node, ast.Assert) or (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in STATEMENTS
    )


def _parts(check: ast.AST) -> Iterator[tuple[int, ast.AST]]:
    """What a check expects: the test of an assertion, the arguments of a statement after its name."""
    if isinstance(check, ast.Assert):
        yield -1, check.test
    elif isinstance(check, ast.Call):
        yield from enumerate(check.args[1:], start=1)


def _with_check(statement: ast.stmt, position: int, part: int, changed: ast.AST) -> ast.stmt:
    result = copy.deepcopy(statement)
    check = [node for node in ast.walk(result) if _is_check(node)][position]
    if isinstance(check, ast.Assert):
        check.test = changed  # type: ignore[assignment]
    elif isinstance(check, ast.Call):
        check.args[part] = changed  # type: ignore[call-overload]
    return ast.fix_missing_locations(result)


def passes_in_copy(statement: ast.stmt, names: Mapping[str, Any]) -> bool:
    """Whether code runs through in a fork of this process, no assertion failing and every Statement as expected."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        passed = b"0"
        try:
            passed = b"1" if _passes(statement, dict(names)) else b"0"
        finally:
            os.write(writing, passed)
            os._exit(0)
    os.close(writing)
    ready, _, _ = select.select([reading], [], [], SECONDS)
    passed = os.read(reading, 1) if ready else b"0"
    os.close(reading)
    if not ready:
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return passed == b"1"


def _passes(statement: ast.stmt, names: dict[str, Any]) -> bool:
    from lora_edu.statements import made_statements

    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)  # the threads of the pool did not come along into the fork
    sys.stdout = sys.stderr = io.StringIO()
    made_statements()
    try:
        exec(compile(ast.Module([statement], []), "<check>", "exec"), names)
    except BaseException:
        return False
    return all(made.as_expected for made in made_statements())
