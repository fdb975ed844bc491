"""Statements: what is true holds, what is false is caught with a small counterexample, and nothing is ever guessed."""

import contextlib
import io
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import sympy
from hypothesis import strategies as st
from sympy import Matrix, Rational, cos, exp, pi, sin, sqrt, symbols

import lora_edu
from lora_edu import Statement, empirical, exact, exact_rank, matrices, numeric, numerical_rank, vectors
from lora_edu.statements import made_statements

x, y = symbols("x y")
SIGMA_1, SIGMA_2 = (sqrt((285 + sign * 3 * sqrt(8881)) / 2) for sign in (1, -1))
PACKAGE = Path(lora_edu.__file__).parents[1]


# --- exact -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (SIGMA_1 * SIGMA_2, 18),
        (sqrt(2) + sqrt(3), sqrt(5 + 2 * sqrt(6))),
        (cos(pi / 7) * cos(2 * pi / 7) * cos(3 * pi / 7), Rational(1, 8)),
        (Fraction(1, 3), Rational(1, 3)),
        (np.int64(4), 4),
        ((x + y) ** 2, x**2 + 2 * x * y + y**2),
        (sin(x) ** 2 + cos(x) ** 2, 1),
        (Matrix([[1, 2], [3, 4]]).det() * Matrix([[1, 2], [3, 4]]).inv(), [[4, -2], [-3, 1]]),
        (np.array([[1, 2], [3, 4]]) @ [[1], [1]], Matrix([3, 7])),
        ([SIGMA_1**2 + SIGMA_2**2, 0], (285, 0)),
    ],
)
def test_equal_sides_are_shown_equal_without_rounding(left, right):
    statement = exact("equal", left, right)
    assert statement and statement.as_expected
    assert repr(statement) == "✓ exact · equal · decided by SymPy, nothing rounded"


@pytest.mark.parametrize(
    ("left", "right", "detail"),
    [
        (SIGMA_1 * SIGMA_2, 12, "left − right = 6"),
        (exp(pi * sqrt(163)), 640320**3 + 744, "left − right = "),  # agree to thirty digits
        (Rational(1, 10**80), 0, "left − right = "),
        (sqrt(10**90 + 1), 10**45, "left − right = "),  # 5e-46, below what 60 digits are trusted with
        (sqrt(x**2), x, "left − right = "),
        ((x + 1) ** 2, x**2 + 1, "left − right = 2*x"),
        ([[1, 2], [3, 4]], [[1, 2], [3, 5]], "left − right = -1"),
        ([[1, 2]], [[1], [2]], "the shapes are (1, 2) and (2, 1)"),
        (5, [5], "the shapes are () and (1,)"),
    ],
)
def test_sides_that_differ_are_shown_to_differ(left, right, detail):
    statement = exact("different", left, right)
    assert not statement and not statement.as_expected
    assert statement.detail.startswith(detail)
    assert repr(statement).startswith(f"✗ exact · different · fails: {detail}")
    assert repr(exact("different", left, right, expected=False)).startswith(
        f"✗ exact · different · false, as expected: {detail}"
    )


def test_an_equality_with_symbols_respects_their_assumptions():
    p = sympy.Symbol("p", positive=True)
    k = sympy.Symbol("k", integer=True)
    assert exact("for positive p", sqrt(p**2), p)
    assert exact("for integers k", sin(k * pi), 0)
    assert not exact("for integers k", cos(k * pi), 1)
    assert not exact("for all numbers", sin(x * pi), 0)


def test_a_relation_or_a_bool_is_enough():
    assert exact("the bound", 3 * sqrt(8881) < 285)
    assert exact("squares", sympy.Symbol("t", real=True) ** 2 >= 0)
    assert exact("not strict", sympy.Le(sqrt(2) + sqrt(3), sqrt(5 + 2 * sqrt(6)), evaluate=False))
    assert not exact("strict", sympy.Lt(sqrt(2) + sqrt(3), sqrt(5 + 2 * sqrt(6)), evaluate=False))
    assert exact("an equation", sympy.Eq((x + 1) ** 2, x**2 + 2 * x + 1))
    assert not exact("an equation", sympy.Eq((x + 1) ** 2, x**2 + 1))
    assert exact("a rank", exact_rank([[1, 2], [2, 4]]) == 1)
    assert not exact("a rank", np.bool_(exact_rank([[1, 2], [2, 4]]) == 2))


@pytest.mark.parametrize(
    "inexact", [0.5, np.float64(0.5), sympy.Float(0.5), x + 0.5, [[1, 0.5]], np.ones((1, 2)), Matrix([[0.5]]), 1j]
)
def test_a_float_is_not_exact(inexact):
    for sides in ((inexact, 1), (1, inexact)):
        with pytest.raises(TypeError, match=r"a (float|complex) is not exact"):
            exact("rounded", *sides)


@pytest.mark.parametrize("what", ["1/2", True, [[1, 2], [3]], object()])
def test_only_numbers_are_compared(what):
    with pytest.raises(TypeError, match="is not exact: give integers, fractions or SymPy"):
        exact("no number", what, 1)


def test_what_sympy_cannot_decide_is_an_error_and_no_guess():
    f, g = sympy.Function("f"), sympy.Function("g")
    with pytest.raises(ValueError, match="can show neither"):
        exact("unknown functions", f(x), g(x))
    with pytest.raises(ValueError, match="cannot decide"):
        exact("for some x only", sympy.Gt(x, 0))
    with pytest.raises(ValueError, match="not a finite number"):
        exact("infinite", sympy.oo, sympy.oo)
    with pytest.raises(TypeError, match="a float is not exact"):
        exact("a rounded relation", sympy.Gt(x, 0.5))
    for nothing in (5, None, "true"):
        with pytest.raises(TypeError, match="a relation or a bool is needed"):
            exact("one side", nothing)


# --- numeric: theorems -------------------------------------------------------------------------------------------

PRODUCT = {"P": matrices("m", "k"), "Q": matrices("k", "n")}
SQUARE = {"P": matrices("n", "n"), "Q": matrices("n", "n")}
PRODUCT_OF_INTEGERS = {name: matrices(*space.shape, integers=True) for name, space in PRODUCT.items()}


def close(left, right):
    return left.shape == right.shape and np.allclose(left, right)


def rank(A):
    return numerical_rank(A).rank


THEOREMS = {
    "rank of a sum": (
        lambda P, S: exact_rank(P + S) <= exact_rank(P) + exact_rank(S),
        {"P": matrices("m", "n"), "S": matrices("m", "n")},
    ),
    "rank of a product": (
        lambda P, Q, k: max(0, exact_rank(P) + exact_rank(Q) - k) <= exact_rank(P @ Q) <= exact_rank(P),
        PRODUCT_OF_INTEGERS,
    ),
    "the transpose of a product": (lambda P, Q: close((P @ Q).T, Q.T @ P.T), PRODUCT),
    "the trace of a product": (
        lambda P, Q: np.isclose(np.trace(P @ Q), np.trace(Q @ P)),
        {"P": matrices("m", "n"), "Q": matrices("n", "m")},
    ),
    "the norm is the singular values'": (
        lambda A: np.isclose(np.linalg.norm(A) ** 2, (np.linalg.svd(A)[1] ** 2).sum()),
        {"A": matrices("m", "n")},
    ),
    "Cauchy and Schwarz": (
        lambda u, v: abs(u @ v) <= np.linalg.norm(u) * np.linalg.norm(v) * (1 + 1e-12),
        {"u": vectors("n"), "v": vectors("n")},
    ),
    "a square is not negative": (lambda t: t * t >= 0, {"t": st.floats(-10, 10)}),
}


@pytest.mark.parametrize("name", THEOREMS)
def test_true_theorems_hold_on_a_hundred_inputs(name):
    claim, spaces = THEOREMS[name]
    statement = numeric(name, claim, **spaces)
    assert statement and statement.as_expected
    assert repr(statement) == f"✓ numeric · {name} · held on 100 generic inputs"


MISTAKES = {
    "rank(PQ) = min": (lambda P, Q: exact_rank(P @ Q) == min(exact_rank(P), exact_rank(Q)), PRODUCT_OF_INTEGERS),
    "rank(PQ) = min in floats": (lambda P, Q: rank(P @ Q) == min(rank(P), rank(Q)), PRODUCT),
    "rank(P + Q) = sum": (lambda P, Q: rank(P + Q) == rank(P) + rank(Q), SQUARE),
    "rank(P + Q) ≥ max": (lambda P, Q: rank(P + Q) >= max(rank(P), rank(Q)), SQUARE),
    "det is additive": (
        lambda P, Q: np.isclose(np.linalg.det(P + Q), np.linalg.det(P) + np.linalg.det(Q)),
        SQUARE,
    ),
    "(PQ)ᵀ = PᵀQᵀ": (lambda P, Q: close((P @ Q).T, P.T @ Q.T), SQUARE),
    "products commute": (lambda P, Q: close(P @ Q, Q @ P), SQUARE),
    "AᵀA = AAᵀ, rectangular": (lambda A: close(A.T @ A, A @ A.T), {"A": matrices("m", "n")}),
    "AᵀA = AAᵀ, square": (lambda A: close(A.T @ A, A @ A.T), {"A": matrices("n", "n")}),
    "A is symmetric": (lambda A: close(A, A.T), {"A": matrices("n", "n")}),
    "A is square": (lambda A: A.shape[0] == A.shape[1], {"A": matrices("m", "n")}),
    "rank = min(m, n)": (lambda A, m, n: rank(A) == min(m, n), {"A": matrices("m", "n")}),
    "columns are independent": (lambda A: rank(A) == A.shape[1], {"A": matrices("m", "n")}),
    "A has no row of zeros": (lambda A: A.any(axis=1).all(), {"A": matrices("m", "n")}),
    "rank(A²) = rank A": (lambda A: rank(A @ A) == rank(A), {"A": matrices("n", "n")}),
    "the norm is multiplicative": (
        lambda P, Q: np.isclose(np.linalg.norm(P @ Q), np.linalg.norm(P) * np.linalg.norm(Q)),
        PRODUCT,
    ),
    "‖·‖₂ = ‖·‖_F": (lambda A: np.isclose(np.linalg.norm(A, 2), np.linalg.norm(A)), {"A": matrices("m", "n")}),
    "u·v ≥ 0": (lambda u, v: u @ v >= 0, {"u": vectors("n"), "v": vectors("n")}),
    "t² ≥ t": (lambda t: t * t >= t, {"t": st.floats(-10, 10)}),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_the_usual_mistakes_are_caught_on_a_small_counterexample(name):
    claim, spaces = MISTAKES[name]
    statement = numeric(name, claim, **spaces)
    assert not statement and not statement.as_expected and not statement.broken
    assert repr(statement) == f"✗ numeric · {name} · fails, e.g. for {statement.detail}"
    assert len(statement.detail) <= 50

    on_purpose = numeric(name, claim, expected=False, **spaces)
    assert not on_purpose and on_purpose.as_expected
    assert repr(on_purpose) == f"✗ numeric · {name} · false, as expected: {statement.detail}"


def test_a_counterexample_is_as_simple_as_can_be():
    claim, spaces = MISTAKES["rank(PQ) = min"]
    assert numeric("rank(PQ) = min", claim, **spaces).detail == "P = [[0, 1]], Q = [[1], [0]]"
    assert numeric("A is square", lambda A, n: len(A) == n, A=matrices("m", "n")).detail == "A = [[0, 0]], n = 2"


def test_what_fails_on_generic_inputs_only_is_caught_too():
    A = matrices("m", "n")
    assert not numeric("entries are whole", lambda A: (A.round() == A).all(), A=A)
    assert not numeric("entries are below 50", lambda A: (abs(A) < 50).all(), A=A)
    assert not numeric("sizes are below 4", lambda A: max(A.shape) < 4, A=A)
    assert not numeric("the gram matrix has the rank", lambda A: rank(A.T @ A) == rank(A), A=A)
    assert numeric("entries are below 100", lambda A: (abs(A) < 100).all(), A=matrices("m", "n", rank=1, scaled=False))


def test_a_long_counterexample_is_cut():
    statement = numeric("larger", lambda A: bool(A is None), A=matrices(9, 9))
    assert len(statement.detail) == 120 and statement.detail.endswith("…")


def test_a_claim_that_was_to_be_false_and_holds_is_not_as_expected():
    statement = numeric("0 ≤ |t|", lambda t: abs(t) >= 0, expected=False, t=st.integers())
    assert statement and not statement.as_expected
    assert repr(statement).endswith("held on 100 generic inputs, but was expected to be false")


def test_a_claim_that_raises_is_neither_true_nor_false():
    claim = {"claim": lambda A: close(np.linalg.inv(A) @ A, np.eye(len(A)))}
    for expected in (True, False):
        statement = numeric("inverse", claim["claim"], expected=expected, A=matrices("n", "n"))
        assert statement.broken and not statement.holds and not statement.as_expected
        assert repr(statement) == "✗ numeric · inverse · fails: LinAlgError: Singular matrix, for A = [[0]]"


def test_a_claim_may_change_its_input_without_changing_the_counterexample():
    def negated_in_place(A):
        A *= -1
        return (A >= 0).all()

    assert numeric("negative", negated_in_place, A=matrices(1, 1)).detail == "A = [[1]]"


# --- numeric: inputs ---------------------------------------------------------------------------------------------


def drawn(count=150, **spaces):
    return numeric("anything", eval(f"lambda {', '.join(spaces)}: True"), **spaces).draws(count)


def test_sizes_with_the_same_letter_are_the_same_and_reach_claim_and_draws():
    spaces = {"B": matrices("m", "r"), "A": matrices("r", "n"), "v": vectors("n"), "C": matrices(3, "m")}
    draws = drawn(**spaces)
    assert len(draws) == 150
    for d in draws:
        shapes = ((d["m"], d["r"]), (d["r"], d["n"]), (d["n"],), (3, d["m"]))
        assert tuple(d[name].shape for name in ("B", "A", "v", "C")) == shapes
    for letter in "mnr":
        assert {d[letter] for d in draws} == set(range(1, 7))
    assert numeric("sizes", lambda B, A, r, m: B.shape == (m, r) and A.shape[0] == r, B=spaces["B"], A=spaces["A"])


@pytest.mark.parametrize("integers", [True, False])
def test_a_rank_that_is_asked_for_is_exact(integers):
    draws = drawn(A=matrices("m", "n", rank="r", integers=integers), B=matrices("m", "n", rank="r", scaled=False))
    assert all(exact_rank(d["A"]) == d["r"] == rank(d["B"]) for d in draws)
    assert {1, 2, 3, 4} <= {d["r"] for d in draws} <= {1, 2, 3, 4, 5, 6}
    assert any(d["r"] < min(d["m"], d["n"]) for d in draws)
    assert {exact_rank(d["A"]) for d in drawn(50, A=matrices("m", 4, rank=3, integers=integers))} == {3}
    assert all(d["r"] == exact_rank(d["W"]) for d in drawn(50, B=matrices("n", "r"), W=matrices("n", "n", rank="r")))
    assert all(exact_rank(d["W"]) == d["m"] <= d["n"] for d in drawn(50, W=matrices("m", "n", rank="m")))


def test_generic_matrices_are_of_all_kinds():
    draws = [d["A"] for d in drawn(400, A=matrices("m", "n"))]
    ranks = [exact_rank(A) for A in draws]
    share = {
        "not square": np.mean([A.shape[0] != A.shape[1] for A in draws]),
        "full rank": np.mean([r == min(A.shape) for A, r in zip(draws, ranks, strict=True)]),
        "less than full": np.mean([r < min(A.shape) for A, r in zip(draws, ranks, strict=True)]),
        "zero": np.mean([r == 0 for r in ranks]),
        "a row or column of zeros": np.mean([not (A.any(axis=0).all() and A.any(axis=1).all()) for A in draws]),
        "not whole": np.mean([(A.round() != A).any() for A in draws]),
        "badly scaled": np.mean([np.ptp(np.log10(abs(A[A != 0]))) > 4 for A in draws if A.any()]),
    }
    assert all(value >= 0.03 for value in share.values()), share
    assert share["zero"] < 0.2
    assert not any(A.shape[0] == A.shape[1] > 2 and exact_rank(A) > 1 and (A == A.T).all() for A in draws)
    assert all(A.dtype == np.float64 for A in draws)
    integers = [d["A"] for d in drawn(100, A=matrices("m", "n", integers=True))]
    assert all(A.dtype == np.int64 and abs(A).max() < 1000 for A in integers)


def test_other_strategies_can_be_drawn_beside_matrices():
    draws = drawn(50, t=st.integers(0, 3), A=matrices(2, 3))
    assert {d["t"] for d in draws} == {0, 1, 2, 3}
    assert drawn(50, t=st.booleans()) == [{"t": False}, {"t": True}]


# --- numeric: the same everywhere --------------------------------------------------------------------------------

VERDICTS = """
s = numeric("f", lambda A, t, w: True, A=matrices("m", "n"), t=st.floats(-1e9, 1e9), w=st.text(max_size=3))
print([(d["A"].tolist(), d["t"], d["w"], d["n"]) for d in s.draws(50)])
print(numeric("commute", lambda A, B: (A @ B == B @ A).all(), A=matrices("n", "n"), B=matrices("n", "n")))
print(numeric("small", lambda A: (abs(A) < 50).all(), A=matrices("m", "n")))
"""
ELSEWHERE = f"""
import sys
from lora_edu import matrices, numeric
assert "hypothesis" not in sys.modules, "importing the package is to stay fast"
import constants
from hypothesis import strategies as st
{VERDICTS}
"""


def test_draws_and_verdicts_are_the_same_in_every_process_and_leave_no_trace(tmp_path):
    # Hypothesis reads constants in the modules of the working directory, and writes them to a folder there.
    (tmp_path / "constants.py").write_text(f"NUMBERS = {[1000.25 + i for i in range(200)]}\n", encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": f"{PACKAGE}{os.pathsep}{tmp_path}", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-X", "utf8", "-c", ELSEWHERE]
    there = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8", check=False)
    assert (there.returncode, there.stderr) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["constants.py"]
    here = io.StringIO()
    with contextlib.redirect_stdout(here):
        exec(VERDICTS, {"matrices": matrices, "numeric": numeric, "st": st})
    assert here.getvalue() == there.stdout


def test_a_second_call_gives_the_same(capfd):
    claim, spaces = MISTAKES["products commute"]
    first, second = (numeric("commute", claim, **spaces) for _ in range(2))
    assert first == second and repr(first) == repr(second)
    for one, two in zip(first.draws(20), second.draws(20), strict=True):
        assert one.keys() == two.keys() == {"P", "Q", "n"}
        assert all(np.array_equal(one[name], two[name]) for name in one)
    assert capfd.readouterr() == ("", "")


# --- numeric: errors ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [None, 1, "yes", np.array([True, False]), np.float64(1)])
def test_an_answer_that_is_no_bool_is_an_error(answer):
    with pytest.raises(TypeError, match="the claim of 'x' must answer with a bool, not with"):
        numeric("x", lambda A: answer, A=matrices("m", "n"))
    assert numeric("x", lambda A: sympy.true, A=matrices("m", "n"))
    assert not numeric("x", lambda A: np.False_, A=matrices("m", "n"))


def test_spaces_that_do_not_fit_the_claim_are_errors():
    A = matrices("m", "n")
    with pytest.raises(ValueError, match="at least one space"):
        numeric("x", lambda: True)
    with pytest.raises(TypeError, match=r"A=3 is neither matrices\(...\) nor vectors"):
        numeric("x", lambda A: True, A=3)
    with pytest.raises(TypeError, match="a claim is a function"):
        numeric("x", True, A=A)
    with pytest.raises(ValueError, match="the claim has no parameter B; its parameters are A"):
        numeric("x", lambda A: True, A=A, B=A)
    with pytest.raises(ValueError, match="parameter r is neither a space nor one of their sizes"):
        numeric("x", lambda A, r: True, A=A)
    with pytest.raises(ValueError, match="m: the same name for a size and for what is drawn"):
        numeric("x", lambda A, m: True, A=A, m=vectors("n"))
    with pytest.raises(ValueError, match="no input can be drawn"):
        numeric("x", lambda A: True, A=st.integers().filter(lambda t: False))
    with pytest.raises(TypeError, match="begins with its name in words"):
        numeric(lambda A: True, lambda A: True, A=A)


def test_sizes_that_make_no_matrix_are_errors():
    for wrong in (0, -1, "", "2r", "m n"):
        with pytest.raises(ValueError, match="a size is a letter or an integer from 1 on"):
            matrices("m", wrong)
        with pytest.raises(ValueError, match="a size is a letter or an integer from 1 on"):
            matrices("m", "n", rank=wrong)
    for wrong in (2.0, None, True, ("m", 2)):
        with pytest.raises(TypeError, match="a size is a letter or an integer"):
            vectors(wrong)
    with pytest.raises(ValueError, match=r"rank=4 exceeds 3, the smaller side of shape \(3, 'n'\)"):
        matrices(3, "n", rank=4)


def test_a_claim_that_contradicts_itself_is_an_error():
    answers = iter([True] * 10 + [False] + [True] * 10_000)
    with pytest.raises(ValueError, match="different answers for the same input"):
        numeric("moody", lambda A: next(answers), A=matrices("m", "n"))


def test_only_numeric_statements_have_draws():
    for statement in (exact("two", 1 + 1, 2), empirical("mean", [1, 2], low=-100)):
        with pytest.raises(TypeError, match="only a numeric statement has inputs to draw"):
            statement.draws()
    with pytest.raises(ValueError, match="count=0 must be at least 1"):
        numeric("x", lambda A: True, A=matrices("m", "n")).draws(0)


# --- empirical ---------------------------------------------------------------------------------------------------


def test_the_interval_is_students():
    values = [0.012, -0.004, 0.001, -0.009, 0.003]
    low, high = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert empirical("inside", values, low=low - 1e-9, high=high + 1e-9)
    assert not empirical("inside", values, low=low + 1e-9, high=high + 1e-9)
    assert not empirical("inside", values, low=low - 1e-9, high=high - 1e-9)
    assert f"[{low:.3g}, {high:.3g}]" in empirical("inside", values, low=-1).detail


def test_an_empirical_statement_shows_its_interval():
    values = [-0.01, 0.002, -0.003, 0.001, -0.02, 0.005, -0.008, -0.001]
    assert repr(empirical("LoRA is close", values, low=-0.02, high=0.02)) == (
        "✓ empirical · LoRA is close · 95 % interval of the mean over 8 seeds: [-0.011, 0.00252] inside [-0.02, 0.02]"
    )
    assert repr(empirical("LoRA is better", values, low=0)) == (
        "✗ empirical · LoRA is better · "
        "fails: 95 % interval of the mean over 8 seeds: [-0.011, 0.00252] not inside [0, ∞)"
    )
    assert repr(empirical("LoRA is worse", values, high=0, expected=False)) == (
        "✗ empirical · LoRA is worse · "
        "false, as expected: 95 % interval of the mean over 8 seeds: [-0.011, 0.00252] not inside (-∞, 0]"
    )
    assert empirical("always the same", [1, 1, 1], low=1, high=1)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, np.nan], [1.0, np.inf], [[1.0, 2.0], [3.0, 4.0]]])
def test_an_interval_needs_two_finite_numbers(values):
    with pytest.raises(ValueError, match="two finite numbers or more"):
        empirical("too little", values, low=0)


@pytest.mark.parametrize("bounds", [{}, {"low": 1, "high": 0}, {"low": np.nan}])
def test_an_interval_needs_bounds_in_order(bounds):
    with pytest.raises(ValueError, match="at least one bound, with low ≤ high"):
        empirical("no bounds", [1, 2], **bounds)


# --- the ledger --------------------------------------------------------------------------------------------------


def test_statements_are_handed_over_once_in_the_order_in_which_they_were_made():
    made_statements()
    statements = [
        exact("a", 1, 1),
        numeric("b", lambda A: False, expected=False, A=matrices("m", "n")),
        empirical("c", [1, 2], low=50),
    ]
    with pytest.raises(TypeError):
        exact("d", 0.5, 1)
    assert made_statements() == statements
    assert made_statements() == []
    assert [(s.kind, s.name, s.holds, s.expected, s.as_expected) for s in statements] == [
        ("exact", "a", True, True, True),
        ("numeric", "b", False, False, True),
        ("empirical", "c", False, True, False),
    ]


def test_a_statement_cannot_be_changed_afterwards():
    statement = exact("a", 1, 2)
    assert isinstance(statement, Statement)
    with pytest.raises(AttributeError):
        statement.holds = True
