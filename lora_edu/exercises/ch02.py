"""Exercises of chapter 2: place a method, count a hybrid, store a sparse change, weigh activations, fold IA3."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .counts import Answer, adapter_numbers, miscounted_adapters, miscounted_layers
from .engine import Case, Exercise, Mistake

FAMILY_OF = {
    "layer": "additive",
    "prompt": "additive",
    "scale": "additive",
    "subset": "selective",
    "low rank": "reparametrization",
}


def family(parts: list[str]) -> str:
    kinds = set(parts)
    return "hybrid" if len(kinds) > 1 else FAMILY_OF[kinds.pop()]


def _family_cases(rng: np.random.Generator) -> Iterator[Case]:
    single = [[kind] for kind in FAMILY_OF]
    several = [["layer", "layer"], ["layer", "prompt"], ["layer", "prompt", "low rank"], ["subset", "layer"]]
    yield from ((parts,) for parts in single + several)


def _placed(kind: str, wrong: str) -> Callable[[list[str]], str]:
    return lambda parts: wrong if set(parts) == {kind} else family(parts)


_MISPLACED = {
    ("low rank", "additive"): "you call LoRA additive, as the tutorial does: it describes a change of given weights.",
    ("low rank", "selective"): "you call LoRA selective: it picks no parameters, it describes a change of them all.",
    ("low rank", "reparameterization"): "the family is right, but here it is spelled reparametrization.",
    ("scale", "reparametrization"): "you moved IA3's scales because they fold: the survey has them as additive.",
    ("scale", "selective"): "you call IA3's scales selective: they are new numbers, so additive.",
    ("prompt", "soft prompts"): "you gave prompts a family of their own: the survey has them as additive.",
}


def _hybrid_if(test: Callable[[list[str]], bool]) -> Callable[[list[str]], str]:
    return lambda parts: "hybrid" if test(parts) else FAMILY_OF[parts[0]]


_FAMILY_MISTAKES = (
    *(Mistake(_placed(kind, wrong), told) for (kind, wrong), told in _MISPLACED.items()),
    Mistake(_hybrid_if(lambda parts: len(parts) > 1), "you called two parts a hybrid: two adapters are one kind."),
    Mistake(
        _hybrid_if(lambda parts: len({FAMILY_OF[part] for part in parts}) > 1),
        "you looked for two families. Adapters with a prompt are of one family, and the survey has them as a hybrid.",
    ),
    Mistake(_hybrid_if(lambda parts: False), "you looked at the first part alone: different kinds make a hybrid."),
    Mistake(lambda parts: family(parts).capitalize(), "the family is right, but its name begins with a small letter."),
    Mistake(lambda parts: [FAMILY_OF[part] for part in parts], "you listed a family for each part: return one word."),
)


def mam_parameters(layers: int, width: int, bottleneck: int, length: int) -> int:
    return layers * (adapter_numbers(width, bottleneck) + 2 * length * width)


def _mam_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield 6, 384, 32, 10
    for _ in range(3):
        layers, bottleneck, length = (int(n) for n in rng.integers(3, 60, size=3))
        yield layers, 64 * int(rng.integers(2, 20)), bottleneck, length


def _of_parts(total: Callable[[int, int, int], Any]) -> Callable[[int, int, int, int], Any]:
    """What `total` makes of the layers, the numbers A of an adapter and the numbers P of a prefix in one layer."""
    return lambda L, d, m, n: total(L, adapter_numbers(d, m), 2 * n * d)


_MAM_MISTAKES = (
    *miscounted_adapters(lambda count, L, d, m, n: L * (count(d, m) + 2 * n * d)),
    *miscounted_layers(mam_parameters, at=0),
    Mistake(_of_parts(lambda L, A, P: L * (2 * A + P)), "you put two adapters in a layer: attention has none here."),
    Mistake(_of_parts(lambda L, A, P: L * A), "you left out the prefix: its keys and values are 2 n d in every layer."),
    Mistake(_of_parts(lambda L, A, P: L * P), "you counted the prefixes alone: the adapters train as well."),
    Mistake(_of_parts(lambda L, A, P: L * (A + P // 2)), "you counted the prefix once: it has keys and values."),
    Mistake(_of_parts(lambda L, A, P: L * A + P), "you counted one prefix for the model: every layer has its own."),
    Mistake(_of_parts(lambda L, A, P: L * A + P // 2), "you counted a prompt's n rows: a prefix is in every layer."),
    Mistake(_of_parts(lambda L, A, P: A + L * P), "you counted one adapter for the model: every layer has its own."),
    Mistake(_of_parts(lambda L, A, P: (L * A, L * P)), "you returned adapters and prefixes apart: add them up."),
    Mistake(lambda L, d, m, n: mam_parameters(L, d, n, m), "you exchanged the bottleneck and the prefix's length."),
    Mistake(lambda *case: 4 * mam_parameters(*case), "you returned bytes: asked is how many numbers train."),
)


def sparse_bytes(parameters: int, share: float) -> int:
    return min(8 * round(share * parameters), 4 * parameters)


def _sparse_cases(rng: np.random.Generator) -> Iterator[Case]:
    # so few parameters that it shows how 12.6 and 1200.4 are rounded
    yield from [(22_566_146, 0.005), (1_000_000, 0.8), (1_000, 0.0126), (4_000, 0.3001)]


_SPARSE_MISTAKES = (
    Mistake(
        lambda n, share: 8 * round(share * n),
        "you stored positions even where nearly everything changes. From one half on, all values alone take less.",
    ),
    Mistake(lambda n, share: 4 * round(share * n), "you stored values without their positions, 4 bytes each."),
    Mistake(lambda n, share: 4 * round(share * n) + n // 8, "you stored a bit for every parameter, not positions."),
    Mistake(lambda n, share: 4 * n, "you stored every parameter: store those that changed, while they are under half."),
    Mistake(lambda n, share: max(8 * round(share * n), 4 * n), "you took the larger of the two: take the smaller."),
    Mistake(lambda n, share: 4 * n + 8 * round(share * n), "you stored the old model too, which is at hand."),
    Mistake(lambda n, share: sparse_bytes(n, share) / 4, "you counted numbers, not bytes: each takes 4 bytes."),
    Mistake(lambda n, share: 8 * sparse_bytes(n, share), "you returned bits: a byte has 8 of them."),
    Mistake(lambda n, share: sparse_bytes(n, share / 100), "you divided by 100: the share is no percentage, 1 is all."),
    Mistake(lambda n, share: sparse_bytes(n, 1 - share), "you stored what stayed the same; store what was changed."),
    Mistake(lambda n, share: min(8 * int(share * n), 4 * n), "you rounded the number of changed parameters down."),
    Mistake(lambda n, share: min(8 * math.ceil(share * n), 4 * n), "you rounded the number of changed ones up."),
    Mistake(lambda n, share: min(8 * share * n, 4 * n), "you stored a part of a parameter: round their number first."),
    Mistake(lambda n, share: min(round(8 * share * n), 4 * n), "you rounded bytes: round the number of parameters."),
)


def bias_activations(batch: int, length: int, layers: int, width: int, heads: int) -> int:
    return 4 * batch * length * layers * (11 * width + 3 * heads * length)


def _activation_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield 8, 32, 6, 384, 12
    for _ in range(3):
        batch, length, layers, heads = (int(n) for n in rng.integers(2, 40, size=4))
        yield batch, length, layers, 64 * heads, heads


def _kept(rows: int = 11, pairs: Answer = lambda s, d, h: 3 * h * s, size: int = 4) -> Answer:
    """`rows` numbers of the width and `pairs` of the attention for a token of a layer, `size` bytes each."""
    return lambda b, s, L, d, h: size * b * s * L * (rows * d + pairs(s, d, h))


_ACTIVATION_MISTAKES = (
    *miscounted_layers(bias_activations, at=2),
    Mistake(_kept(12), "you counted LoRA's 12 d: biases need no input x of the queries and values, 11 d are left."),
    Mistake(_kept(18), "you kept what enters frozen matrices: nobody asks for their gradient, so 7 d numbers can go."),
    Mistake(_kept(17), "you kept what factors would multiply, as for IA3: biases need none of it, 11 d are left."),
    Mistake(_kept(9), "you took 3 d off for the input of queries, keys and values: it is one row, kept once, so d."),
    Mistake(_kept(7), "you counted what can go, 7 d of the 18 d numbers: count the 11 d that are left."),
    Mistake(_kept(0), "you counted attention alone: the rest of a layer keeps 11 d numbers for a token."),
    Mistake(_kept(pairs=lambda s, d, h: 0), "you left out attention: 3 numbers a head for every pair of tokens."),
    Mistake(_kept(pairs=lambda s, d, h: h * s), "you kept one number for a pair of tokens: each head keeps three."),
    Mistake(_kept(pairs=lambda s, d, h: 3 * s), "you gave attention one head: each of the h heads keeps its own."),
    Mistake(_kept(pairs=lambda s, d, h: 3 * h), "a token looks at s tokens, so attention keeps 3 h s numbers for it."),
    Mistake(_kept(pairs=lambda s, d, h: 3 * h * s * s), "a token makes s pairs, not s²: 3 h s numbers for it."),
    Mistake(_kept(pairs=lambda s, d, h: 3 * d * s), "you took the width for the heads: 3 h s numbers, not 3 d s."),
    Mistake(
        lambda b, s, L, d, h: 4 * (11 * L + 1) * d,
        "you counted the biases themselves. The activations grow with the batch and the length of its texts.",
    ),
    Mistake(_kept(size=1), "you counted numbers, not bytes: a float32 takes 4 bytes."),
    Mistake(_kept(size=2), "you gave a number 2 bytes, as in 16 bits: a float32 takes 4 bytes."),
    Mistake(_kept(size=32), "you counted bits: a float32 takes 32 bits, which are 4 bytes."),
    Mistake(lambda b, *case: bias_activations(1, *case), "you counted one text: each text of the batch keeps its own."),
    Mistake(lambda b, s, L, d, h: bias_activations(b, s, L, d, h) // s, "you counted one token of a text: it has s."),
)


def fold_ia3(W: np.ndarray, b: np.ndarray, ell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return ell[:, None] * W, ell * b


def _fold_cases(rng: np.random.Generator) -> Iterator[Case]:
    for n in (4, 5, 7):
        yield rng.standard_normal((n, n)), rng.standard_normal(n), 1 + 0.3 * rng.standard_normal(n)


_FOLD_MISTAKES = (
    Mistake(lambda W, b, ell: (W * ell, ell * b), "you scaled columns, so the inputs: factors of outputs scale rows."),
    Mistake(lambda W, b, ell: (W * ell, b), "you scaled the columns of W: scale its rows, and the bias as well."),
    Mistake(lambda W, b, ell: (ell[:, None] * W, b), "you left the bias as it was: the whole output is scaled."),
    Mistake(lambda W, b, ell: (W, ell * b), "you scaled the bias alone: the factors scale Wx as well, so W's rows."),
    Mistake(lambda W, b, ell: (W + np.diag(ell), ell * b), "you added ell to W's diagonal: it multiplies its rows."),
    Mistake(lambda W, b, ell: (W / ell[:, None], b / ell), "you divided: that takes IA3 out of a folded layer again."),
    Mistake(lambda W, b, ell: fold_ia3(W, b, 1 + ell), "you multiplied by 1 + ell: the factors are ell themselves."),
    Mistake(lambda W, b, ell: (ell[:, None] * W, b + ell), "you added ell to the bias: it multiplies the bias."),
    Mistake(lambda W, b, ell: (ell[:, None] * W, ell @ b), "you summed the bias to one number: it has one a row."),
    Mistake(lambda W, b, ell: (ell @ W, ell * b), "ell @ W sums over the rows of W: multiply row by row instead."),
    Mistake(lambda W, b, ell: (W.T * ell, ell * b), "you returned the transpose: the weight has W's shape, (out, in)."),
    Mistake(lambda W, b, ell: ell[:, None] * W, "you returned the weight alone: return the pair (weight, bias)."),
    Mistake(lambda W, b, ell: fold_ia3(W, b, ell)[::-1], "you exchanged the two: weight first, then bias."),
)


EXERCISES = [
    Exercise("02.1", "place a method on the map", family, _family_cases, _FAMILY_MISTAKES),
    Exercise("02.2", "count what a hybrid trains", mam_parameters, _mam_cases, _MAM_MISTAKES),
    Exercise("02.3", "bytes of a sparse change", sparse_bytes, _sparse_cases, _SPARSE_MISTAKES),
    Exercise("02.4", "activations when biases train", bias_activations, _activation_cases, _ACTIVATION_MISTAKES),
    Exercise("02.5", "fold IA3 into a layer", fold_ia3, _fold_cases, _FOLD_MISTAKES),
]
