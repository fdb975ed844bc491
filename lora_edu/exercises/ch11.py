"""Exercises of chapter 11: the forward pass, its gradients, the count of parameters, the start, the merge."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from .engine import Case, Exercise, Mistake

Shapes = list[tuple[int, int]]


def _tensor(rng: np.random.Generator, *shape: int) -> Tensor:
    return torch.from_numpy(rng.standard_normal(shape))


# 11.1 The layers are square on purpose: a factor that is turned the wrong way round raises no error there.


def forward(x: Tensor, W0: Tensor, A: Tensor, B: Tensor, alpha: float, r: int) -> Tensor:
    return x @ W0.T + (alpha / r) * (x @ A.T @ B.T)


def _forward_cases(rng: np.random.Generator) -> Iterator[Case]:
    for n, r, alpha, batch in [(5, 2, 6.0, 3), (7, 3, 2.0, 4), (4, 4, 1.0, 1), (6, 1, 0.5, 2), (6, 2, 2.0, 5)]:
        yield _tensor(rng, batch, n), _tensor(rng, n, n), _tensor(rng, r, n), _tensor(rng, n, r), alpha, r


_FORWARD_MISTAKES = (
    Mistake(
        lambda x, W0, A, B, alpha, r: x @ W0.T + alpha * (x @ A.T @ B.T),
        "You scaled by α, not by α/r: the update is r times too large.",
    ),
    Mistake(
        lambda x, W0, A, B, alpha, r: x @ W0.T + (alpha / r) * (x @ B @ A),
        "You applied ΔWᵀ, not ΔW: for inputs in rows the low path is x Aᵀ Bᵀ. In a square layer no shape warns you.",
    ),
    Mistake(
        lambda x, W0, A, B, alpha, r: x @ W0 + (alpha / r) * (x @ A.T @ B.T),
        "You applied W₀ᵀ, not W₀: W₀ is stored as (out, in), so inputs in rows take x W₀ᵀ.",
    ),
    Mistake(
        lambda x, W0, A, B, alpha, r: (alpha / r) * (x @ A.T @ B.T),
        "You left out W₀x: the frozen layer still runs, and the low-rank path is added to it.",
    ),
    Mistake(
        lambda x, W0, A, B, alpha, r: x @ W0.T + (alpha / r**2) * (x @ A.T @ B.T),
        "You divided by r twice: the scaling is α/r, once, on the product of the two factors.",
    ),
)


def gradients(G: Tensor, A: Tensor, B: Tensor, s: float) -> tuple[Tensor, Tensor]:
    return s * (B.T @ G), s * (G @ A.T)


def _gradient_cases(rng: np.random.Generator) -> Iterator[Case]:
    for n_out, n_in, r, s in [(4, 6, 2, 0.5), (7, 3, 1, 3.0), (5, 5, 3, 2.0), (6, 4, 2, 0.25)]:
        yield _tensor(rng, n_out, n_in), _tensor(rng, r, n_in), _tensor(rng, n_out, r), s
    yield _tensor(rng, 4, 6), _tensor(rng, 2, 6), torch.zeros(4, 2, dtype=torch.float64), 2.0


_GRADIENT_MISTAKES = (
    Mistake(
        lambda G, A, B, s: (B.T @ G, G @ A.T),
        "You left out the scaling s: ΔW = sBA, so each gradient carries one factor s.",
    ),
    Mistake(
        lambda G, A, B, s: (s * (G @ A.T), s * (B.T @ G)),
        "You returned the two in the wrong order: the gradient for A has A's shape (r, in) and comes first.",
    ),
    Mistake(
        lambda G, A, B, s: (s * (G.T @ B), s * (A @ G.T)),
        "You returned both transposed: a gradient has the shape of its parameter, (r, in) for A and (out, r) for B.",
    ),
    Mistake(
        lambda G, A, B, s: (-s * (B.T @ G), -s * (G @ A.T)),
        "You returned the descent direction, with a minus sign: the gradient itself points uphill.",
    ),
)


def trained_parameters(shapes: Shapes, r: int) -> int:
    return sum(r * (n_in + n_out) for n_out, n_in in shapes)


def _counting_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield [(384, 384), (384, 384), (1536, 384), (384, 1536)], 8
    yield [(768, 3072)], 4
    yield [(5, 3), (2, 9), (11, 11)], 1
    yield [(int(rng.integers(2, 99)), int(rng.integers(2, 99))) for _ in range(6)], 2
    yield [], 8


_COUNTING_MISTAKES = (
    Mistake(
        lambda shapes, r: sum(r * n_in * n_out for n_out, n_in in shapes),
        "You counted r·in·out: A has r·in numbers and B has r·out, and the two are added, not multiplied.",
    ),
    Mistake(
        lambda shapes, r: sum(2 * r * max(shape) for shape in shapes),
        "You counted 2·r·max(in, out), which treats every layer as square: A has r·in numbers, B has r·out.",
    ),
    Mistake(
        lambda shapes, r: sum(r * n_in for _, n_in in shapes),
        "You counted A alone: B, with its r·out numbers, is trained as well.",
    ),
    Mistake(
        lambda shapes, r: sum(n_in * n_out + r * (n_in + n_out) for n_out, n_in in shapes),
        "You counted the base as well: W₀ is frozen, only A and B are trained.",
    ),
)


# 11.4 The random numbers come in as arguments, so that an answer and a mistake draw the same ones.


def start(U_A: Tensor, U_B: Tensor) -> tuple[Tensor, Tensor]:
    return (2 * U_A - 1) / math.sqrt(U_A.shape[1]), torch.zeros_like(U_B)


def _start_cases(rng: np.random.Generator) -> Iterator[Case]:
    for n_out, n_in, r in [(5, 7, 2), (9, 4, 3), (6, 6, 1), (3, 8, 3)]:
        yield torch.from_numpy(rng.random((r, n_in))), torch.from_numpy(rng.random((n_out, r)))


_START_MISTAKES = (
    Mistake(
        lambda U_A, U_B: (torch.zeros_like(U_A), torch.zeros_like(U_B)),
        "You set both factors to zero: then both gradients are zero, and no optimizer ever moves them.",
    ),
    Mistake(
        lambda U_A, U_B: (start(U_A, U_B)[0], (2 * U_B - 1) / math.sqrt(U_B.shape[1])),
        "You made both factors random: then ΔW is not zero, and the model is damaged before the first step.",
    ),
    Mistake(
        lambda U_A, U_B: ((2 * U_A - 1) / math.sqrt(U_A.shape[0]), torch.zeros_like(U_B)),
        "You took r for the fan-in: the bound is 1/√in, and yours is √(in/r) times as large.",
    ),
    Mistake(
        lambda U_A, U_B: (U_A / math.sqrt(U_A.shape[1]), torch.zeros_like(U_B)),
        "You did not centre A: 2U − 1 spreads over −1 … 1, while U itself is never negative.",
    ),
    Mistake(
        lambda U_A, U_B: ((2 * U_A - 1) / math.sqrt(3 * U_A.shape[1]), torch.zeros_like(U_B)),
        "You took the standard deviation 1/√(3·in) for the bound: the bound of the uniform distribution is 1/√in.",
    ),
)


# 11.5 The factors are float64: the order in which an answer multiplies them then cannot change the rounding to float16.


def merged_weight(W0: Tensor, A: Tensor, B: Tensor, alpha: float, r: int) -> Tensor:
    return (W0 + (alpha / r) * (B @ A)).to(W0.dtype)


def _merge_cases(rng: np.random.Generator) -> Iterator[Case]:
    for n_out, n_in, r, alpha in [(6, 9, 2, 8.0), (8, 5, 3, 2.0), (4, 4, 1, 0.5), (7, 7, 4, 4.0)]:
        W0 = _tensor(rng, n_out, n_in).to(torch.float16)
        yield W0, 0.1 * _tensor(rng, r, n_in), 0.1 * _tensor(rng, n_out, r), alpha, r


_MERGE_MISTAKES = (
    Mistake(
        lambda W0, A, B, alpha, r: (W0 + alpha * (B @ A)).to(W0.dtype),
        "You scaled by α, not by α/r: merging has to use the scaling that training used.",
    ),
    Mistake(
        lambda W0, A, B, alpha, r: (W0 + B @ A).to(W0.dtype),
        "You merged BA without its scaling: ΔW is (α/r)BA.",
    ),
    Mistake(
        lambda W0, A, B, alpha, r: W0 + ((alpha / r) * (B @ A)).to(W0.dtype),
        "You rounded ΔW to float16, then the sum again: add in the factors' precision and round once.",
    ),
    Mistake(
        lambda W0, A, B, alpha, r: W0 + (alpha / r) * (B @ A),
        "You returned the sum in the factors' precision: the merged weight takes the dtype of W₀, here float16.",
    ),
    Mistake(
        lambda W0, A, B, alpha, r: (W0 - (alpha / r) * (B @ A)).to(W0.dtype),
        "You subtracted ΔW: that is how one undoes a merge. Merging adds it.",
    ),
)


EXERCISES: list[Exercise] = [
    Exercise("11.1", "the forward pass of LoRA", forward, _forward_cases, _FORWARD_MISTAKES),
    Exercise("11.2", "the gradients of A and B", gradients, _gradient_cases, _GRADIENT_MISTAKES),
    Exercise("11.3", "how many numbers LoRA trains", trained_parameters, _counting_cases, _COUNTING_MISTAKES),
    Exercise("11.4", "a start that is the identity and still trains", start, _start_cases, _START_MISTAKES),
    Exercise("11.5", "the merged weight", merged_weight, _merge_cases, _MERGE_MISTAKES),
]
