"""The instruments of chapter 10: the similarity of two subspaces, its baseline, and the amplification factor."""

import numpy as np
import pytest
from scipy.linalg import subspace_angles

from lora_edu.linalg import amplification, random_similarity, similarity_grid, subspace_similarity, svd


def orthonormal(rng, d, k):
    return np.linalg.qr(rng.standard_normal((d, k)))[0]


@pytest.fixture
def rng():
    return np.random.default_rng(10)


@pytest.mark.parametrize(("d", "i", "j"), [(9, 3, 3), (9, 2, 5), (9, 5, 2), (6, 6, 4), (4, 1, 1)])
def test_similarity_is_the_mean_squared_cosine_of_the_principal_angles(rng, d, i, j):
    U1, U2 = orthonormal(rng, d, i), orthonormal(rng, d, j)
    expected = np.mean(np.cos(subspace_angles(U1, U2)) ** 2)
    assert subspace_similarity(U1, U2) == pytest.approx(expected)
    assert subspace_similarity(U2, U1) == pytest.approx(expected)


def test_similarity_is_one_inside_and_zero_at_right_angles(rng):
    Q = orthonormal(rng, 8, 6)
    assert subspace_similarity(Q[:, :2], Q[:, :5]) == pytest.approx(1)
    assert subspace_similarity(Q[:, :2], Q[:, 2:]) == pytest.approx(0)


def test_similarity_depends_on_the_space_and_not_on_its_basis(rng):
    U1, U2 = orthonormal(rng, 8, 3), orthonormal(rng, 8, 4)
    turned = U2 @ orthonormal(rng, 4, 4)
    assert subspace_similarity(U1, turned) == pytest.approx(subspace_similarity(U1, U2))


def test_similarity_of_two_spaces_of_one_dimension_is_one_minus_the_projection_distance(rng):
    p, U1, U2 = 4, orthonormal(rng, 9, 4), orthonormal(rng, 9, 4)
    squared_distance = np.linalg.norm(U1 @ U1.T - U2 @ U2.T) ** 2 / 2
    assert subspace_similarity(U1, U2) == pytest.approx(1 - squared_distance / p)


def test_the_grid_holds_the_similarity_of_every_pair_of_leading_columns(rng):
    U1, U2 = orthonormal(rng, 9, 4), orthonormal(rng, 9, 6)
    grid = similarity_grid(U1, U2)
    assert grid.shape == (4, 6)
    for a in range(1, 5):
        for b in range(1, 7):
            assert grid[a - 1, b - 1] == pytest.approx(subspace_similarity(U1[:, :a], U2[:, :b]))


@pytest.mark.parametrize(("d", "i", "j"), [(12, 2, 5), (12, 5, 2), (10, 3, 3), (7, 7, 2)])
def test_the_mean_over_random_subspaces_is_the_baseline(rng, d, i, j):
    fixed = orthonormal(rng, d, i)
    mean = np.mean([subspace_similarity(fixed, orthonormal(rng, d, j)) for _ in range(2000)])
    assert mean == pytest.approx(random_similarity(d, i, j), abs=0.01)


def test_for_an_update_of_rank_r_the_factor_is_the_paper_s(rng):
    W, delta_W = rng.standard_normal((7, 5)), rng.standard_normal((7, 2)) @ rng.standard_normal((2, 5))
    U, _, Vt = svd(delta_W, "compact")
    result = amplification(W, delta_W, 2)
    assert result.update == pytest.approx(np.linalg.norm(delta_W))
    assert result.weight == pytest.approx(np.linalg.norm(U.T @ W @ Vt.T))
    assert result.factor == pytest.approx(np.linalg.norm(delta_W) / np.linalg.norm(U.T @ W @ Vt.T))


def test_the_update_counts_on_its_own_r_directions_only(rng):
    W, delta_W = rng.standard_normal((7, 5)), rng.standard_normal((7, 5))
    U, s, Vt = svd(delta_W)
    result = amplification(W, delta_W, 3)
    assert result.update == pytest.approx(np.linalg.norm(U[:, :3].T @ delta_W @ Vt[:3].T))
    assert result.update == pytest.approx(np.linalg.norm(s[:3]))


def test_the_factor_of_a_matrix_with_itself_is_one_and_scales_with_the_update(rng):
    W = rng.standard_normal((4, 6))
    assert amplification(W, W, 2).factor == pytest.approx(1)
    assert amplification(W, 5 * W, 2).factor == pytest.approx(5)


def test_the_factor_is_infinite_where_the_weight_is_zero(rng):
    assert amplification(np.zeros((4, 3)), rng.standard_normal((4, 3)), 1).factor == np.inf


def test_single_precision_directions_are_orthonormal_enough(rng):
    U, _, Vt = svd(rng.standard_normal((1536, 384)).astype(np.float32))
    assert subspace_similarity(U[:, :8], U[:, :16]) == pytest.approx(1, abs=1e-5)
    assert subspace_similarity(Vt[:8].T, Vt[8:16].T) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("function", [subspace_similarity, similarity_grid])
def test_columns_that_are_not_orthonormal_are_refused(rng, function):
    U = orthonormal(rng, 6, 3)
    with pytest.raises(ValueError, match=r"columns of U2 are not orthonormal: .* differs from I by 3"):
        function(U, 2 * U)
    with pytest.raises(ValueError, match=r"columns of U1 are not orthonormal"):
        function(rng.standard_normal((6, 3)), U)
    with pytest.raises(ValueError, match=r"lengths 6 and 5"):
        function(U, orthonormal(rng, 5, 3))


def test_sizes_that_do_not_fit_are_refused(rng):
    W = rng.standard_normal((4, 3))
    with pytest.raises(ValueError, match=r"W has shape \(4, 3\), ΔW has shape \(3, 4\)"):
        amplification(W, W.T, 1)
    for r in (0, 4):
        with pytest.raises(ValueError, match=rf"r={r} must be between 1 and min\(m, n\)=3"):
            amplification(W, W, r)
    with pytest.raises(ValueError, match=r"i=5 and j=2 need 1 ≤ i, j ≤ d=4"):
        random_similarity(4, 5, 2)
