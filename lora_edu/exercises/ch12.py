"""Exercises of chapter 12: choosing layers, pooling, counting training memory, and an honest interval."""

from collections.abc import Iterable

import numpy as np
from scipy import stats

from .engine import Case, Exercise, Mistake

# --- 12.1: which layers does a target select? ------------------------------------------------------

_NAMES = [
    "query",
    "encoder.0.attention.query",
    "encoder.1.attention.query",
    "encoder.10.attention.query",
    "encoder.0.attention.prequery",
    "encoder.0.query.dense",
    "encoder.0.output.dense",
    "classifier",
]


def _select(names: list[str], target: str) -> list[str]:
    return [name for name in names if name == target or name.endswith("." + target)]


def _select_cases(rng: np.random.Generator) -> Iterable[Case]:
    shuffled = [_NAMES[i] for i in rng.permutation(len(_NAMES))]
    for target in ("query", "attention.query", "dense", "encoder.1.attention.query", "classifier", "value"):
        yield shuffled, target


# --- 12.2: the mean of the real tokens -------------------------------------------------------------


def _pool(tokens: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.asarray((tokens * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1)[:, None])


def _pool_cases(rng: np.random.Generator) -> Iterable[Case]:
    for batch, length, width in ((2, 5, 3), (3, 4, 2), (1, 6, 4)):
        real = rng.integers(1, length, size=batch)
        mask = (np.arange(length) < real[:, None]).astype(float)
        yield rng.standard_normal((batch, length, width)), mask


# --- 12.3: bytes that training needs beside the activations ----------------------------------------


def _training_bytes(total: int, trained: int) -> int:
    return 4 * total + 4 * trained + 8 * trained


def _bytes_cases(rng: np.random.Generator) -> Iterable[Case]:
    yield 22_566_146, 22_566_146
    yield 22_897_922, 332_546
    for _ in range(3):
        total = int(rng.integers(1_000, 10**7))
        yield total, int(rng.integers(1, total))


# --- 12.4: a 95 % interval for a mean over seeds ---------------------------------------------------


def _interval(values: np.ndarray) -> tuple[float, float]:
    n = len(values)
    half = stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n)
    return values.mean() - half, values.mean() + half


def _around(values: np.ndarray, half: float) -> tuple[float, float]:
    return values.mean() - half, values.mean() + half


def _interval_cases(rng: np.random.Generator) -> Iterable[Case]:
    for n in (3, 5, 8):
        yield (0.8 + 0.02 * rng.standard_normal(n),)


EXERCISES = [
    Exercise(
        key="12.1",
        title="which layers a target selects",
        solution=_select,
        cases=_select_cases,
        mistakes=(
            Mistake(
                lambda names, target: [n for n in names if target in n],
                "you looked for the target anywhere in the name, so 'query' also selects 'query.dense', a layer inside "
                "it. It must stand at the end.",
            ),
            Mistake(
                lambda names, target: [n for n in names if n.endswith(target)],
                "you compared the last letters only, so 'query' also selects 'prequery'. A dot must stand before it.",
            ),
            Mistake(
                lambda names, target: [n for n in names if n.endswith("." + target)],
                "you ask for a dot before the target, so a layer whose whole name is the target is missed.",
            ),
            Mistake(
                lambda names, target: [n for n in names if n.split(".")[-1] == target],
                "you compared the last part of the name only, so a target with a dot in it, such as 'attention.query', "
                "selects nothing.",
            ),
        ),
    ),
    Exercise(
        key="12.2",
        title="the mean of the real tokens",
        solution=_pool,
        cases=_pool_cases,
        mistakes=(
            Mistake(
                lambda tokens, mask: tokens.mean(axis=1),
                "you averaged over all positions, the padding too, so a sentence changes when its neighbour is longer.",
            ),
            Mistake(
                lambda tokens, mask: (tokens * mask[:, :, None]).mean(axis=1),
                "you left the padding out of the sum but divided by the full length: divide by the real tokens.",
            ),
            Mistake(
                lambda tokens, mask: (tokens * mask[:, :, None]).sum(axis=1),
                "you summed and did not divide: long sentences get long vectors. Divide by the number of real tokens.",
            ),
            Mistake(
                lambda tokens, mask: (tokens * mask[:, :, None]).sum(axis=1) / mask.sum(),
                "you divided by the real tokens of the whole batch. Each sentence has its own number of them.",
            ),
            Mistake(
                lambda tokens, mask: tokens[:, 0],
                "you took the first token's vector. Some models pool this way; this one was trained with the mean.",
            ),
        ),
    ),
    Exercise(
        key="12.3",
        title="bytes that training needs beside the activations",
        solution=_training_bytes,
        cases=_bytes_cases,
        mistakes=(
            Mistake(
                lambda total, trained: 4 * total + 8 * trained,
                "you counted two numbers more for each trained parameter. There are three: its gradient, and the "
                "running mean and the running square that Adam keeps.",
            ),
            Mistake(
                lambda total, trained: 4 * total + 4 * trained,
                "you counted the gradients but not what Adam keeps: two more numbers for each trained parameter.",
            ),
            Mistake(
                lambda total, trained: 16 * total,
                "you gave every parameter a gradient and Adam's numbers. Frozen ones have neither.",
            ),
            Mistake(
                lambda total, trained: 16 * trained,
                "you left out the frozen weights: they are not trained, but they are in memory.",
            ),
            Mistake(
                lambda total, trained: total + 3 * trained,
                "you counted numbers, not bytes: a float32 takes 4 bytes.",
            ),
        ),
    ),
    Exercise(
        key="12.4",
        title="a 95 % interval for the mean over seeds",
        solution=_interval,
        cases=_interval_cases,
        mistakes=(
            Mistake(
                lambda v: _around(v, stats.t.ppf(0.975, len(v) - 1) * v.std(ddof=1)),
                "you did not divide by √n: that is where one more run would fall, roughly, not the mean of many.",
            ),
            Mistake(
                lambda v: _around(v, 1.96 * v.std(ddof=1) / np.sqrt(len(v))),
                "you used 1.96, the normal quantile. With n runs the spread is itself uncertain: use Student's t with "
                "n − 1 degrees of freedom.",
            ),
            Mistake(
                lambda v: _around(v, stats.t.ppf(0.975, len(v) - 1) * v.std(ddof=0) / np.sqrt(len(v))),
                "you divided the squared deviations by n. A spread estimated from n runs takes n − 1: std(ddof=1).",
            ),
            Mistake(
                lambda v: _around(v, stats.t.ppf(0.95, len(v) - 1) * v.std(ddof=1) / np.sqrt(len(v))),
                "you took the 95 % quantile, which leaves 5 % on each side. For 95 % inside, take the 97.5 % quantile.",
            ),
            Mistake(
                lambda v: (v.min(), v.max()),
                "you gave the smallest and the largest run. That range grows with the number of runs; an interval for "
                "the mean shrinks.",
            ),
        ),
    ),
]
