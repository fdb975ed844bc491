"""Exercises of chapter 20: repeated texts, a split by groups, Wilson's interval, a leak taken out of a score, luck."""

import math
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from scipy.stats import norm

from .engine import Case, Exercise, Mistake

Array = np.ndarray  # also where a list or a tuple would do: an answer may then be any of the three
Rule = Callable[..., Any]
WORDS = ["well", "known", "film", "Dull", "plot", "not", "good", "actors"]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _first_with(key: Callable[[str], Hashable]) -> Rule:
    return lambda texts: np.array([[key(other) for other in texts].index(key(text)) for text in texts])


repeats = _first_with(lambda text: tuple(_words(text)))


def _repeats_cases(rng: np.random.Generator) -> Iterator[Case]:
    known = ["Well-known plot.", "wellknown plot", "well known plot"]
    yield (["A good film!", "a GOOD film", *known, "a good film", "Film: a good"],)
    for _ in range(3):
        a, b, c, d, e = (" ".join(rng.choice(WORDS, 2)) for _ in range(5))
        yield ([a, b, c, d, e, a.upper(), b + "!", c.replace(" ", ""), a + "...", d.replace(" ", ", ")],)


def _among(pick: Callable[[list[int], int], int]) -> Rule:
    """What `pick` makes of the rows with the same words as a row, and of this row itself."""
    return lambda texts: np.array(
        [pick(np.flatnonzero(repeats(texts) == own).tolist(), row) for row, own in enumerate(repeats(texts))]
    )


_REPEATS_MISTAKES = (
    Mistake(_first_with(str), "you compared the texts letter by letter: capitals and punctuation differ."),
    Mistake(_first_with(str.lower), "you ignored capitals but not punctuation: “film!” is still not “film”."),
    Mistake(_first_with(lambda t: tuple(re.findall(r"\w+", t))), "you kept capitals: “GOOD” is still not “good”."),
    Mistake(_first_with(lambda t: "".join(_words(t))), "you joined the words: “well known” is not “wellknown”."),
    Mistake(_first_with(lambda t: re.sub(r"[^\w\s]", "", t.lower())), "“well-known” became one word: it is two."),
    Mistake(_first_with(lambda t: re.sub(r"[.,:!?]", "", t.lower())), "“well-known” kept its hyphen: it is two words."),
    Mistake(_first_with(lambda t: t.lower().strip(".!?")), "you took punctuation off the ends of a text alone."),
    Mistake(_among(lambda same, i: i - 1 if i - 1 in same else i), "you compared with the text before: look at all."),
    Mistake(_among(lambda same, i: same[-1]), "you gave the last text with the same words: the first is asked for."),
    Mistake(_among(lambda same, i: same[max(0, same.index(i) - 1)]), "you gave the nearest one above: give the first."),
    Mistake(_among(lambda same, i: same[0] if same[0] < i else -1), "a text that repeats none gets its own place."),
    Mistake(_among(lambda same, i: same[0] < i), "you said whether a text repeats one: say which one, by place."),
    Mistake(lambda texts: repeats(texts) + 1, "you counted the places from one: the first text has the place 0."),
    Mistake(lambda texts: np.unique(repeats(texts), return_inverse=True)[1], "you numbered the texts: give places."),
)


def _rows(groups: Sequence[int], chosen: Iterable[int]) -> Array:
    return np.flatnonzero(np.isin(groups, list(chosen)))


def _split(count: Rule = round, take: Rule = lambda own, n: own[len(own) - n :], out: Rule = _rows) -> Rule:
    def rows_for_test(groups: Sequence[int], labels: Sequence[int], share: float) -> Any:
        chosen: list[int] = []
        for label in set(labels):
            own = list(dict.fromkeys(group for group, its in zip(groups, labels, strict=True) if its == label))
            chosen += take(own, count(share * len(own)))
        return out(groups, chosen)

    return rows_for_test


rows_for_test = _split()


def _split_cases(rng: np.random.Generator) -> Iterator[Case]:
    # all groups of one class stand first: a share of all groups at once would take the other class alone
    yield [0, 1, 2, 0, 3, 1, 4, 5, 6, 4, 7], [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1], 0.25
    for share in (0.27, 0.08):  # of 10 and of 5 groups: 2.7 and 1.35, 0.8 and 0.4
        kinds = [int(kind) for kind in rng.permutation([0] * 10 + [1] * 5)]
        groups = [int(g) for g in rng.permutation([*range(15), *range(15), *rng.integers(0, 15, 6)])]
        yield groups, [kinds[group] for group in groups], share


_SPLIT_MISTAKES = (
    Mistake(lambda g, y, s: rows_for_test(range(len(g)), y, s), "you chose rows: repeats then stand on both sides."),
    Mistake(lambda g, y, s: rows_for_test(g, [0] * len(g), s), "you took a share of all groups, not of each class."),
    Mistake(_split(out=lambda g, chosen: _rows(g, {*g} - {*chosen})), "you returned the rows that stay in training."),
    Mistake(_split(take=lambda own, n: own[:n]), "you took the first groups of each class; asked are the last ones."),
    Mistake(_split(take=lambda own, n: sorted(own)[len(own) - n :]), "you ordered groups by number, not by first row."),
    Mistake(_split(take=lambda own, n: own[-n:]), "own[-0:] is the whole list: if the share rounds to 0, take none."),
    Mistake(_split(math.floor), "you rounded down, as int does: the number of groups is rounded to the nearest."),
    Mistake(_split(math.ceil), "you rounded up: the number of groups is rounded to the nearest."),
    Mistake(_split(lambda n: max(1, round(n))), "you took one group at least: where the share rounds to 0, take none."),
    Mistake(_split(out=lambda g, chosen: chosen), "you returned groups: the places of their rows are asked for."),
    Mistake(_split(out=np.isin), "you returned true or false for each row: asked are the places of the rows."),
)


def wilson(
    right: int, n: int, *, z: float = 1.96, centre: float = 1 / 2, root: float = 1 / 4, below: float = 1
) -> Array:
    """The ends, with the shares of z²/n in the centre, of z²/n² under the root, and of z²/n in the denominator."""
    p = right / n
    half = z * math.sqrt(p * (1 - p) / n + root * z**2 / n**2)
    return (p + centre * z**2 / n + half * np.array([-1, 1])) / (1 + below * z**2 / n)


def _wilson_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield from [(9, 10), (33, 45), (20, 20)]
    for _ in range(2):
        n = int(rng.integers(20, 300))
        yield int(rng.integers(1, n)), n


_WILSON_MISTAKES = (
    Mistake(
        partial(wilson, centre=0, root=0, below=0),
        "this is the textbook interval p ± z √(p(1 − p)/n), which is a single point when all n are right.",
    ),
    Mistake(partial(wilson, below=0), "you did not divide by 1 + z²/n: without that the upper end can pass 1."),
    Mistake(partial(wilson, centre=0), "you left z²/2n out of the centre: Wilson's interval is not centred on p."),
    Mistake(partial(wilson, centre=1), "you added z²/n to p: the centre has half of that, z²/2n."),
    Mistake(partial(wilson, root=0), "you left z²/4n² out under the root: with all right it would be one point."),
    Mistake(partial(wilson, z=1.645), "you took z = 1.645, which leaves 5 % on each side: here z is 1.96."),
    Mistake(partial(wilson, z=norm.ppf(0.975)), "you took z with more digits: here it is 1.96, as the exercise says."),
    Mistake(lambda *case: wilson(*case)[::-1], "you exchanged the two ends: the lower one comes first."),
    Mistake(lambda *case: 100 * wilson(*case), "you returned percentages: the ends lie between 0 and 1."),
    Mistake(lambda *case: np.ptp(wilson(*case)) / 2, "you returned half the width: return the two ends."),
)


def unseen(score: float, share: float, seen: float) -> float:
    return (score - share * seen) / (1 - share)


def _unseen_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield 0.9, 0.5, 1.0
    for _ in range(3):
        share, new = float(rng.uniform(0.1, 0.8)), float(rng.uniform(0.5, 0.8))
        yield share * 0.97 + (1 - share) * new, share, 0.97


# a is the score, q the share, k the accuracy on the known sentences.
_UNSEEN_MISTAKES = (
    Mistake(lambda a, q, k: a - q * k, "you did not divide what the known sentences leave by the share of the others."),
    Mistake(lambda a, q, k: (a - q * k) / q, "you divided by the share of known sentences: the others' is 1 − share."),
    Mistake(lambda a, q, k: (a - (1 - q) * k) / q, "you exchanged the shares: `share` is that of the known sentences."),
    Mistake(lambda a, q, k: 2 * a - k, "you mirrored the score: that is right only if half of the test part is known."),
    Mistake(lambda a, q, k: a - q * k / (1 - q), "you divided only what is taken away: the score too is divided."),
    Mistake(lambda a, q, k: (a - k) / (1 - q), "you took `seen` away whole: only a share of the sentences is known."),
    Mistake(lambda a, q, k: (a - q) / (1 - q), "you took all known ones for right: the model gets `seen` of them."),
    Mistake(lambda a, q, k: a / (1 - q), "you left in the score what the known sentences give, share times seen."),
    Mistake(lambda a, q, k: q * k + (1 - q) * a, "you mixed `score` with `seen`: the score is the mixture already."),
    Mistake(lambda *case: 100 * unseen(*case), "you returned a percentage: the accuracy lies between 0 and 1."),
)


def _tail(better: int, worse: int, below: int) -> float:
    """How often fewer than `below` of the coins show heads."""
    n = better + worse
    return float(sum(math.comb(n, k) for k in range(below)) / 2**n)


def luck(better: int, worse: int) -> float:
    return min(1.0, 2 * _tail(better, worse, min(better, worse) + 1))


def _luck_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield from [(7, 3), (0, 5), (4, 4)]
    for _ in range(2):
        yield int(rng.integers(5, 20)), int(rng.integers(0, 20))


_LUCK_MISTAKES = (
    Mistake(lambda b, w: _tail(b, w, min(b, w) + 1), "you counted one side: the other way would surprise you as much."),
    Mistake(lambda b, w: math.comb(b + w, b) / 2 ** (b + w), "you took this count alone: add the more extreme ones."),
    Mistake(lambda b, w: math.comb(b + w, b) / 2 ** (b + w - 1), "you doubled this count alone: add what is beyond."),
    Mistake(lambda b, w: 2 * _tail(b, w, min(b, w)), "you left out the count itself: as extreme as this one, or more."),
    Mistake(lambda b, w: 2 * _tail(b, w, min(b, w) + 1), "your chance passes 1 when both counts are alike: stop at 1."),
    Mistake(lambda b, w: min(1, 2 * _tail(b, w, b + 1)), "you summed up to `better`: sum up to the smaller count."),
    Mistake(lambda b, w: _tail(b, w, w + 1), "you counted the side of `better` alone: asked are both directions."),
    Mistake(lambda b, w: 2 ** (b + w + 1) * _tail(b, w, min(b, w) + 1), "you counted ways: divide by all 2**n."),
    Mistake(lambda b, w: 2 * norm.sf(abs(b - w) / (b + w) ** 0.5), "this is the normal curve: count coins exactly."),
)


EXERCISES = [
    Exercise("20.1", "find repeated texts", repeats, _repeats_cases, _REPEATS_MISTAKES),
    Exercise("20.2", "a test part that shares no group", rows_for_test, _split_cases, _SPLIT_MISTAKES),
    Exercise("20.3", "Wilson's interval", wilson, _wilson_cases, _WILSON_MISTAKES),
    Exercise("20.4", "take the leak out of a score", unseen, _unseen_cases, _UNSEEN_MISTAKES),
    Exercise("20.5", "chance or skill", luck, _luck_cases, _LUCK_MISTAKES),
]
