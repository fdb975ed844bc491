"""Exercises of chapter 4: a prefix's share of attention, attention with it, a prompt's mask, and what both take."""

from collections.abc import Iterator

import numpy as np

from .engine import Case, Exercise, Mistake


def _softmax(scores: np.ndarray, axis: int = -1) -> np.ndarray:
    weights = np.exp(scores - scores.max(axis=axis, keepdims=True))
    return np.asarray(weights / weights.sum(axis=axis, keepdims=True))


def _attend(Q: np.ndarray, K: np.ndarray, V: np.ndarray) -> np.ndarray:
    return np.asarray(_softmax(Q @ K.T / np.sqrt(Q.shape[1])) @ V)


# --- 04.1: the share of the prefix -----------------------------------------------------------------


def share_of_prefix(q: np.ndarray, K: np.ndarray, P_K: np.ndarray) -> float:
    prefix, text = (np.exp(keys @ q / np.sqrt(len(q))).sum() for keys in (P_K, K))
    return float(prefix / (prefix + text))


def _share_cases(rng: np.random.Generator) -> Iterator[Case]:
    for m, k, n in [(4, 6, 3), (5, 3, 7), (8, 9, 1)]:
        yield rng.standard_normal(m), rng.standard_normal((k, m)), rng.standard_normal((n, m))


_SHARE_MISTAKES = (
    Mistake(
        lambda q, K, P_K: share_of_prefix(q * np.sqrt(len(q)), K, P_K),
        "you left out the division by √m: scores are divided by the root of the query's size.",
    ),
    Mistake(
        lambda q, K, P_K: len(P_K) / (len(P_K) + len(K)),
        "you counted the keys: that is the share only if all scores are equal. Weigh each key by exp of its score.",
    ),
    Mistake(
        lambda q, K, P_K: 1 - share_of_prefix(q, K, P_K),
        "that is 1 − λ, what is left for the text: the prefix's share has the prefix in the numerator.",
    ),
    Mistake(
        lambda q, K, P_K: (P_K @ q).sum() / ((P_K @ q).sum() + (K @ q).sum()),
        "you divided sums of scores: softmax takes the exponential of each score first.",
    ),
    Mistake(
        lambda q, K, P_K: share_of_prefix(q, K, P_K) / (1 - share_of_prefix(q, K, P_K)),
        "you divided by the text's part alone: the softmax is over the prefix and the text together.",
    ),
)

# --- 04.2: attention with a prefix -----------------------------------------------------------------


def attention(Q: np.ndarray, K: np.ndarray, V: np.ndarray, P_K: np.ndarray, P_V: np.ndarray) -> np.ndarray:
    return _attend(Q, np.vstack([P_K, K]), np.vstack([P_V, V]))


def _attention_cases(rng: np.random.Generator) -> Iterator[Case]:
    for k, m, v, n in [(5, 4, 3, 2), (3, 6, 2, 4), (7, 3, 5, 1)]:
        text = (rng.standard_normal((k, size)) for size in (m, m, v))
        yield *text, rng.standard_normal((n, m)), rng.standard_normal((n, v))


_ATTENTION_MISTAKES = (
    Mistake(
        lambda Q, K, V, P_K, P_V: _attend(Q, K, V) + _attend(Q, P_K, P_V),
        "you added two attentions, each with weights that sum to one: all scores share one softmax.",
    ),
    Mistake(
        lambda Q, K, V, P_K, P_V: _attend(Q, np.vstack([P_K, K]), np.vstack([V, P_V])),
        "you put the prefix in front of the keys but behind the values: each value must stand beside its own key.",
    ),
    Mistake(
        lambda Q, K, V, P_K, P_V: _softmax(Q @ np.vstack([P_K, K]).T) @ np.vstack([P_V, V]),
        "you left out the division by √m, the root of the size of a query.",
    ),
    Mistake(
        lambda Q, K, V, P_K, P_V: (
            _softmax(Q @ np.vstack([P_K, K]).T / np.sqrt(Q.shape[1]), axis=0) @ np.vstack([P_V, V])
        ),
        "you took the softmax over the queries: the weights of one query, over all keys, must sum to one.",
    ),
    Mistake(
        lambda Q, K, V, P_K, P_V: _attend(Q, K, V), "you left the prefix out: this is attention to the text alone."
    ),
)

# --- 04.3: the mask of a prompt --------------------------------------------------------------------


def widen(mask: np.ndarray, n: int) -> np.ndarray:
    return np.hstack([np.ones((len(mask), n)), mask])


def _mask_cases(rng: np.random.Generator) -> Iterator[Case]:
    for batch, length, n in [(3, 6, 2), (2, 5, 4), (4, 7, 1)]:
        real = rng.integers(1, length, size=batch)
        yield (np.arange(length) < real[:, None]).astype(float), n


_MASK_MISTAKES = (
    Mistake(
        lambda mask, n: np.hstack([np.zeros((len(mask), n)), mask]),
        "you put zeros in front: then no query looks at the prompt, and its gradient is zero.",
    ),
    Mistake(
        lambda mask, n: np.hstack([mask, np.ones((len(mask), n))]),
        "you put the ones behind the text: the prompt stands in front of it, so the padding would be looked at.",
    ),
    Mistake(
        lambda mask, n: np.ones((len(mask), n + mask.shape[1])),
        "you opened the whole mask: the padding of the text must stay hidden.",
    ),
    Mistake(
        lambda mask, n: mask, "you returned the mask of the text: it lacks a column for each vector of the prompt."
    ),
)

# --- 04.4: trained and stored ----------------------------------------------------------------------


def numbers(layers: int, length: int, width: int, hidden: int) -> tuple[int, int]:
    trained = length * width + (width + 1) * hidden + (hidden + 1) * 2 * layers * width
    return trained, 2 * layers * length * width


def _number_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield 6, 10, 384, 512
    for _ in range(3):
        yield tuple(int(rng.integers(low, high)) for low, high in [(2, 40), (2, 200), (64, 2048), (16, 900)])


_NUMBER_MISTAKES = (
    Mistake(
        lambda L, n, d, h: (n * d + d * h + h * 2 * L * d, 2 * L * n * d),
        "you left out the biases: each layer of the MLP has one for each of its outputs.",
    ),
    Mistake(
        lambda L, n, d, h: (n * d + (d + 1) * h + (h + 1) * L * d, L * n * d),
        "you counted keys or values: each layer has both, so twice as many.",
    ),
    Mistake(
        lambda L, n, d, h: (n * d + L * ((d + 1) * h + (h + 1) * 2 * d), 2 * L * n * d),
        "you gave each attention layer a first layer of its own: the first layer of the MLP is shared by all.",
    ),
    Mistake(
        lambda L, n, d, h: (numbers(L, n, d, h)[0] + 2 * L * n * d, 2 * L * n * d),
        "you counted the prefix among what trains: it is what the MLP gives, a parameter only once that is dropped.",
    ),
    Mistake(
        lambda L, n, d, h: numbers(L, n, d, h)[::-1],
        "you have the two the wrong way round: trained first, then stored.",
    ),
)

# --- 04.5: what is taken ---------------------------------------------------------------------------


def taken(layers: int, width: int, positions: int, tokens: int, prompt: int, prefix: int) -> tuple[int, int]:
    return positions - prompt, 8 * layers * width * (tokens + prompt + prefix)


def _taken_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield 6, 384, 512, 128, 7, 10
    for _ in range(3):
        sizes = [(2, 40), (64, 2048), (512, 4096), (16, 400), (1, 60), (1, 90)]
        yield tuple(int(rng.integers(low, high)) for low, high in sizes)


_TAKEN_MISTAKES = (
    Mistake(
        lambda L, d, positions, T, prompt, prefix: (positions - prompt - prefix, 8 * L * d * (T + prompt + prefix)),
        "you took positions for the prefix: its keys have none, so it leaves the table to the text and the prompt.",
    ),
    Mistake(
        lambda L, d, positions, T, prompt, prefix: (positions - prompt, 4 * L * d * (T + prompt + prefix)),
        "you counted keys or values alone: both are kept, four bytes to a number.",
    ),
    Mistake(
        lambda L, d, positions, T, prompt, prefix: (positions - prompt, 8 * L * d * (T + prefix)),
        "you left the prompt out of the bytes: it passes through every layer, so it has keys and values in each.",
    ),
    Mistake(
        lambda L, d, positions, T, prompt, prefix: (positions - prompt, 8 * d * (T + prompt + prefix)),
        "you counted one layer: every attention layer keeps keys and values of its own.",
    ),
)

EXERCISES = [
    Exercise("04.1", "the share of the prefix", share_of_prefix, _share_cases, _SHARE_MISTAKES),
    Exercise("04.2", "attention with a prefix", attention, _attention_cases, _ATTENTION_MISTAKES),
    Exercise("04.3", "the mask of a prompt", widen, _mask_cases, _MASK_MISTAKES),
    Exercise("04.4", "trained and stored", numbers, _number_cases, _NUMBER_MISTAKES),
    Exercise("04.5", "what is taken", taken, _taken_cases, _TAKEN_MISTAKES),
]
