r"""What the dots stand for in $a_1 + a_2 + \dots + a_r$: the pattern of the terms before them, continued."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

from .names import as_integer, extent
from .syntax import Chain, Dots, Expr, Num, Sym, children, substitute, walk
from .values import DoesNotCompute

if TYPE_CHECKING:
    from .evaluate import Evaluator

PLACE = Sym("□")


def expand_dots(terms: Sequence[Expr], evaluator: "Evaluator") -> list[Expr]:
    """The terms with the dots written out. Without a last term they run as far as the names go."""
    where = next(position for position, term in enumerate(terms) if isinstance(term, Dots))
    before, after = list(terms[:where]), list(terms[where + 1 :])
    if not before or len(after) > 1:
        raise DoesNotCompute("the dots continue nothing")
    if len(before) == 1:
        if not after:
            raise DoesNotCompute("the dots need two terms before them, or one after")
        template, first = _compared(before[0], after[0])
        last, step, done = _last(template, after[0], evaluator), 1, first
    else:
        template, done = _compared(before[-2], before[-1])
        step, done = _value(before[-1], template) - done, _value(before[-1], template)
        last = _last(template, after[0], evaluator) if after else _end(template, evaluator)
    if step == 0 or (last - done) * step < 0:
        if not after and last < done:
            return before
        raise DoesNotCompute("the dots lead nowhere")
    if (last - done) % step:
        raise DoesNotCompute("the last term does not continue the pattern before the dots")
    middle = [_with(template, number) for number in range(done + step, last + step, step)]
    return before + middle


def _compared(left: Expr, right: Expr) -> tuple[Expr, int]:
    """The first term with a place where the two differ, and the number that stands there."""
    for template, number in _templates(left):
        if _matches(template, right) and template != right:
            return template, number
    raise DoesNotCompute("the terms around the dots do not follow one pattern")


def _templates(term: Expr) -> Iterator[tuple[Expr, int]]:
    """The term with a place for one of its numbers: first for those in an index, then for any other."""
    symbols = [node for node in walk(term) if isinstance(node, Sym)]
    indexed = {part for node in symbols for index in node.index for part in walk(index) if isinstance(part, Num)}
    for number in sorted(indexed, key=lambda part: part.value):
        template = term
        for symbol in symbols:
            index = tuple(_put(part, number) for part in symbol.index)
            template = substitute(template, symbol, replace(symbol, index=index))
        yield template, int(number.value)
    for node in walk(term):
        if isinstance(node, Num) and node.value.denominator == 1:
            yield substitute(term, node, PLACE), int(node.value)


def _put(part: Expr, number: Num) -> Expr:
    result: Expr = substitute(part, number, PLACE)
    return result


def _matches(template: Expr, other: Expr) -> bool:
    """Whether `other` is the template with one and the same thing in all its places."""
    return _fits(template, other) and len(set(_all_found(template, other))) == 1


def _all_found(template: object, other: object) -> Iterator[object]:
    if template == PLACE:
        yield other
        return
    for a, b in zip(children(template), children(other), strict=True):  # type: ignore[arg-type]
        yield from _all_found(a, b)


def _fits(template: object, other: object) -> bool:
    if template == PLACE:
        return True
    if template == other:
        return True
    if type(template) is not type(other) or isinstance(template, Num):
        return False
    mine, theirs = list(children(template)), list(children(other))  # type: ignore[arg-type]
    if len(mine) != len(theirs) or not mine:
        return False
    if isinstance(template, Sym) and isinstance(other, Sym) and template.base != other.base:
        return False
    return all(_fits(a, b) for a, b in zip(mine, theirs, strict=True))


def _found(template: Expr, other: Expr) -> object:
    return next(iter(_all_found(template, other)))


def _value(term: Expr, template: Expr) -> int:
    found = _found(template, term)
    if not isinstance(found, Num):
        raise DoesNotCompute("the terms around the dots do not follow one pattern")
    return int(found.value)


def _last(template: Expr, term: Expr, evaluator: "Evaluator") -> int:
    if not _matches(template, term):
        raise DoesNotCompute("the last term does not continue the pattern before the dots")
    return as_integer(evaluator(_found(template, term)))  # type: ignore[arg-type]


def _with(template: Expr, number: int) -> Expr:
    result: Expr = substitute(template, PLACE, Num(Fraction(number), Fraction(1)))
    return result


def _end(template: Expr, evaluator: "Evaluator") -> int:
    """The last number at which every name with the place in its index has an entry."""
    ends = []
    for node in walk(template):
        if isinstance(node, Sym) and node.index and any(PLACE in set(walk(part)) for part in node.index):
            sizes = extent(node, evaluator.scope)
            for size, part in zip(sizes, node.index, strict=False):
                if PLACE in set(walk(part)):
                    offset = as_integer(evaluator(substitute(part, PLACE, Num(Fraction(0), Fraction(1)))))
                    ends.append(size - offset)
    if not ends:
        raise DoesNotCompute("nothing here says where the dots end")
    return min(ends)


def expand_chain(chain: Chain, evaluator: "Evaluator") -> tuple[list[Expr], list[str]]:
    r"""Items and relations of a chain with its dots written out, as in $\sigma_1 \ge \sigma_2 \ge \dots \ge 0$."""
    items, relations = list(chain.items), list(chain.relations)
    while any(isinstance(item, Dots) for item in items):
        where = next(position for position, item in enumerate(items) if isinstance(item, Dots))
        before, after = items[:where], items[where + 1 :]
        if not before or (after and relations[where - 1] != relations[where]):
            raise DoesNotCompute("the dots continue nothing")
        if len(before) == 1:
            if not after:
                raise DoesNotCompute("the dots continue nothing")
            template, done = _compared(before[0], after[0])
            continues = True
        else:
            template, _ = _compared(before[-2], before[-1])
            done = _value(before[-1], template)
            continues = bool(after) and _matches(template, after[0])
        last = _last(template, after[0], evaluator) - 1 if continues else _end(template, evaluator)
        middle = [_with(template, number) for number in range(done + 1, last + 1)]
        relation = relations[where - 1]
        items = before + middle + after
        relations = relations[: where - 1] + [relation] * (len(middle) + (1 if after else 0)) + relations[where + 1 :]
    return items, relations
