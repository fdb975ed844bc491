"""Exercises of chapter 16: quantize a block, count bits, pack two codes a byte, weigh a model, correct a packing."""

from collections.abc import Iterator

import numpy as np

from .engine import Case, Exercise, Mistake

LEVELS = np.array([-1.0, -0.6, -0.35, -0.15, 0.0, 0.2, 0.5, 1.0])


def _nearest(unit: np.ndarray, levels: np.ndarray) -> np.ndarray:
    return np.asarray(np.abs(unit[:, None] - levels).argmin(axis=1))


def quantize_block(w: np.ndarray, levels: np.ndarray) -> np.ndarray:
    largest = np.abs(w).max()
    return np.asarray(levels[_nearest(w / largest, levels)] * largest)


def _block_cases(rng: np.random.Generator) -> Iterator[Case]:
    for n, scale, levels in [(16, 1.0, LEVELS), (64, 0.05, LEVELS), (32, 7.0, np.linspace(-1, 1, 16))]:
        w = scale * rng.standard_normal(n)
        w[rng.integers(n)] = -4.5 * scale  # the largest is negative
        yield w, levels


def _below(w: np.ndarray, levels: np.ndarray) -> np.ndarray:
    largest = np.abs(w).max()
    index = np.clip(np.searchsorted(levels, w / largest, side="right") - 1, 0, len(levels) - 1)
    return np.asarray(levels[index] * largest)


_BLOCK_MISTAKES = (
    Mistake(
        lambda w, levels: levels[_nearest(w / w.max(), levels)] * w.max(),
        "you took the largest weight, not the largest magnitude: a negative weight may be the largest of all.",
    ),
    Mistake(
        lambda w, levels: levels[_nearest(w / np.abs(w).max(), levels)],
        "you returned levels between −1 and 1: multiply by the block's scale to come back to weights.",
    ),
    Mistake(_below, "you took the level below each weight; the nearest one may be the level above."),
    Mistake(
        lambda w, levels: levels[_nearest(w, levels)],
        "you looked for the nearest level without dividing by the largest magnitude of the block first.",
    ),
    Mistake(
        lambda w, levels: levels[_nearest(w / w.std(), levels)] * w.std(),
        "you divided by the standard deviation: then a weight beyond it is cut off. Use the largest magnitude.",
    ),
)


def bits_per_parameter(block: int, scale_block: int) -> float:
    return 4 + 8 / block + 32 / (block * scale_block)


def _bits_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield from [(64, 256), (32, 256), (128, 64), (16, 512), (64, 8)]


_BITS_MISTAKES = (
    Mistake(
        lambda block, scale_block: 4 + 32 / block,
        "you counted a float32 scale for each block: with double quantization a scale takes 8 bits.",
    ),
    Mistake(
        lambda block, scale_block: 4 + 8 / block,
        "you forgot the second level: each group of 8-bit scales has a float32 scale of its own.",
    ),
    Mistake(
        lambda block, scale_block: 4 + 8 / block + 32 / scale_block,
        "you spread the second scale over its group of scales only: each of these stands for a block of weights.",
    ),
    Mistake(
        lambda block, scale_block: 4 + 32 / block - (8 / block + 32 / (block * scale_block)),
        "you took what remains for what is saved: the scales' bits after double quantization are added to the 4.",
    ),
    Mistake(
        lambda block, scale_block: 8 / block + 32 / (block * scale_block),
        "you counted the scales alone: the codes take four bits more for each parameter.",
    ),
)


def pack_codes(codes: np.ndarray) -> np.ndarray:
    return np.asarray(16 * codes[0::2] + codes[1::2])


def _code_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield (np.array([1, 2, 15, 0, 7, 8]),)
    for n in (8, 64, 30):
        yield (rng.integers(0, 16, n),)


_CODE_MISTAKES = (
    Mistake(
        lambda codes: codes[0::2] + 16 * codes[1::2],
        "you put the second code of each pair into the upper four bits: the first one goes there.",
    ),
    Mistake(
        lambda codes: 16 * codes[: len(codes) // 2] + codes[len(codes) // 2 :],
        "you paired the first half of the codes with the second half: a byte holds two neighbours.",
    ),
    Mistake(
        lambda codes: codes[0::2] + codes[1::2],
        "you added the two codes without moving one by four bits, so they cannot be told apart again.",
    ),
    Mistake(
        lambda codes: 4 * codes[0::2] + codes[1::2],
        "you multiplied by 4, which moves a code by two bits: four bits are a factor of 16.",
    ),
)


def qlora_bytes(packed: int, kept: int, trained: int) -> float:
    return packed * bits_per_parameter(64, 256) / 8 + 4 * kept + 16 * trained


def _bytes_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield 10_616_832, 11_948_544, 332_546
    for _ in range(3):
        packed = 1024 * int(rng.integers(1_000, 10**6))
        yield packed, int(rng.integers(1_000, 10**7)), int(rng.integers(1_000, 10**6))


_BYTES_MISTAKES = (
    Mistake(
        lambda packed, kept, trained: packed * bits_per_parameter(64, 256) + 4 * kept + 16 * trained,
        "you added bits to bytes: divide the bits of the packed weights by 8.",
    ),
    Mistake(
        lambda packed, kept, trained: packed * bits_per_parameter(64, 256) / 8 + 4 * kept + 12 * trained,
        "you left out the trained parameters themselves: weight, gradient and Adam's two means make 16 bytes.",
    ),
    Mistake(
        lambda packed, kept, trained: packed / 2 + 4 * kept + 16 * trained,
        "you counted the codes but not their scales: NF4 with double quantization takes 4.127 bits.",
    ),
    Mistake(
        lambda packed, kept, trained: packed * bits_per_parameter(64, 256) / 8 + 16 * trained,
        "you left out what stays in float32: the embeddings, biases and norms are not packed.",
    ),
    Mistake(
        lambda packed, kept, trained: (packed + kept) * bits_per_parameter(64, 256) / 8 + 16 * trained,
        "you packed everything: the embeddings, biases and norms stay in float32, 4 bytes each.",
    ),
)


def _best(matrix: np.ndarray, r: int) -> np.ndarray:
    U, s, Vt = np.linalg.svd(matrix, full_matrices=False)
    return np.asarray((U[:, :r] * s[:r]) @ Vt[:r])


def correction(W: np.ndarray, Q: np.ndarray, r: int) -> np.ndarray:
    return _best(W - Q, r)


def _correction_cases(rng: np.random.Generator) -> Iterator[Case]:
    for m, n, r in [(6, 5, 2), (4, 8, 1), (9, 6, 3)]:
        W = rng.standard_normal((m, n))
        yield W, np.round(3 * W) / 3, r


_CORRECTION_MISTAKES = (
    Mistake(lambda W, Q, r: _best(W, r), "you truncated W itself: ΔW has to make up for the residual W − Q."),
    Mistake(
        lambda W, Q, r: _best(Q - W, r), "you have the sign of the residual turned round: Q + ΔW moves away from W."
    ),
    Mistake(
        lambda W, Q, r: W - Q,
        "you returned the whole residual: its rank is above r, so no pair of factors of rank r can hold it.",
    ),
    Mistake(
        lambda W, Q, r: Q + _best(W - Q, r),
        "you returned the corrected weight Q + ΔW: only ΔW is asked for.",
    ),
)


EXERCISES = [
    Exercise("16.1", "quantize a block", quantize_block, _block_cases, _BLOCK_MISTAKES),
    Exercise("16.2", "bits for each parameter", bits_per_parameter, _bits_cases, _BITS_MISTAKES),
    Exercise("16.3", "two codes a byte", pack_codes, _code_cases, _CODE_MISTAKES),
    Exercise("16.4", "bytes of a QLoRA training", qlora_bytes, _bytes_cases, _BYTES_MISTAKES),
    Exercise("16.5", "the best correction of rank r", correction, _correction_cases, _CORRECTION_MISTAKES),
]
