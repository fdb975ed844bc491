"""Exercises of chapter 20: repeated texts, a split by groups, Wilson's interval, a leak taken out of a score, luck."""

import math
import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from .engine import Case, Exercise, Mistake

WORDS = ["well", "known", "film", "Dull", "plot", "not", "good", "actors"]


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def _first_with(key: Callable[[str], str]) -> Callable[[Sequence[str]], list[int]]:
    def repeats(texts: Sequence[str]) -> list[int]:
        first: dict[str, int] = {}
        return [first.setdefault(key(text), row) for row, text in enumerate(texts)]

    return repeats


repeats = _first_with(_words)


def _repeats_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield (["A good film!", "a GOOD film", "Well-known plot.", "wellknown plot", "a good film", "A good film!"],)
    for _ in range(3):
        texts = [" ".join(rng.choice(WORDS, 2)) for _ in range(5)]
        texts += [texts[0].upper(), texts[1] + "!", texts[2].replace(" ", ""), texts[0] + " ...", texts[3]]
        yield (texts,)


def _neighbours(texts: Sequence[str]) -> list[int]:
    return [row - 1 if row and _words(texts[row]) == _words(texts[row - 1]) else row for row in range(len(texts))]


def _last(texts: Sequence[str]) -> list[int]:
    keys = [_words(text) for text in texts]
    return [len(keys) - 1 - keys[::-1].index(key) for key in keys]


_REPEATS_MISTAKES = (
    Mistake(
        _first_with(lambda text: text), "you compared the texts letter by letter: capitals and punctuation differ."
    ),
    Mistake(_first_with(str.lower), "you ignored capitals but not punctuation: “film!” is still not “film”."),
    Mistake(
        _first_with(lambda text: " ".join(re.findall(r"\w+", text))),
        "you ignored punctuation but not capitals: “GOOD” is still not “good”.",
    ),
    Mistake(
        _first_with(lambda text: "".join(re.findall(r"\w+", text.lower()))),
        "you joined the words without a space: “well known” and “wellknown” are not the same words.",
    ),
    Mistake(_neighbours, "you compared each text with the one before it: a repetition may stand anywhere above."),
    Mistake(_last, "you gave the last text with the same words; the first one is asked for."),
)


def _groups_of(groups: Sequence[int], labels: Sequence[int], label: int | None) -> list[int]:
    return list(dict.fromkeys(g for g, own in zip(groups, labels, strict=True) if label is None or own == label))


def _rows_in(groups: Sequence[int], chosen: set[int]) -> list[int]:
    return [row for row, group in enumerate(groups) if group in chosen]


def _last_groups(groups: Sequence[int], labels: Sequence[int], share: float) -> set[int]:
    chosen: set[int] = set()
    for label in sorted(set(labels)):
        own = _groups_of(groups, labels, label)
        chosen.update(own[len(own) - round(share * len(own)) :])
    return chosen


def rows_for_test(groups: Sequence[int], labels: Sequence[int], share: float) -> list[int]:
    return _rows_in(groups, _last_groups(groups, labels, share))


def _split_cases(rng: np.random.Generator) -> Iterator[Case]:
    # all groups of one class stand first: a share of all groups at once would take the other class alone
    yield [0, 1, 2, 0, 3, 1, 4, 5, 6, 4, 7], [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1], 0.25
    for share in (0.2, 0.4):
        kinds = [int(kind) for kind in rng.permutation([0] * 10 + [1] * 5)]
        groups = [int(g) for g in rng.permutation([*range(15), *range(15), *rng.integers(0, 15, 6)])]
        yield groups, [kinds[group] for group in groups], share


def _by_rows(groups: Sequence[int], labels: Sequence[int], share: float) -> list[int]:
    chosen: list[int] = []
    for label in set(labels):
        rows = [row for row, own in enumerate(labels) if own == label]
        chosen += rows[len(rows) - round(share * len(rows)) :]
    return sorted(chosen)


def _not_stratified(groups: Sequence[int], labels: Sequence[int], share: float) -> list[int]:
    every = _groups_of(groups, labels, None)
    return _rows_in(groups, set(every[len(every) - round(share * len(every)) :]))


def _the_rest(groups: Sequence[int], labels: Sequence[int], share: float) -> list[int]:
    return _rows_in(groups, set(groups) - _last_groups(groups, labels, share))


def _first_groups(groups: Sequence[int], labels: Sequence[int], share: float) -> list[int]:
    chosen: set[int] = set()
    for label in set(labels):
        own = _groups_of(groups, labels, label)
        chosen.update(own[: round(share * len(own))])
    return _rows_in(groups, chosen)


_SPLIT_MISTAKES = (
    Mistake(_by_rows, "you chose rows, not groups: texts with the same words then stand on both sides."),
    Mistake(_not_stratified, "you took the share of all groups at once: each class must give its own share."),
    Mistake(_the_rest, "you returned the rows that stay in training; the rows of the test part are asked for."),
    Mistake(_first_groups, "you took the first groups of each class; the exercise asks for the last ones."),
)

Z = 1.96


def wilson(right: int, n: int) -> tuple[float, float]:
    p = right / n
    half = Z * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    return (p + Z**2 / (2 * n) - half) / (1 + Z**2 / n), (p + Z**2 / (2 * n) + half) / (1 + Z**2 / n)


def _wilson_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield from [(9, 10), (33, 45), (20, 20)]
    for _ in range(2):
        n = int(rng.integers(20, 300))
        yield int(rng.integers(1, n)), n


def _around(p: float, half: float, scale: float = 1.0) -> tuple[float, float]:
    return (p - half) / scale, (p + half) / scale


_WILSON_MISTAKES = (
    Mistake(
        lambda right, n: _around(right / n, Z * math.sqrt(right / n * (1 - right / n) / n)),
        "this is the textbook interval p ± z √(p(1 − p)/n), which is a single point when all n are right.",
    ),
    Mistake(
        lambda right, n: _around(
            right / n + Z**2 / (2 * n), Z * math.sqrt(right / n * (1 - right / n) / n + Z**2 / (4 * n**2))
        ),
        "you did not divide by 1 + z²/n: without that the upper end can pass 1.",
    ),
    Mistake(
        lambda right, n: _around(
            right / n, Z * math.sqrt(right / n * (1 - right / n) / n + Z**2 / (4 * n**2)), 1 + Z**2 / n
        ),
        "you left z²/2n out of the centre: Wilson's interval is not centred on p.",
    ),
    Mistake(
        lambda right, n: _around(
            right / n + Z**2 / (2 * n), Z * math.sqrt(right / n * (1 - right / n) / n), 1 + Z**2 / n
        ),
        "you left z²/4n² out under the root: with all right the interval would be one point.",
    ),
)


def unseen(score: float, share: float, seen: float) -> float:
    return (score - share * seen) / (1 - share)


def _unseen_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield 0.9, 0.5, 1.0
    for _ in range(3):
        share, new = float(rng.uniform(0.1, 0.8)), float(rng.uniform(0.5, 0.8))
        yield share * 0.97 + (1 - share) * new, share, 0.97


_UNSEEN_MISTAKES = (
    Mistake(
        lambda score, share, seen: score - share * seen,
        "you took away what the known sentences give, but did not divide by the share of the others.",
    ),
    Mistake(
        lambda score, share, seen: (score - share * seen) / share,
        "you divided by the share of known sentences; what remains belongs to the others, 1 − share.",
    ),
    Mistake(
        lambda score, share, seen: (score - (1 - share) * seen) / share,
        "you exchanged the two shares: `share` is that of the sentences which stand in the training part.",
    ),
    Mistake(
        lambda score, share, seen: score - (seen - score),
        "you mirrored the score: that is right only if half of the test part is known.",
    ),
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
    Mistake(
        lambda better, worse: _tail(better, worse, min(better, worse) + 1),
        "you counted one side only: a difference the other way would have surprised you as much.",
    ),
    Mistake(
        lambda better, worse: math.comb(better + worse, better) / 2 ** (better + worse),
        "you took the chance of exactly this count; add those of all counts that are more extreme.",
    ),
    Mistake(
        lambda better, worse: 2 * _tail(better, worse, min(better, worse)),
        "you left out the count itself: as extreme as this one, or more.",
    ),
    Mistake(
        lambda better, worse: 2 * _tail(better, worse, min(better, worse) + 1),
        "your chance passes 1 when both counts are alike, where both sides share the middle: stop at 1.",
    ),
)


EXERCISES = [
    Exercise("20.1", "find repeated texts", repeats, _repeats_cases, _REPEATS_MISTAKES),
    Exercise("20.2", "a test part that shares no group", rows_for_test, _split_cases, _SPLIT_MISTAKES),
    Exercise("20.3", "Wilson's interval", wilson, _wilson_cases, _WILSON_MISTAKES),
    Exercise("20.4", "take the leak out of a score", unseen, _unseen_cases, _UNSEEN_MISTAKES),
    Exercise("20.5", "chance or skill", luck, _luck_cases, _LUCK_MISTAKES),
]
