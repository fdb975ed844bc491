"""Exercises of chapter 18: share out rows, count a ring's bytes and FSDP2's, cut a matrix, count GPUs."""

import math
from collections.abc import Iterator

import numpy as np

from .engine import Case, Exercise, Mistake


def rows_of(rank: int, processes: int, n: int) -> list[int]:
    return list(range(rank, n, processes))


def _rows_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield from [(0, 2, 7), (1, 2, 7), (2, 4, 10), (3, 4, 10), (3, 4, 3), (0, 1, 5)]


def _padded(rank: int, processes: int, n: int) -> list[int]:
    return [row % n for row in range(rank, processes * math.ceil(n / processes), processes)]


_ROWS_MISTAKES = (
    Mistake(
        _padded,
        "you let every process have the same number of rows, by taking some twice: these then count double.",
    ),
    Mistake(
        lambda rank, processes, n: list(range(rank, n - n % processes, processes)),
        "you left out the rows that do not divide: they would never be trained on.",
    ),
    Mistake(
        lambda rank, processes, n: list(range(rank * (n // processes), (rank + 1) * (n // processes))),
        "you gave each process a block of n // processes rows: the rest is left out. Take every W-th row from `rank`.",
    ),
    Mistake(
        lambda rank, processes, n: list(range(rank + 1, n + 1, processes)),
        "you counted from one: the first row and the first process have the number 0.",
    ),
)


def sent_bytes(n: float, W: int) -> float:
    return 2 * (W - 1) / W * n


def _sent_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield from [(1.0e6, 2), (1.0e6, 8), (3.5e9, 64), (100.0, 1)]


_SENT_MISTAKES = (
    Mistake(
        lambda n, W: (W - 1) / W * n,
        "you counted one round: an all-reduce is a reduce-scatter and then an all-gather.",
    ),
    Mistake(lambda n, W: 2 * n, "you let every part go all the way round: its last step would bring it home."),
    Mistake(
        lambda n, W: (W - 1) * n,
        "you sent the whole tensor to every other process: in a ring only a part in W goes at a time.",
    ),
    Mistake(
        lambda n, W: 2 * (W - 1) * n,
        "you forgot that each of the 2 (W − 1) messages is one part in W of the tensor.",
    ),
)


def fsdp_sent(layers: float, outside: float, trained: float, W: int) -> float:
    return 4 * (W - 1) / W * (2 * layers + outside + trained)


def _fsdp_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield from [(106_664_256, 28_311_552, 460_800, 2), (6.5e9, 2.6e8, 4.0e7, 8), (900, 70, 40, 3)]


_FSDP_MISTAKES = (
    Mistake(
        lambda layers, outside, trained, W: 4 * (W - 1) / W * (layers + outside + trained),
        "you gathered the layers once: they are dropped after the forward pass, and gathered again for the backward.",
    ),
    Mistake(
        lambda layers, outside, trained, W: 4 * (W - 1) / W * (2 * layers + 2 * outside + trained),
        "you gathered everything twice: what is outside the layers stays gathered between the passes.",
    ),
    Mistake(
        lambda layers, outside, trained, W: 4 * (W - 1) / W * 3 * trained,
        "you gathered only what trains: frozen weights are sharded too, and no process can compute with a part.",
    ),
    Mistake(
        lambda layers, outside, trained, W: 4 * (W - 1) / W * (2 * layers + outside + 2 * trained),
        "you all-reduced the gradients: each process needs the sum of its own part alone, which is a reduce-scatter.",
    ),
    Mistake(
        lambda layers, outside, trained, W: 4 * (W - 1) / W * (2 * layers + outside),
        "you left out the gradients: those of what trains are reduce-scattered.",
    ),
    Mistake(
        lambda layers, outside, trained, W: 4 * (2 * layers + outside + trained),
        "you counted the whole tensors: in a ring each process sends (W − 1) / W of them.",
    ),
    Mistake(
        lambda layers, outside, trained, W: (W - 1) / W * (2 * layers + outside + trained),
        "you counted numbers: each of them has four bytes.",
    ),
)


def held_rows(rows: int, W: int) -> list[int]:
    part = math.ceil(rows / W)
    return [max(0, min(part, rows - rank * part)) for rank in range(W)]


def _held_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield from [(576, 2), (8, 16), (10, 4), (49_152, 7), (3, 3)]


_HELD_MISTAKES = (
    Mistake(
        lambda rows, W: [len(part) for part in np.array_split(np.arange(rows), W)],
        "you shared the rest out one by one: torch.chunk makes all parts equally long, but for the last ones.",
    ),
    Mistake(
        lambda rows, W: [rows // W] * W,
        "you rounded down: the rows that do not divide would belong to nobody.",
    ),
    Mistake(
        lambda rows, W: [math.ceil(rows / W)] * W,
        "you rounded up for everybody: together they would hold more rows than there are.",
    ),
    Mistake(
        lambda rows, W: [rows // W] * (W - 1) + [rows - (W - 1) * (rows // W)],
        "you rounded down and gave the rest to the last process: parts are rounded up, and the last ones go short.",
    ),
    Mistake(
        lambda rows, W: [rows / W] * W,
        "you cut a row in pieces: FSDP2 shards along the first dimension, in whole rows.",
    ),
)


def gpus(frozen: int, trained: int, memory: float, room: float) -> int:
    return math.ceil((2 * frozen + 16 * trained) / (memory - room))


def _gpu_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield from [
        (6_738_415_616, 39_976_960, 80e9, 20e9),
        (68_976_648_192, 207_093_760, 80e9, 20e9),
        (405_853_388_800, 10**9, 80e9, 10e9),
        (68_976_648_192, 3 * 10**9, 24e9, 6e9),
    ]


_GPU_MISTAKES = (
    Mistake(
        lambda frozen, trained, memory, room: math.floor((2 * frozen + 16 * trained) / (memory - room)),
        "you rounded down: the last GPU would have to hold what is left over.",
    ),
    Mistake(
        lambda frozen, trained, memory, room: math.ceil((2 * frozen + 16 * trained) / memory),
        "you filled every GPU to the brim: activations and the gathered layer need the room.",
    ),
    Mistake(
        lambda frozen, trained, memory, room: math.ceil(16 * (frozen + trained) / (memory - room)),
        "you gave frozen numbers a gradient and an optimizer: they take 2 bytes, not 16.",
    ),
    Mistake(
        lambda frozen, trained, memory, room: math.ceil(2 * (frozen + trained) / (memory - room)),
        "you counted weights alone: a trained number also has a gradient, a master copy and two means.",
    ),
    Mistake(
        lambda frozen, trained, memory, room: math.ceil((2 * frozen + 16 * trained + room) / memory),
        "you reserved the room once: every GPU needs its own.",
    ),
)


EXERCISES = [
    Exercise("18.1", "share out the rows", rows_of, _rows_cases, _ROWS_MISTAKES),
    Exercise("18.2", "bytes that a ring sends", sent_bytes, _sent_cases, _SENT_MISTAKES),
    Exercise("18.3", "bytes that FSDP2 sends", fsdp_sent, _fsdp_cases, _FSDP_MISTAKES),
    Exercise("18.4", "who holds how many rows", held_rows, _held_cases, _HELD_MISTAKES),
    Exercise("18.5", "how many GPUs", gpus, _gpu_cases, _GPU_MISTAKES),
]
