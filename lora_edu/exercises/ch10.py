"""Exercises of chapter 10: how concentrated an update is, its top k put back, how it lies to W, how alike two are."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .engine import Case, Exercise, Mistake

Array = NDArray[np.float64]
SHAPES = [(6, 4, 2), (4, 7, 3), (5, 5, 1), (3, 8, 2)]


def _sigma(A: Array) -> Array:
    return np.asarray(np.linalg.svd(A, compute_uv=False))


# 10.1 Columns of unequal length, so that taking columns for singular directions shows.


def share(delta_W: Array, k: int) -> float:
    s = _sigma(delta_W)
    return float(np.sum(s[:k] ** 2) / np.sum(s**2))


def _update_cases(rng: np.random.Generator) -> Iterator[Case]:
    for m, n, k in SHAPES:
        yield rng.standard_normal((m, n)) * (1 + rng.random(n)), k


_SHARE_MISTAKES = (
    Mistake(
        lambda delta_W, k: np.sum(_sigma(delta_W)[:k]) / np.sum(_sigma(delta_W)),
        "You added the σ themselves: energy is the squared norm, so add their squares.",
    ),
    Mistake(
        lambda delta_W, k: np.sqrt(share(delta_W, k)),
        "You took the ratio of the norms, ‖ΔW_k‖_F/‖ΔW‖_F: the share of the energy is its square.",
    ),
    Mistake(
        lambda delta_W, k: np.sum(_sigma(delta_W)[:k] ** 2),
        "You did not divide: a share is the energy of the first k over the energy of all, ‖ΔW‖²_F.",
    ),
    Mistake(
        lambda delta_W, k: np.sum(delta_W[:, :k] ** 2) / np.sum(delta_W**2),
        "You took the first k columns of ΔW: the directions that matter are its singular vectors.",
    ),
)


# 10.2 Square cases too: a transposed Vt raises no error there.


def put_back(W: Array, W_new: Array, k: int) -> Array:
    return W + _best(W_new - W, k)


def _best(A: Array, k: int) -> Array:
    U, s, Vt = np.linalg.svd(A, full_matrices=False)
    return np.asarray((U[:, :k] * s[:k]) @ Vt[:k])


def _tuned_cases(rng: np.random.Generator) -> Iterator[Case]:
    for m, n, k in [(5, 5, 2), (6, 4, 1), (4, 7, 3), (3, 3, 0)]:
        W = rng.standard_normal((m, n))
        yield W, W + 0.1 * rng.standard_normal((m, n)), k


_PUT_BACK_MISTAKES = (
    Mistake(
        lambda W, W_new, k: _best(W_new, k),
        "You truncated the tuned matrix itself: W needs all its directions. Truncate W_new − W, and add it to W.",
    ),
    Mistake(
        lambda W, W_new, k: _best(W, k) + _best(W_new - W, k),
        "You truncated W as well: only the update is cut to rank k.",
    ),
    Mistake(
        lambda W, W_new, k: _best(W_new - W, k),
        "You returned ΔW_k alone: it is a change, so add it to W.",
    ),
    Mistake(
        lambda W, W_new, k: W_new + _best(W_new - W, k),
        "You added ΔW_k to the tuned matrix, which has it already: add it to W.",
    ),
    Mistake(
        lambda W, W_new, k: W + _best(W - W_new, k),
        "You have the sign of the update wrong: ΔW = W_new − W.",
    ),
)


# 10.3 One square case and three oblong ones; the update has full rank, as after full fine-tuning.


def amplification(W: Array, delta_W: Array, r: int) -> float:
    U, s, Vt = np.linalg.svd(delta_W, full_matrices=False)
    return float(np.linalg.norm(s[:r]) / np.linalg.norm(U[:, :r].T @ W @ Vt[:r].T))


def _weight_cases(rng: np.random.Generator) -> Iterator[Case]:
    for m, n, r in [(5, 5, 2), (6, 4, 2), (4, 7, 3), (5, 5, 1)]:
        yield rng.standard_normal((m, n)), 0.1 * rng.standard_normal((m, n)), r


def _on_directions_of_w(W: Array, delta_W: Array, r: int) -> float:
    return float(np.linalg.norm(_sigma(delta_W)[:r]) / np.linalg.norm(_sigma(W)[:r]))


def _one_sided(W: Array, delta_W: Array, r: int) -> float:
    U, s, _ = np.linalg.svd(delta_W, full_matrices=False)
    return float(np.linalg.norm(s[:r]) / np.linalg.norm(U[:, :r].T @ W))


_AMPLIFICATION_MISTAKES = (
    Mistake(
        lambda W, delta_W, r: np.linalg.norm(delta_W) / np.linalg.norm(W),
        "You compared the whole matrices: the factor compares them on the r directions of ΔW alone.",
    ),
    Mistake(
        lambda W, delta_W, r: (
            np.linalg.norm(delta_W) / np.linalg.norm(_sigma(delta_W)[:r]) * amplification(W, delta_W, r)
        ),
        "You took all of ΔW on top: it has full rank here, so keep its first r singular values there too.",
    ),
    Mistake(
        lambda W, delta_W, r: amplification(W, delta_W, r) ** 2,
        "You squared the norms: the factor is a ratio of norms, not of energies.",
    ),
    Mistake(
        lambda W, delta_W, r: 1 / amplification(W, delta_W, r),
        "You turned the ratio round: the update goes on top.",
    ),
    Mistake(
        _on_directions_of_w,
        "You used the top directions of W below: project W on the singular vectors of ΔW.",
    ),
    Mistake(_one_sided, "You projected W on U alone: take both sides, UᵀWV."),
)


# 10.4 The columns are independent but not orthonormal; i and j differ, and the larger comes first or second.


def similarity(A1: Array, A2: Array) -> float:
    return _overlap(A1, A2) / float(min(A1.shape[1], A2.shape[1]))


def _overlap(A1: Array, A2: Array) -> float:
    Q1, Q2 = np.linalg.qr(A1)[0], np.linalg.qr(A2)[0]
    return float(np.sum((Q1.T @ Q2) ** 2))


def _span_cases(rng: np.random.Generator) -> Iterator[Case]:
    for d, i, j in [(8, 3, 3), (8, 2, 4), (7, 5, 2), (6, 1, 3)]:
        yield rng.standard_normal((d, i)) * (1 + rng.random(i)), rng.standard_normal((d, j))


def _unit_columns(A: Array) -> Array:
    return np.asarray(A / np.linalg.norm(A, axis=0))


_SIMILARITY_MISTAKES = (
    Mistake(_overlap, "You did not divide by min(i, j): φ has to be 1 when one space lies in the other."),
    Mistake(
        lambda A1, A2: _overlap(A1, A2) / max(A1.shape[1], A2.shape[1]),
        "You divided by max(i, j): then a line inside a plane would get φ = ½. Divide by min(i, j).",
    ),
    Mistake(
        lambda A1, A2: np.sqrt(_overlap(A1, A2)) / min(A1.shape[1], A2.shape[1]),
        "You did not square the norm: φ is the mean of cos², so the squared entries are added.",
    ),
    Mistake(
        lambda A1, A2: np.sum((A1.T @ A2) ** 2) / min(A1.shape[1], A2.shape[1]),
        "You used the columns as they are: they span the spaces but are not orthonormal. Take a QR or an SVD first.",
    ),
    Mistake(
        lambda A1, A2: np.sum((_unit_columns(A1).T @ _unit_columns(A2)) ** 2) / min(A1.shape[1], A2.shape[1]),
        "You gave the columns length 1, but not right angles: orthonormal needs both. Take a QR or an SVD.",
    ),
)


EXERCISES: list[Exercise] = [
    Exercise("10.1", "the share of the top k", share, _update_cases, _SHARE_MISTAKES),
    Exercise("10.2", "put the top k back", put_back, _tuned_cases, _PUT_BACK_MISTAKES),
    Exercise("10.3", "the amplification factor", amplification, _weight_cases, _AMPLIFICATION_MISTAKES),
    Exercise("10.4", "the similarity of two subspaces", similarity, _span_cases, _SIMILARITY_MISTAKES),
]
