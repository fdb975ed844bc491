"""Exercises of chapter 19: a black box opened, its scaling, its rank, the name of a scaling, the fan-in of a start."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .engine import Case, Exercise, Mistake

Map = Callable[[Tensor], Tensor]


def _tensor(rng: np.random.Generator, *shape: int) -> Tensor:
    return torch.from_numpy(rng.standard_normal(shape))


def recover(f: Map, f_0: Map, n_in: int) -> Tensor:
    identity = torch.eye(n_in, dtype=torch.float64)
    return (f(identity) - f_0(identity)).T


class _Box:
    """x ↦ x Wᵀ + b, told apart from others by its numbers, as the engine compares inputs."""

    def __init__(self, W: Tensor, b: Tensor) -> None:
        self.W, self.b = W, b

    def __call__(self, x: Tensor) -> Tensor:
        return x @ self.W.T + self.b

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        return torch.cat([self.W, self.b[:, None]], dim=1).numpy()

    def __repr__(self) -> str:
        return f"a layer with {self.W.shape[1]} inputs and {self.W.shape[0]} outputs"


def _box_cases(rng: np.random.Generator) -> Iterator[Case]:
    for n_out, n_in in [(5, 7), (6, 3), (4, 4), (1, 6)]:
        W0, b, delta = _tensor(rng, n_out, n_in), _tensor(rng, n_out), _tensor(rng, n_out, n_in)
        yield _Box(W0 + delta, b), _Box(W0, b), n_in


def _outputs(f: Map, n_in: int) -> Tensor:
    return f(torch.eye(n_in, dtype=torch.float64))


_BOX_MISTAKES = (
    Mistake(
        lambda f, f_0, n_in: recover(f, f_0, n_in).T,
        "You returned ΔWᵀ: inputs come in rows, so the outputs for the identity matrix are the columns of ΔW, as rows.",
    ),
    Mistake(
        lambda f, f_0, n_in: _outputs(f, n_in).T,
        "You did not take the base away: that is W₀ + ΔW, with the bias added to every column.",
    ),
    Mistake(
        lambda f, f_0, n_in: (_outputs(f, n_in) - f(torch.zeros(1, n_in, dtype=torch.float64))).T,
        "You took only the bias away: that is W₀ + ΔW. The base has to go too, and its bias goes with it.",
    ),
)


def multiplier(delta: Tensor, A: Tensor, B: Tensor) -> Tensor:
    product = B @ A
    return (delta * product).sum() / (product**2).sum()


def _multiplier_cases(rng: np.random.Generator) -> Iterator[Case]:
    for n_out, n_in, r, c in [(5, 7, 2, 1.5), (6, 3, 1, -0.5), (8, 8, 3, 4.0), (4, 9, 2, 0.1)]:
        A, B = _tensor(rng, r, n_in), _tensor(rng, n_out, r)
        yield c * B @ A + 0.1 * _tensor(rng, n_out, n_in), A, B


_MULTIPLIER_MISTAKES = (
    Mistake(
        lambda delta, A, B: delta.norm() / (B @ A).norm(),
        "You divided the norms: that loses the sign, and counts the noise as size.",
    ),
    Mistake(
        lambda delta, A, B: (delta * (B @ A)).sum() / (B @ A).norm(),
        "You divided by ‖BA‖, not by its square: c·BA is nearest when c = ⟨ΔW, BA⟩ / ‖BA‖².",
    ),
    Mistake(
        lambda delta, A, B: (delta / (B @ A)).mean(),
        "You averaged the quotients of the entries: where BA is near 0 the noise takes over. Weigh by BA.",
    ),
)


def rank_at_most(delta: Tensor, r: int) -> bool:
    sigma = torch.linalg.svdvals(delta)
    return bool(sigma[r] <= 1e-5 * sigma[0])


def _rank_cases(rng: np.random.Generator) -> Iterator[Case]:
    for n_out, n_in, rank, r, size in [
        (18, 24, 4, 4, 1.0),
        (18, 24, 5, 4, 1.0),
        (12, 9, 3, 3, 1e4),
        (9, 12, 8, 2, 1e-8),
        (10, 10, 2, 5, 1.0),
    ]:
        yield (size * _tensor(rng, n_out, rank) @ _tensor(rng, rank, n_in)).float(), r


_RANK_MISTAKES = (
    Mistake(
        lambda delta, r: int((torch.linalg.svdvals(delta) > 0).sum()) <= r,
        "You counted every singular value above 0: rounding leaves tiny ones, so compare them with the first.",
    ),
    Mistake(
        lambda delta, r: bool(torch.linalg.svdvals(delta)[r] <= 1e-5),
        "You compared with 1e-5 itself: a small ΔW then passes at any rank. Compare with 1e-5 times the first one.",
    ),
    Mistake(
        lambda delta, r: bool(torch.linalg.svdvals(delta)[r - 1] <= 1e-5 * torch.linalg.svdvals(delta)[0]),
        "You looked at number r: counting starts at 0, so sigma[r] is number r + 1, the first that must vanish.",
    ),
)


def name_of(found: float, alpha: float, r: int) -> str:
    known = {"alpha/r": alpha / r, "alpha/sqrt(r)": alpha / math.sqrt(r), "alpha": alpha, "none": 1.0}
    return next((name for name, value in known.items() if abs(found - value) <= 1e-3 * value), "unknown")


def _name_cases(rng: np.random.Generator) -> Iterator[Case]:
    for alpha, r in [(6.0, 4), (32.0, 8), (0.5, 16), (3000.0, 9)]:
        for exact in (alpha / r, alpha / math.sqrt(r), alpha, 1.0, alpha / r**2):
            yield exact * (1 + 1e-5), alpha, r
    yield 0.5 / 16 + 5e-4, 0.5, 16  # near in itself, and far for so small a scaling


def _by_difference(found: float, alpha: float, r: int) -> str:
    known = {"alpha/r": alpha / r, "alpha/sqrt(r)": alpha / math.sqrt(r), "alpha": alpha, "none": 1.0}
    return next((name for name, value in known.items() if abs(found - value) <= 1e-3), "unknown")


_NAME_MISTAKES = (
    Mistake(
        lambda found, alpha, r: "unknown",
        "You compared with ==: a number that was measured in float32 equals no formula to the last bit.",
    ),
    Mistake(
        _by_difference,
        "You allowed a difference of 0.001: it should be one part in a thousand of the scaling, however large that is.",
    ),
    Mistake(
        lambda found, alpha, r: {"alpha": "alpha/r", "alpha/r": "alpha"}.get(*[name_of(found, alpha, r)] * 2),
        "You took α and α/r for each other: α alone means that the division by r was left out.",
    ),
)


def fan_in(A: Tensor) -> Tensor:
    return 1 / (3 * (A**2).mean())


def _fan_in_cases(rng: np.random.Generator) -> Iterator[Case]:
    for shape, n in [((4, 768), 768), ((768, 16), 16), ((16, 320), 320), ((640, 8), 8), ((32, 200), 32)]:
        yield (torch.from_numpy(2 * rng.random(shape) - 1) / math.sqrt(n),)


def _near(got: object, A: Tensor) -> bool:
    try:
        return bool(abs(float(got) * 3 * float((A**2).mean()) - 1) < 0.1)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False


_FAN_IN_MISTAKES = (
    Mistake(
        lambda A: A.shape[-1],
        "You read the shape: the question is for which fan-in A was drawn, and only the entries know.",
    ),
    Mistake(
        lambda A: 1 / (A**2).mean(),
        "You left out the 3: a uniform distribution on ±b has the variance b²/3, not b².",
    ),
    Mistake(
        lambda A: 1 / A.abs().max(),
        "You returned 1/b: the bound is b = 1/√n, so n is its square, 1/b².",
    ),
)


EXERCISES: list[Exercise] = [
    Exercise("19.1", "ΔW out of a black box", recover, _box_cases, _BOX_MISTAKES),
    Exercise("19.2", "the number that multiplies BA", multiplier, _multiplier_cases, _MULTIPLIER_MISTAKES),
    Exercise("19.3", "a rank of at most r", rank_at_most, _rank_cases, _RANK_MISTAKES),
    Exercise("19.4", "the name of a scaling", name_of, _name_cases, _NAME_MISTAKES),
    Exercise("19.5", "the fan-in of a start", fan_in, _fan_in_cases, _FAN_IN_MISTAKES, _near),
]
