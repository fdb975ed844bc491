"""Exercises of chapter 15: DoRA's rows, PiSSA's start, what VeRA trains, LoRA+ by name, what LoRA-FA keeps."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .engine import Case, Exercise, Mistake

Shapes = list[tuple[int, int]]
Pair = tuple[np.ndarray, np.ndarray]


def _tensor(rng: np.random.Generator, *shape: int) -> Tensor:
    return torch.from_numpy(rng.standard_normal(shape))


# 15.1 The layers are square on purpose: a norm over the wrong axis raises no error there.


def dora_weight(W0: Tensor, A: Tensor, B: Tensor, m: Tensor, s: float) -> Tensor:
    V: Tensor = W0 + s * B @ A
    return m[:, None] * V / V.square().sum(dim=1, keepdim=True).sqrt()


def _dora_cases(rng: np.random.Generator) -> Iterator[Case]:
    for n, r, s in [(5, 2, 3.0), (7, 3, 0.5), (4, 1, 2.0)]:
        yield _tensor(rng, n, n), _tensor(rng, r, n), _tensor(rng, n, r), _tensor(rng, n).abs() + 0.5, s


_DORA_MISTAKES = (
    Mistake(
        lambda W0, A, B, m, s: (W0 + s * B @ A) * (m / (W0 + s * B @ A).norm(dim=0)),
        "you took the norm of each column, dim=0, and scaled the inputs. A weight of nn.Linear is (out, in): one norm "
        "for each output, dim=1. In a square layer no shape warns you.",
    ),
    Mistake(
        lambda W0, A, B, m, s: m[:, None] * (W0 + s * B @ A) / W0.norm(dim=1, keepdim=True),
        "you divided by the norm of W₀'s rows. Once B has moved they have other lengths: divide by those of W₀ + ΔW.",
    ),
    Mistake(
        lambda W0, A, B, m, s: dora_weight(W0, A, B, m, 1.0),
        "you left out the scaling s: the direction is that of W₀ + s·BA.",
    ),
)


def _svd(W: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.linalg.svd(W, full_matrices=False)


def pissa_start(W: np.ndarray, r: int, s: float) -> Pair:
    root = np.sqrt(_svd(W)[1][:r] / s)
    return _svd(W)[0][:, :r] * root, root[:, None] * _svd(W)[2][:r]


def _accepts_start(got: Any, W: np.ndarray, r: int, s: float) -> bool:
    """Signs are free: the product must be right, and both Gram matrices the diagonal of σ/s."""
    if not isinstance(got, tuple | list) or len(got) != 2:
        return False
    B, A = (np.asarray(each, dtype=float) for each in got)
    if B.shape != (len(W), r) or A.shape != (r, W.shape[1]):
        return False
    right_B, right_A = pissa_start(W, r, s)
    pairs = [(B @ A, right_B @ right_A), (B.T @ B, right_B.T @ right_B), (A @ A.T, right_A @ right_A.T)]
    return all(np.allclose(found, right, atol=1e-8) for found, right in pairs)


def _start_cases(rng: np.random.Generator) -> Iterator[Case]:
    for m, n, r, s in [(6, 6, 2, 4.0), (8, 8, 3, 0.5), (5, 5, 1, 2.0)]:
        yield rng.standard_normal((m, n)), r, s


def _read_as_v(W: np.ndarray, r: int, s: float) -> Pair:
    root = np.sqrt(_svd(W)[1][:r] / s)
    return _svd(W)[0][:, :r] * root, root[:, None] * _svd(W)[2][:, :r].T


def _smallest(W: np.ndarray, r: int, s: float) -> Pair:
    root = np.sqrt(_svd(W)[1][-r:] / s)
    return _svd(W)[0][:, -r:] * root, root[:, None] * _svd(W)[2][-r:]


_START_MISTAKES = (
    Mistake(
        lambda W, r, s: pissa_start(W, r, 1.0),
        "you left out the scaling: the layer multiplies BA by s, so each factor takes √(σ/s), not √σ.",
    ),
    Mistake(
        lambda W, r, s: (_svd(W)[0][:, :r], (_svd(W)[1][:r] / s)[:, None] * _svd(W)[2][:r]),
        "you gave the strengths to A alone. The product is right, but PiSSA splits them: a square root for each side.",
    ),
    Mistake(
        lambda W, r, s: (_svd(W)[0][:, :r] * _svd(W)[1][:r] / s, (_svd(W)[1][:r] / s)[:, None] * _svd(W)[2][:r]),
        "you gave all of σ/s to both factors, so the product has its square: take the square root.",
    ),
    Mistake(_read_as_v, "you took numpy's third output for V. It is Vᵀ: its first r rows are what A needs."),
    Mistake(
        _smallest,
        "you took the last r terms. The singular values come largest first, and PiSSA trains the first r.",
    ),
)


def vera_parameters(shapes: Shapes, r: int) -> int:
    return sum(n_out + r for n_out, _ in shapes)


def _vera_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield [(384, 384), (384, 384), (1536, 384), (384, 1536)], 8
    yield [(5, 3), (2, 9), (11, 11)], 2
    yield [(int(rng.integers(2, 99)), int(rng.integers(2, 99))) for _ in range(6)], 4


_VERA_MISTAKES = (
    Mistake(
        lambda shapes, r: sum(r * (n_in + n_out) for n_out, n_in in shapes),
        "you counted LoRA's A and B. In VeRA they are frozen and shared; only the vectors b and d train.",
    ),
    Mistake(
        lambda shapes, r: sum(n_in + r for _, n_in in shapes),
        "you gave b a number for each input. It multiplies the rows of B, so it has one for each output.",
    ),
    Mistake(
        lambda shapes, r: sum(n_out for n_out, _ in shapes) + r,
        "you counted d once. The pair A, B is shared by all layers, but each layer has its own d.",
    ),
)


def learning_rates(names: list[str], lr: float, ratio: float) -> list[float]:
    return [ratio * lr if name.split(".")[-1] == "B" else lr for name in names]


def _rate_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield ["layer.0.query.A", "layer.0.query.B", "classifier.weight", "classifier.bias"], 1e-3, 4.0
    yield ["B.mixer.A", "B.mixer.B", "head.weight"], 2e-2, 8.0
    yield ["proj.B", "proj.A"], 5e-3, 2.0


_RATE_MISTAKES = (
    Mistake(
        lambda names, lr, ratio: [ratio * lr if name.split(".")[-1] == "A" else lr for name in names],
        "you made A fast. In LoRA+ it is B that gets the larger rate: η_B = λ·η_A.",
    ),
    Mistake(
        lambda names, lr, ratio: [lr if name.split(".")[-1] == "A" else ratio * lr for name in names],
        "you made all fast but A, the head too. Only B gets the larger rate.",
    ),
    Mistake(
        lambda names, lr, ratio: [lr / ratio if name.split(".")[-1] == "A" else lr for name in names],
        "you slowed A down and left B at lr. The ratio is right, but lr is the rate of A here: B gets ratio · lr.",
    ),
    Mistake(
        lambda names, lr, ratio: [ratio * lr if "B" in name.split(".") else lr for name in names],
        "you looked for B anywhere in the name. A module may be called B: the last part of the name is the tensor.",
    ),
)


def kept(tokens: int, n_in: int, r: int, a_trains: bool) -> int:
    return 4 * tokens * ((n_in if a_trains else 0) + r)


def _kept_cases(rng: np.random.Generator) -> Iterator[Case]:
    yield 64, 384, 8, True
    yield 64, 384, 8, False
    yield int(rng.integers(2, 99)), 1536, 4, True
    yield int(rng.integers(2, 99)), 96, 16, False


_KEPT_MISTAKES = (
    Mistake(
        lambda tokens, n_in, r, a_trains: tokens * ((n_in if a_trains else 0) + r),
        "you counted numbers, not bytes: a float32 takes 4 bytes.",
    ),
    Mistake(
        lambda tokens, n_in, r, a_trains: 4 * tokens * (n_in if a_trains else r),
        "you kept x alone where A trains. The gradient of B takes Ax in both cases: r numbers a token.",
    ),
    Mistake(
        lambda tokens, n_in, r, a_trains: 4 * tokens * (n_in + r),
        "you kept x in both cases. Where A is frozen nothing needs the layer's input: that is what LoRA-FA saves.",
    ),
    Mistake(
        lambda tokens, n_in, r, a_trains: 4 * tokens * (n_in if a_trains else 0),
        "you left out Ax, with r numbers a token: the gradient of B is made of it.",
    ),
)

EXERCISES: list[Exercise] = [
    Exercise("15.1", "the merged weight of DoRA", dora_weight, _dora_cases, _DORA_MISTAKES),
    Exercise("15.2", "where PiSSA starts", pissa_start, _start_cases, _START_MISTAKES, accepts=_accepts_start),
    Exercise("15.3", "how many numbers VeRA trains", vera_parameters, _vera_cases, _VERA_MISTAKES),
    Exercise("15.4", "a learning rate for each tensor", learning_rates, _rate_cases, _RATE_MISTAKES),
    Exercise("15.5", "bytes kept for the backward pass", kept, _kept_cases, _KEPT_MISTAKES),
]
