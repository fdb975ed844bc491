"""Exercises of chapter 2: place a method, count a hybrid, store a sparse change, weigh activations, fold IA3."""

from collections.abc import Iterator

import numpy as np

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


def _family_by(change: dict[str, str]) -> Mistake:
    wrong = FAMILY_OF | change

    def answer(parts: list[str]) -> str:
        return "hybrid" if len(set(parts)) > 1 else wrong[parts[0]]

    kind = next(iter(change))
    told = {
        "low rank": "you put LoRA's kind into the additive family, as the tutorial does. Its numbers describe a "
        "change of weights that are there.",
        "scale": "you moved IA3's scales to another family because they fold. The survey counts them as additive.",
        "prompt": "you gave prompts a family of their own. The survey counts them as additive.",
    }
    return Mistake(answer, told[kind])


_FAMILY_MISTAKES = (
    _family_by({"low rank": "additive"}),
    _family_by({"scale": "reparametrization"}),
    _family_by({"prompt": "soft prompts"}),
    Mistake(
        lambda parts: "hybrid" if len(parts) > 1 else FAMILY_OF[parts[0]],
        "you called every method with two parts a hybrid. Two adapters in a layer are still adapters.",
    ),
    Mistake(
        lambda parts: "hybrid" if len({FAMILY_OF[part] for part in parts}) > 1 else FAMILY_OF[parts[0]],
        "you looked for two families. Adapters with a prompt are of one family, and the survey has them as a hybrid.",
    ),
)


def mam_parameters(layers: int, width: int, bottleneck: int, length: int) -> int:
    return layers * (2 * bottleneck * width + width + bottleneck + 2 * length * width)


def _mam_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield 6, 384, 32, 10
    for _ in range(3):
        layers, bottleneck, length = (int(n) for n in rng.integers(3, 60, size=3))
        yield layers, 64 * int(rng.integers(2, 20)), bottleneck, length


_MAM_MISTAKES = (
    Mistake(
        lambda L, d, m, n: L * (2 * (2 * m * d + d + m) + 2 * n * d),
        "you put two adapters into each layer. Here only the feed-forward part has one.",
    ),
    Mistake(
        lambda L, d, m, n: L * (2 * m * d + d + m + n * d),
        "you counted the prefix once. It has keys and values: two vectors for each position and layer.",
    ),
    Mistake(
        lambda L, d, m, n: L * (2 * m * d + 2 * n * d),
        "you left out the adapter's biases: m numbers in the bottleneck, and d behind it.",
    ),
    Mistake(
        lambda L, d, m, n: L * (2 * m * d + d + m) + 2 * n * d,
        "you counted one prefix for the whole model. Every layer has keys and values of its own.",
    ),
)


def sparse_bytes(parameters: int, share: float) -> int:
    return min(8 * round(share * parameters), 4 * parameters)


def _sparse_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield from [(22_566_146, 0.005), (1_000_000, 0.8), (40_000, 0.3)]
    yield int(rng.integers(10**6, 10**8)), 0.01


_SPARSE_MISTAKES = (
    Mistake(
        lambda n, share: 8 * round(share * n),
        "you stored positions even where nearly everything changes. From one half on, all values alone take less.",
    ),
    Mistake(
        lambda n, share: 4 * round(share * n),
        "you stored the values and not where they belong: each needs its position, 4 bytes more.",
    ),
    Mistake(
        lambda n, share: 4 * round(share * n) + n // 8,
        "you stored a mask of one bit for every parameter, not a position for each that changed.",
    ),
    Mistake(
        lambda n, share: 4 * n,
        "you stored every parameter. Only those that changed are needed, while they are fewer than half.",
    ),
)


def bias_activations(batch: int, length: int, layers: int, width: int, heads: int) -> int:
    return 4 * batch * length * layers * (11 * width + 3 * heads * length)


def _activation_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield 8, 32, 6, 384, 12
    for _ in range(3):
        batch, length, layers, heads = (int(n) for n in rng.integers(2, 40, size=4))
        yield batch, length, layers, 64 * heads, heads


_ACTIVATION_MISTAKES = (
    Mistake(
        lambda b, s, L, d, h: 4 * b * s * L * (18 * d + 3 * h * s),
        "you kept what enters the frozen matrices. Nobody asks for their gradient, so 7 d numbers can go.",
    ),
    Mistake(
        lambda b, s, L, d, h: 4 * b * s * L * 11 * d,
        "you left out attention: each head keeps three numbers for every pair of tokens.",
    ),
    Mistake(
        lambda b, s, L, d, h: 4 * (11 * L + 1) * d,
        "you counted the biases themselves. The activations grow with the batch and the length of its texts.",
    ),
    Mistake(
        lambda b, s, L, d, h: b * s * L * (11 * d + 3 * h * s),
        "you counted numbers, not bytes: a float32 takes 4 bytes.",
    ),
    Mistake(
        lambda b, s, L, d, h: 4 * b * s * (11 * d + 3 * h * s),
        "you counted one layer. Every layer keeps its own until the backward pass reaches it.",
    ),
)


def fold_ia3(W: np.ndarray, b: np.ndarray, ell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return ell[:, None] * W, ell * b


def _fold_cases(rng: np.random.Generator) -> Iterator[Case]:
    for n in (4, 5, 7):
        yield rng.standard_normal((n, n)), rng.standard_normal(n), 1 + 0.3 * rng.standard_normal(n)


_FOLD_MISTAKES = (
    Mistake(
        lambda W, b, ell: (W * ell, ell * b),
        "you scaled the columns of W, so the inputs. The factors belong to outputs: scale the rows.",
    ),
    Mistake(
        lambda W, b, ell: (ell[:, None] * W, b),
        "you left the bias as it was. The whole output is scaled, so the bias is too.",
    ),
    Mistake(
        lambda W, b, ell: (W + np.diag(ell), ell * b),
        "you added the factors to the diagonal of W. They multiply its rows.",
    ),
    Mistake(
        lambda W, b, ell: (W / ell[:, None], b / ell),
        "you divided by the factors: that takes IA3 out of a folded layer.",
    ),
)


EXERCISES = [
    Exercise("02.1", "place a method on the map", family, _family_cases, _FAMILY_MISTAKES),
    Exercise("02.2", "count what a hybrid trains", mam_parameters, _mam_cases, _MAM_MISTAKES),
    Exercise("02.3", "bytes of a sparse change", sparse_bytes, _sparse_cases, _SPARSE_MISTAKES),
    Exercise("02.4", "activations when biases train", bias_activations, _activation_cases, _ACTIVATION_MISTAKES),
    Exercise("02.5", "fold IA3 into a layer", fold_ia3, _fold_cases, _FOLD_MISTAKES),
]
