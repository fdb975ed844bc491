"""Exercises of chapter 17: labels of an answer, positions and mask of a packed row, a weighted mean, utilization."""

from collections.abc import Iterator

import numpy as np

from .engine import Case, Exercise, Mistake

IGNORED = -100


def answer_labels(ids: np.ndarray, first: int, length: int) -> np.ndarray:
    places = np.arange(len(ids))
    return np.where((places >= first) & (places < length), ids, IGNORED)


def _label_cases(rng: np.random.Generator) -> Iterator[Case]:
    for first, answer, padding in [(4, 3, 5), (7, 2, 1), (2, 6, 3)]:
        ids = rng.integers(5, 40, first + answer + padding)
        ids[first + answer - 1 :] = 2  # the end mark, and padding with the same id
        ids[1] = 2  # a mark that closes what the user said
        yield ids, first, first + answer


_LABEL_MISTAKES = (
    Mistake(
        lambda ids, first, length: np.where((np.arange(len(ids)) >= first) & (ids != ids[-1]), ids, IGNORED),
        "you left out every token with the id of the padding, and with it the end mark: nothing would teach to stop.",
    ),
    Mistake(
        lambda ids, first, length: np.where(np.arange(len(ids)) >= first, ids, IGNORED),
        "you let the padding count: the labels after the end mark must be ignored.",
    ),
    Mistake(
        lambda ids, first, length: np.where(np.arange(len(ids)) < length, ids, IGNORED),
        "you let the question count as well: only the answer is to be learned.",
    ),
    Mistake(
        lambda ids, first, length: np.where(
            (np.arange(len(ids)) >= first) & (np.arange(len(ids)) < length), np.roll(ids, -1), IGNORED
        ),
        "you shifted the labels: here each label stands under its own token, and the objective shifts them.",
    ),
    Mistake(
        lambda ids, first, length: np.where(
            (np.arange(len(ids)) > first) & (np.arange(len(ids)) < length), ids, IGNORED
        ),
        "you left out the first token of the answer.",
    ),
)


def positions(segments: np.ndarray) -> np.ndarray:
    starts = np.flatnonzero(np.diff(segments, prepend=-1))
    return np.arange(len(segments)) - np.repeat(starts, np.diff(starts, append=len(segments)))


def _segments(rng: np.random.Generator) -> np.ndarray:
    lengths = rng.permutation(np.array([2, 3, 4, 6]))
    return np.concatenate([np.repeat(np.arange(1, 5), lengths), np.zeros(3, dtype=int)])


def _position_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield (np.array([1, 1, 1, 2, 2, 0]),)
    for _ in range(3):
        yield (_segments(rng),)


_POSITION_MISTAKES = (
    Mistake(
        lambda segments: np.arange(len(segments)),
        "you counted on through the row: the positions must start anew at 0 with every chat.",
    ),
    Mistake(lambda segments: positions(segments) + 1, "you started at 1: the first token of a chat has position 0."),
    Mistake(
        lambda segments: segments - segments.min(),
        "you returned the number of the chat, not the place of the token within it.",
    ),
    Mistake(
        lambda segments: np.array([np.sum(segments == s) - 1 for s in segments]) - positions(segments),
        "you counted backwards: the last token of a chat has the largest position.",
    ),
)


def sees(segments: np.ndarray) -> np.ndarray:
    return np.asarray(np.tril(segments[:, None] == segments[None, :]))


def _mask_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield (np.array([1, 1, 1, 2, 2, 0]),)
    for _ in range(2):
        yield (_segments(rng),)


_MASK_MISTAKES = (
    Mistake(
        lambda segments: np.tril(np.ones((len(segments), len(segments)), dtype=bool)),
        "you let a token see all before it: tokens of other chats must stay hidden.",
    ),
    Mistake(
        lambda segments: segments[:, None] == segments[None, :],
        "you let a token see what follows in its chat: then it has only to copy the next token.",
    ),
    Mistake(
        lambda segments: np.tril(segments[:, None] == segments[None, :], -1),
        "you hid each token from itself: the first of a chat then sees nothing.",
    ),
    Mistake(
        lambda segments: np.triu(segments[:, None] == segments[None, :]),
        "you have rows and columns the wrong way round: row i says what token i sees, and that is before it.",
    ),
)


def gradient_of_all(gradients: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return np.asarray(counts @ gradients / counts.sum())


def _gradient_cases(rng: np.random.Generator) -> Iterator[Case]:
    for k, n in [(2, 3), (4, 5), (3, 2)]:
        yield rng.standard_normal((k, n)), rng.permutation(np.arange(1, k + 1) ** 2)


_GRADIENT_MISTAKES = (
    Mistake(
        lambda gradients, counts: gradients.mean(axis=0),
        "you took the mean of the means: a piece with one counted token weighs as much as one with nine.",
    ),
    Mistake(
        lambda gradients, counts: gradients.sum(axis=0),
        "you added the gradients of means: that is no mean, and grows with the number of pieces.",
    ),
    Mistake(
        lambda gradients, counts: counts @ gradients,
        "you weighted rightly, and forgot to divide by the number of all counted tokens.",
    ),
    Mistake(
        lambda gradients, counts: counts @ gradients / len(counts),
        "you divided by the number of pieces: divide by the number of all counted tokens.",
    ),
)


def utilization(tokens: int, seconds: float, flops_per_token: float, peak: float) -> float:
    return tokens * flops_per_token / seconds / peak


def _utilization_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield 1_000_000, 100.0, 5e8, 6.5e13
    for _ in range(2):
        yield int(rng.integers(10**4, 10**6)), float(rng.uniform(3, 60)), float(rng.uniform(1, 9) * 1e8), 6e12


_UTILIZATION_MISTAKES = (
    Mistake(
        lambda tokens, seconds, flops, peak: tokens * flops / peak,
        "that is the time the work would take at the peak: divide it by the seconds it really took.",
    ),
    Mistake(
        lambda tokens, seconds, flops, peak: seconds * peak / (tokens * flops),
        "you have the ratio upside down: a utilization is at most 1.",
    ),
    Mistake(
        lambda tokens, seconds, flops, peak: 3 * tokens * flops / seconds / peak,
        "you multiplied by 3: the operations given are forward and backward already.",
    ),
    Mistake(
        lambda tokens, seconds, flops, peak: tokens * flops / seconds,
        "that is the achieved rate, in operations a second: divide it by the peak.",
    ),
)


EXERCISES = [
    Exercise("17.1", "labels of an answer", answer_labels, _label_cases, _LABEL_MISTAKES),
    Exercise("17.2", "positions in a packed row", positions, _position_cases, _POSITION_MISTAKES),
    Exercise("17.3", "who sees whom", sees, _mask_cases, _MASK_MISTAKES),
    Exercise("17.4", "the gradient of all pieces", gradient_of_all, _gradient_cases, _GRADIENT_MISTAKES),
    Exercise("17.5", "utilization", utilization, _utilization_cases, _UTILIZATION_MISTAKES),
]
