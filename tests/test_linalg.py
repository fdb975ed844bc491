"""Rank, SVD and what follows: the theorems as properties, on rectangular, deficient and badly scaled input."""

import math
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lora_edu import (
    best_rank_k,
    break_even_rank,
    energy,
    exact_rank,
    factored_size,
    numerical_rank,
    randomized_svd,
    rank_by_minors,
    svd,
)

KINDS = ("thin", "full", "compact")
SHAPES = st.tuples(st.integers(1, 7), st.integers(1, 7))
INTEGERS = st.tuples(st.integers(1, 4), st.integers(1, 4)).flatmap(
    lambda shape: arrays(np.int64, shape, elements=st.integers(-3, 3))
)


@st.composite
def matrices(draw, dtypes=(np.float64, np.float32, np.int64)):
    """Any shape from 1 x 1, any rank down to 0, three dtypes, and scales from 1e-12 to 1e12."""
    m, n = draw(SHAPES)
    r = draw(st.integers(0, min(m, n)))
    dtype = draw(st.sampled_from(dtypes))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if dtype is np.int64:
        return rng.integers(-9, 10, (m, r)) @ rng.integers(-9, 10, (r, n))
    scale = 10.0 ** draw(st.integers(-12, 12))
    return (scale * rng.standard_normal((m, r)) @ rng.standard_normal((r, n))).astype(dtype)


def rounding(A) -> float:
    """What rounding may do to the entries of a product: some units in the last place of σ₁, per row or column."""
    dtype = np.float32 if A.dtype == np.float32 else np.float64
    return 20 * max(A.shape) * float(np.finfo(dtype).eps) * float(np.linalg.norm(A.astype(np.float64), 2))


def diagonal(s, m, n):
    S = np.zeros((m, n), dtype=s.dtype)
    S[: len(s), : len(s)] = np.diag(s)
    return S


# --- rank --------------------------------------------------------------------------------------------------------


@given(INTEGERS)
def test_three_definitions_of_rank_agree_on_small_integer_matrices(A):
    assert exact_rank(A) == rank_by_minors(A) == numerical_rank(A).rank == sympy.Matrix(A).rank()


@given(INTEGERS, st.integers(0, 2**32 - 1))
def test_rank_is_that_of_the_transpose_and_of_shuffled_rows(A, seed):
    shuffled = A[np.random.default_rng(seed).permutation(len(A))]
    assert exact_rank(A) == exact_rank(A.T) == exact_rank(shuffled)


@given(INTEGERS, INTEGERS)
def test_rank_of_sum_and_product_stay_within_their_bounds(A, B):
    k = min(A.shape[1], B.shape[0])
    left, right = A[:, :k], B[:k]
    p, q = exact_rank(left), exact_rank(right)
    assert max(0, p + q - k) <= exact_rank(left @ right) <= min(p, q)
    m, n = min(len(A), len(B)), min(A.shape[1], B.shape[1])
    assert exact_rank(A[:m, :n] + B[:m, :n]) <= exact_rank(A[:m, :n]) + exact_rank(B[:m, :n])


def test_exact_rank_takes_entries_at_their_exact_value():
    assert exact_rank([[0.1 + 0.2, 0.3], [1, 1]]) == 2  # differ in the last bit
    assert numerical_rank([[0.1 + 0.2, 0.3], [1, 1]]).rank == 1
    third = Fraction(1, 3)
    assert exact_rank([[third, 1], [sympy.Rational(1, 3), 1]]) == rank_by_minors([[third, 1], [third, 1]]) == 1
    assert exact_rank([[10**40, 1], [10**40 + 1, 1]]) == 2
    assert exact_rank(np.array([[0.1], [0.2]], dtype=np.float32)) == 1
    assert exact_rank(sympy.zeros(2, 3)) == rank_by_minors(np.zeros((2, 3))) == 0


@given(matrices(dtypes=(np.float64, np.float32)), st.integers(-30, 30))
def test_numerical_rank_does_not_depend_on_the_scale(A, exponent):
    result, scaled = numerical_rank(A), numerical_rank(A * A.dtype.type(2.0**exponent))
    assert scaled.rank == result.rank
    assert scaled.tolerance == pytest.approx(result.tolerance * 2.0**exponent, rel=1e-5)


@given(matrices())
def test_numerical_rank_counts_singular_values_above_its_own_tolerance(A):
    result = numerical_rank(A)
    assert result.rank == (result.singular_values > result.tolerance).sum()
    assert result.rank == np.linalg.matrix_rank(A if A.dtype == np.float32 else A.astype(float))
    assert np.all(np.diff(result.singular_values) <= 0)


def test_numerical_rank_changes_with_the_tolerance():
    A = np.diag([1.0, 1e-6, 1e-12])[:, [1, 2, 0]]
    assert [numerical_rank(A, tolerance).rank for tolerance in (0, 1e-9, 1e-3, 1)] == [3, 2, 1, 0]
    assert numerical_rank(A, 1e-9).tolerance == 1e-9


# --- svd ---------------------------------------------------------------------------------------------------------


@given(matrices(), st.sampled_from(KINDS))
def test_svd_has_its_shapes_its_order_and_gives_the_matrix_back(A, kind):
    (m, n), k = A.shape, min(A.shape)
    U, s, Vt = svd(A, kind)
    r = numerical_rank(A).rank
    shapes = {"thin": ((m, k), (k,), (k, n)), "full": ((m, m), (k,), (n, n)), "compact": ((m, r), (r,), (r, n))}
    assert (U.shape, s.shape, Vt.shape) == shapes[kind]
    assert U.dtype == s.dtype == Vt.dtype == (np.float32 if A.dtype == np.float32 else np.float64)
    assert (s >= 0).all() and (np.diff(s) <= 0).all()
    product = U @ diagonal(s, U.shape[1], Vt.shape[0]) @ Vt
    assert np.abs(product - A).max() <= rounding(A)
    tight = 50 * float(np.finfo(U.dtype).eps)
    assert np.allclose(U.T @ U, np.eye(U.shape[1]), atol=tight) and np.allclose(Vt @ Vt.T, np.eye(len(Vt)), atol=tight)


@given(matrices(), st.sampled_from(KINDS))
def test_the_largest_entry_of_each_left_vector_is_positive(A, kind):
    U, _, _ = svd(A, kind)
    for u in U.T:
        assert u[np.abs(u).argmax()] > 0 or np.isclose(np.abs(u), np.abs(u).max(), rtol=1e-3).sum() > 1


@given(st.integers(0, 2**32 - 1), st.sampled_from([(5, 3), (3, 5), (4, 4)]), st.integers(1, 3))
def test_signs_do_not_depend_on_how_the_decomposition_was_found(seed, shape, r):
    """The same matrix through its transpose, or with rows in another order: other rounding, the same vectors."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((shape[0], r)) @ rng.standard_normal((r, shape[1]))
    order = rng.permutation(shape[0])
    back = np.argsort(order)
    U, s, Vt = svd(A, "compact")
    U2, s2, Vt2 = svd(A[order], "compact")
    if (np.diff(s) < -0.05 * s[0]).all():  # vectors of close singular values are ill-conditioned
        assert np.allclose(s, s2)
        assert np.allclose(U, U2[back], atol=1e-9) and np.allclose(Vt, Vt2, atol=1e-9)


def test_signs_are_fixed_where_a_singular_value_is_zero():
    # There u and v are not tied to each other by A: the sign of v must not come from rounding.
    A = np.arange(1.0, 10).reshape(3, 3)
    null = np.array([-1, 2, -1]) / math.sqrt(6)
    for rows in ([0, 1, 2], [2, 1, 0], [1, 0, 2]):
        for kind in ("thin", "full"):
            assert np.allclose(svd(A[rows], kind).Vt[2], null)
    assert np.allclose(svd(A.T).Vt[2], null)
    assert np.allclose(svd(np.arange(6.0).reshape(2, 3), "full").Vt[2] * math.sqrt(6), [-1, 2, -1])


def test_the_first_of_several_tied_entries_decides_the_sign():
    U = svd([[1, 1], [1, 1]]).U * math.sqrt(2)
    assert np.allclose(U, [[1, 1], [1, -1]])
    assert np.allclose(svd([[3, 2, 2], [2, 3, -2]]).U * math.sqrt(2), [[1, 1], [1, -1]])
    single = svd(np.array([[1, 1], [1, 1]], dtype=np.float32))
    assert np.allclose(single.U * math.sqrt(2), [[1, 1], [1, -1]], atol=1e-6)


@pytest.mark.parametrize("A", [np.zeros((2, 3)), [[5.0]], [[-2, 0, 1]], [[1], [2], [-3]]])
@pytest.mark.parametrize("kind", KINDS)
def test_vectors_and_the_zero_matrix_have_a_decomposition_too(A, kind):
    U, s, Vt = svd(A, kind)
    assert np.allclose(U @ diagonal(s, U.shape[1], Vt.shape[0]) @ Vt, A)


# --- low rank ----------------------------------------------------------------------------------------------------


@given(matrices(), st.data())
def test_no_competitor_of_rank_k_comes_nearer(A, data):
    """Eckart–Young–Mirsky, against random competitors, some of them small changes of the best."""
    k = data.draw(st.integers(0, min(A.shape)))
    best = best_rank_k(A, k)
    slack = rounding(A)
    assert np.linalg.norm(A - best.matrix, 2) == pytest.approx(best.spectral_error, abs=slack, rel=1e-4)
    assert np.linalg.norm(A - best.matrix) == pytest.approx(best.frobenius_error, abs=slack, rel=1e-4)
    assert best.matrix.shape == A.shape and numerical_rank(best.matrix, slack).rank <= k
    U, s, Vt = svd(A.astype(np.float64))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    for step in (1e-3, 0.1, 1.0):
        left = U[:, :k] * s[:k] + step * float(s[0]) * rng.standard_normal((len(A), k))
        right = Vt[:k] + step * rng.standard_normal((k, A.shape[1]))
        competitor = left @ right
        assert np.linalg.norm(A - competitor, 2) >= best.spectral_error - slack
        assert np.linalg.norm(A - competitor) >= best.frobenius_error - slack


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_errors_neither_overflow_nor_vanish_when_their_squares_would(scale):
    best = best_rank_k(np.diag([5 * scale, 4 * scale, 3 * scale]), 1)
    assert best.frobenius_error == pytest.approx(5 * scale)
    assert best.spectral_error == pytest.approx(4 * scale)
    assert np.allclose(energy(np.diag([4 * scale, 3 * scale])), [16 / 25, 1])


@given(matrices())
def test_energy_grows_to_exactly_one_and_tells_the_error(A):
    if not A.any():
        with pytest.raises(ValueError, match="the zero matrix has no energy to share out"):
            energy(A)
        return
    shares = energy(A)
    assert shares.shape == (min(A.shape),) and shares[-1] == 1
    assert (np.diff(shares) >= 0).all() and shares[0] > 0
    total = np.linalg.norm(A.astype(np.float64))
    for k, share in enumerate(shares, start=1):
        assert (best_rank_k(A, k).frobenius_error / total) ** 2 == pytest.approx(1 - share, abs=1e-5)


@given(st.integers(1, 40), st.integers(1, 40))
def test_break_even_rank_is_the_largest_that_pays(m, n):
    paying = [k for k in range(min(m, n) + 1) if factored_size(m, n, k) < m * n]
    assert break_even_rank(m, n) == max(paying)


@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_factored_size_counts_the_numbers_in_the_factors(m, n, data):
    k = data.draw(st.integers(0, min(m, n)))
    U, s, Vt = svd(np.ones((m, n)))
    assert factored_size(m, n, k) == U[:, :k].size + s[:k].size + Vt[:k].size


# --- randomized --------------------------------------------------------------------------------------------------


@given(matrices(dtypes=(np.float64, np.float32)), st.data())
def test_randomized_svd_is_exact_when_the_sketch_is_as_wide_as_the_rank(A, data):
    k = data.draw(st.integers(1, min(A.shape)))
    U, s, Vt = randomized_svd(A, k)  # k + 10 exceeds every rank here
    full = svd(A)
    assert U.shape == (len(A), k) and Vt.shape == (k, A.shape[1]) and U.dtype == A.dtype
    assert np.allclose(s, full.s[:k], atol=rounding(A), rtol=0)
    assert (
        np.allclose((U * s) @ Vt, best_rank_k(A, k).matrix, atol=30 * rounding(A))
        or np.isclose(full.s[k - 1], full.s[k : k + 1], rtol=1e-2).any()
    )  # a gap decides which vectors are the leading ones


@pytest.mark.parametrize("shape", [(300, 80), (80, 300)])
@pytest.mark.parametrize("power_steps", [0, 1, 2])
def test_randomized_svd_keeps_the_bound_of_its_source(shape, power_steps):
    """Halko, Martinsson and Tropp, Theorem 10.6: mean of ‖A − QQᵀA‖ for no power steps; here as a bound for all."""
    rng = np.random.default_rng(3)
    n = min(shape)
    U, V = (np.linalg.qr(rng.standard_normal((size, n)))[0] for size in shape)
    sigma = 0.9 ** np.arange(n)
    A = (U * sigma) @ V.T
    k, p = 10, 5
    approximation = randomized_svd(A, k, oversampling=p, power_steps=power_steps, seed=4)
    error = np.linalg.norm(A - (approximation.U * approximation.s) @ approximation.Vt, 2)
    tail = np.linalg.norm(sigma[k:])
    bound = (1 + math.sqrt(k / (p - 1))) * sigma[k] + math.e * math.sqrt(k + p) / p * tail
    assert sigma[k] * (1 - 1e-12) <= error <= bound + sigma[k]  # + σ: the cut from k + p to k
    if power_steps == 2:
        assert error <= 1.05 * sigma[k]


def test_randomized_svd_repeats_with_its_seed_and_not_without():
    A = np.random.default_rng(5).standard_normal((40, 30))
    first, again, other, fresh = (randomized_svd(A, 3, 0, 0, seed) for seed in (7, 7, 8, None))
    assert np.array_equal(first.U, again.U)
    assert not np.allclose(first.s, other.s) and not np.allclose(first.s, fresh.s)


def test_randomized_svd_has_the_signs_of_svd():
    rng = np.random.default_rng(6)
    A = rng.standard_normal((50, 4)) * [8, 4, 2, 1] @ rng.standard_normal((4, 20))
    exact, sketched = svd(A), randomized_svd(A, 4)
    assert np.allclose(sketched.U, exact.U[:, :4]) and np.allclose(sketched.Vt, exact.Vt[:4])


def test_power_steps_keep_small_singular_values_in_float32():
    """Without a QR between the products, the fifth powers would put all but the first few below the rounding."""
    rng = np.random.default_rng(8)
    U, V = (np.linalg.qr(rng.standard_normal((size, 60)))[0] for size in (400, 60))
    sigma = 0.5 ** np.arange(60)
    A = ((U * sigma) @ V.T).astype(np.float32)
    for power_steps in (1, 2, 4):
        for scale in (1, 2.0**80, 2.0**-80):  # the squares of these leave the range of float32
            found = randomized_svd(A * np.float32(scale), 12, power_steps=power_steps).s
            assert np.allclose(found / scale, sigma[:12], rtol=1e-2)


@pytest.mark.parametrize("shape", [(40_000, 100), (100, 40_000)])
def test_randomized_svd_needs_a_fraction_of_the_matrix_beside_it(shape):
    A = np.random.default_rng(9).standard_normal(shape, dtype=np.float32)
    tracemalloc.start()
    randomized_svd(A, 1, oversampling=1, power_steps=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < A.nbytes / 4  # one mask of A, with a byte for each entry, would already be that large


# --- what is refused ---------------------------------------------------------------------------------------------

FUNCTIONS = [
    exact_rank,
    rank_by_minors,
    numerical_rank,
    svd,
    energy,
    lambda A: best_rank_k(A, 1),
    lambda A: randomized_svd(A, 1),
]


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("A", "message"),
    [
        ([], r"non-empty matrix with two axes, got shape \(0,\)"),
        (np.zeros((0, 3)), r"non-empty matrix with two axes, got shape \(0, 3\)"),
        ([1, 2, 3], r"non-empty matrix with two axes, got shape \(3,\)"),
        (np.ones((2, 2, 2)), r"non-empty matrix with two axes, got shape \(2, 2, 2\)"),
        ([[1, 2], [3]], "non-empty matrix with two axes"),
        (7, r"got shape \(\)"),
        ([[1.0, math.nan]], "finite"),
        ([[1.0, -math.inf]], "finite"),
        (np.array([[np.nan, 1]], dtype=np.float32), "finite"),
        ([[1j, 2]], "1j|real matrix, got complex"),
    ],
)
def test_what_is_no_real_finite_matrix_is_refused(function, A, message):
    with pytest.raises(ValueError, match=message):
        function(A)


@pytest.mark.parametrize(
    "entry", ["x", "__import__('os')", None, sympy.sqrt(2), sympy.nan, sympy.oo, sympy.Symbol("x")]
)
def test_exact_rank_names_the_entry_that_is_no_rational_number(entry):
    with pytest.raises(ValueError, match="is not a finite rational number"):
        exact_rank([[1, entry]])


@pytest.mark.parametrize("k", [-1, 3])
def test_a_rank_that_the_matrix_cannot_have_is_refused_with_the_limits(k):
    with pytest.raises(ValueError, match=rf"k={k} must be between 0 and min\(m, n\)=2 for a matrix of shape \(2, 3\)"):
        best_rank_k(np.ones((2, 3)), k)
    with pytest.raises(ValueError, match=rf"k={k} must be between 0 and min\(m, n\)=2"):
        factored_size(2, 3, k)
    with pytest.raises(ValueError, match=rf"k={k} must be between 1 and min\(m, n\)=2"):
        randomized_svd(np.ones((2, 3)), k)


@pytest.mark.parametrize("tolerance", [-1e-9, math.nan, -math.inf])
def test_a_tolerance_below_zero_is_refused(tolerance):
    with pytest.raises(ValueError, match=f"tolerance={tolerance} must be a number ≥ 0"):
        numerical_rank(np.eye(2), tolerance)


def test_other_arguments_out_of_range_are_refused_with_their_values():
    with pytest.raises(ValueError, match="kind='slim' is none of 'thin', 'full', 'compact'"):
        svd(np.eye(2), kind="slim")
    with pytest.raises(ValueError, match="oversampling=-1 and power_steps=2 must be ≥ 0"):
        randomized_svd(np.eye(3), 1, oversampling=-1)
    with pytest.raises(ValueError, match="power_steps=-2"):
        randomized_svd(np.eye(3), 1, power_steps=-2)
    with pytest.raises(ValueError, match="m=0 must be at least 1"):
        break_even_rank(0, 3)
    with pytest.raises(ValueError, match="n=-2 must be at least 1"):
        factored_size(3, -2, 0)
