"""The verifier: true equations pass, false ones fail, and what it cannot read or look up is said, never passed over."""

import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import nbformat
import numpy as np
import pytest
import sympy
import torch
from verified_math import check
from verified_math.citations import load_works
from verified_math.grammar import parse
from verified_math.mutations import mutated_digits, mutated_expressions, slips
from verified_math.numerals import numerals
from verified_math.session import Session
from verified_math.tokens import Unparsed

from lora_edu import exact
from lora_edu.statements import made_statements

ROOT = Path(__file__).resolve().parent.parent
rng = np.random.default_rng(0)
thin = rng.standard_normal((6, 4))
U, s, Vt = np.linalg.svd(thin, full_matrices=False)
torch.manual_seed(0)

EXACT = {
    "A": sympy.Matrix([[1, 2, 3], [4, 5, 6], [7, 8, 9]]),
    "C": sympy.Matrix([[1, 0, 2], [0, 1, 3], [4, 5, 0]]),
    "L": sympy.Matrix([[1, 2], [0, 1], [1, 3]]),
    "R": sympy.Matrix([[1, 0, -5], [0, 1, 4]]),
    "B": sympy.Matrix([[1, 2, 3], [0, 1, 4], [1, 3, 7]]),
    "sigma_1": sympy.sqrt((285 + 3 * sympy.sqrt(8881)) / 2),
    "sigma_2": sympy.sqrt((285 - 3 * sympy.sqrt(8881)) / 2),
    "sigma_3": sympy.Integer(0),
    "lam": sympy.Symbol("lambda"),
    "v": sympy.Matrix([1, -2, 1]),
    "m": 768,
    "n": 512,
    "r": 8,
    "p": Fraction(1, 3),
    "H": [[Fraction(1, i + j - 1) for j in range(1, 4)] for i in range(1, 4)],
    "primes": [2, 3, 5, 7, 11, 13],
}
FLOAT = {
    "A": thin,
    "U": U,
    "s": s,
    "V": Vt.T,
    "Sigma": np.diag(s),
    "r": 4,
    "n": 4,
    "k": 2,
    "W0": torch.randn(5, 7),
    "delta_W": torch.randn(5, 7),
    "B": rng.standard_normal((5, 2)),
    "M": rng.standard_normal((2, 2)),
    "x": rng.standard_normal(4),
    "y": rng.standard_normal(6),
    "alpha": 16,
    "eps": 2.0**-52,
    "P": np.diag([1.0, 1.0, 0.0]),
    "L": lambda a: a**3,
    "a": 2.0,
    "grad_a": 12.0,
    "delta": 1e-5,
    "accuracy": 0.8237,
    "ratio": 47.9996,
}
FLOAT["W_prime"] = FLOAT["W0"] + FLOAT["delta_W"]
FLOAT["A_2"] = (U[:, :2] * s[:2]) @ Vt[:2]
FLOAT["W_star"] = 2 * FLOAT["W0"]

TRUE_EXACT = [
    r"\operatorname{rank} A = 2",
    r"\operatorname{rank}(C) = 3, \qquad \operatorname{rank} B = 2",
    r"\det C = -23",
    r"\det A = 0",
    r"A = \begin{bmatrix} 1&2&3\\4&5&6\\7&8&9 \end{bmatrix}",
    r"B = L R = \begin{pmatrix}1&2\\0&1\\1&3\end{pmatrix} \begin{bmatrix}1&0&-5\\0&1&4\end{bmatrix}",
    r"A^T A = \begin{bmatrix} 66 & 78 & 90 \\ 78 & 93 & 108 \\ 90 & 108 & 126 \end{bmatrix}",
    r"\sigma_1 = \sqrt{\frac{285 + 3\sqrt{8881}}{2}}",
    r"\sigma_1 = \frac{\sqrt{321} + \sqrt{249}}{2}, \quad \sigma_2 = \frac{\sqrt{321}-\sqrt{249}}{2}",
    r"\sigma_{1,2} = \frac{\sqrt{321} \pm \sqrt{249}}{2}",
    r"\sigma_1 \sigma_2 = 18",
    r"\sigma_1^2 + \sigma_2^2 = 285 = \lVert A \rVert_F^2",
    r"\sigma_1 \approx 16.848103",
    r"\sigma_1 = 16.848\ldots",
    r"\sigma_1 > \sigma_2 > \sigma_3 \ge 0",
    r"\lambda(\lambda^2 - 285\lambda + 324) = \lambda^3 - 285\lambda^2 + 324\lambda",
    r"A v = 0",
    r"A \in \mathbb{R}^{3 \times 3}",
    r"L \in \mathbb{R}^{3 \times 2}, R \in \mathbb{R}^{2\times 3}",
    r"r(m + n) < mn",
    r"\frac{mn}{m+n} \approx 307",
    r"mn = 393{,}216 = 393\,216",
    r"\frac{1}{3} = p \approx 0.333",
    r"2^{10} = 1024",
    r"\sum_{k=1}^{10} k = 55 = \frac{10 \cdot 11}{2}",
    r"1 + 2 + \dots + 10 = 55",
    r"\binom{6}{2} = 15",
    r"\prod_{k=1}^{5} k = 5! = 120",
    r"\sqrt{901{,}800{,}900} = 30{,}030 = 2 \cdot 3 \cdot 5 \cdot 7 \cdot 11 \cdot 13",
    r"\sqrt[3]{27} = 3",
    r"C^{-1} C = I",
    r"\operatorname{tr} A = 15 = \operatorname{tr}(A^\top)",
    r"a_{12} = 2, \quad A_{2,3} = 6",
    r"H_{ij} = \frac{1}{i + j - 1}",
    r"\lvert -3 \rvert = 3 = |3|",
    r"\min(m, n) = 512 \le \max(m, n)",
    r"\lfloor 7/2 \rfloor = 3, \lceil 7/2 \rceil = 4",
    r"\begin{aligned} (m+n)^2 &= m^2 + 2mn + n^2 \\ &= 1{,}638{,}400 \end{aligned}",
    r"9 \cdot 10^7 = 90{,}000 \times 1{,}000",
    r"\frac{1}{4} = 25\,\%",
    r"\det C \ne 0",
    r"\log_2 1024 = 10",
    r"A \neq A^T",
    r"v \perp (1, 1, 1)",
    r"e^{0} = 1",
    r"m \in \{512, 768\}",
    r"\det(C^T) = \det C",
    r"\operatorname{rank} A \le \min(\operatorname{rank} L, 3)",
]
TRUE_FLOAT = [
    r"A = U \Sigma V^T",
    r"U^\top U = I",
    r"V^T V = I = V V^T",
    r"A v_i = \sigma_i u_i",
    r"A = \sum_{i=1}^{r} \sigma_i u_i v_i^\top",
    r"A = \sigma_1 u_1 v_1^T + \sigma_2 u_2 v_2^T + \dots + \sigma_r u_r v_r^T",
    r"\sigma_1 \ge \sigma_2 \ge \dots \ge 0",
    r"\lVert A \rVert_2 = \sigma_1",
    r"\|A\|_F^2 = \sum_i \sigma_i^2 = \sigma_1^2 + \dots + \sigma_n^2",
    r"\lVert A - A_2 \rVert_F = \sqrt{\sigma_3^2 + \sigma_4^2}",
    r"\lVert A - A_k \rVert_2 = \sigma_{k+1}",
    r"\lVert A - A_2\rVert_F^2 = \sum_{j > k} \sigma_j^2",
    r"W' = W_0 + \Delta W",
    r"\Delta W = W' - W_0",
    r"W^* = 2 W_0",
    r"x^T x = \lVert x \rVert^2 = \langle x, x \rangle",
    r"(A x) \cdot y = x \cdot (A^T y)",
    r"B M M^{-1} = B",
    r"\operatorname{rank}(A) = 4, \operatorname{rank} P = 2",
    r"\det P = 0",
    r"\varepsilon = 2^{-52} \approx 2.22 \cdot 10^{-16}",
    r"\frac{\partial L}{\partial a} \approx \frac{L(a + \delta) - L(a - \delta)}{2\delta}",
    r"L(a) = 8",
    r"A \in \mathbb{R}^{6 \times 4}, x \in \mathbb{R}^4",
    r"P^2 = P",
    r"\operatorname{accuracy} \approx 0.82, \quad \mathrm{accuracy} \approx 82.4\,\%",
    r"\mathrm{ratio} \approx 48",
    r"\operatorname{tr}(A^T A) = \lVert A \rVert_F^2",
    r"A^+ A = I",
    r"\alpha / k = 8",
]
FALSE_EXACT = [
    r"\operatorname{rank} A = 3",
    r"\operatorname{rank} A < \operatorname{rank} B",
    r"\det C = 23",
    r"A = \begin{bmatrix} 1&2&3\\4&5&6\\7&8&8 \end{bmatrix}",
    r"A = \begin{bmatrix} 1&2&3\\4&5&6 \end{bmatrix}",
    r"B = R L",
    r"B = \begin{bmatrix}1&2\\0&1\\1&3\end{bmatrix} \begin{bmatrix}1&0&5\\0&1&4\end{bmatrix}",
    r"A^T A = \begin{bmatrix} 66 & 78 & 90 \\ 78 & 93 & 108 \\ 90 & 108 & 127 \end{bmatrix}",
    r"A A^T = A^T A",
    r"\sigma_1 = \sqrt{\frac{285 - 3\sqrt{8881}}{2}}",
    r"\sigma_{1,2} = \frac{\sqrt{321} \mp \sqrt{249}}{2}",
    r"\sigma_1 \sigma_2 = 19",
    r"\sigma_1^2 + \sigma_2^2 = 258",
    r"\sigma_1 \approx 16.848104",
    r"\sigma_2 \approx 1.068369",
    r"\sigma_2 = 1.0684\dots",
    r"\sigma_1 < \sigma_2",
    r"\sigma_1 > \sigma_3 > \sigma_2",
    r"\lambda(\lambda^2 - 285\lambda + 324) = \lambda^3 - 285\lambda^2 + 342\lambda",
    r"A v = v",
    r"v A = 0",
    r"A \in \mathbb{R}^{3 \times 2}",
    r"L \in \mathbb{R}^{2 \times 3}",
    r"r(m + n) > mn",
    r"\frac{mn}{m+n} \approx 308",
    r"mn = 393{,}261",
    r"p \approx 0.334",
    r"2^{10} = 1042",
    r"\sum_{k=1}^{10} k = 56",
    r"\sum_{k=0}^{9} k = 55",
    r"1 + 2 + \dots + 9 = 55",
    r"\binom{6}{2} = \binom{6}{3}",
    r"\sqrt{901{,}800{,}900} = 30{,}003",
    r"\sqrt{901{,}800{,}900} \approx 30{,}000.0",
    r"C^{-1} = C",
    r"A^{-1} A = I",
    r"\operatorname{tr} A = 16",
    r"a_{21} = 2",
    r"A_{4,1} = 0",
    r"H_{ij} = \frac{1}{i + j}",
    r"\min(m, n) = 768",
    r"\lceil 7/2 \rceil = 3",
    r"\begin{aligned} (m+n)^2 &= m^2 + 2mn + n^2 \\ &= 1{,}638{,}401 \end{aligned}",
    r"9 \cdot 10^6 = 90{,}000 \times 1{,}000",
    r"\frac{1}{4} = 26\,\%",
    r"\det A \ne 0",
    r"A = A^T",
    r"1/0 = 1",
    r"\det L = 1",
    r"m \notin \{512, 768\}",
]
FALSE_FLOAT = [
    r"A = U \Sigma V",
    r"A = V \Sigma U^T",
    r"U U^\top = I",
    r"A v_i = \sigma_i v_i",
    r"A v_i = \sigma_j u_i",
    r"A = \sum_{i=1}^{3} \sigma_i u_i v_i^\top",
    r"A = \sum_{i=1}^{r} \sigma_i v_i u_i^\top",
    r"A = \sigma_1 u_1 v_1^T - \sigma_2 u_2 v_2^T + \dots + \sigma_r u_r v_r^T",
    r"\sigma_1 \le \sigma_2 \le \dots",
    r"\lVert A \rVert_2 = \sigma_2",
    r"\|A\|_F = \sum_i \sigma_i^2",
    r"\lVert A \rVert_2 = \lVert A \rVert_F",
    r"\lVert A - A_k \rVert_2 = \sigma_k",
    r"\lVert A - A_2 \rVert_F = \sqrt{\sigma_2^2 + \sigma_4^2}",
    r"W' = W_0 - \Delta W",
    r"W' = \Delta W",
    r"x^T x = \lVert x \rVert",
    r"(A x) \cdot y = x \cdot (A y)",
    r"M B = B M",
    r"\operatorname{rank} P = 3",
    r"\varepsilon = 2^{-53}",
    r"\varepsilon \approx 2.23 \cdot 10^{-16}",
    r"\varepsilon \approx 2.22 \cdot 10^{-15}",
    r"\frac{\partial L}{\partial a} \approx \frac{L(a + \delta) - L(a - \delta)}{\delta}",
    r"L(a) = 9",
    r"A \in \mathbb{R}^{4 \times 6}",
    r"\mathrm{accuracy} \approx 0.83",
    r"\mathrm{accuracy} = 82.3\,\%",
    r"\mathrm{ratio} = 48",
    r"P \ne P^2",
]


@pytest.mark.parametrize("latex", TRUE_EXACT)
def test_a_true_equation_is_true_in_exact_arithmetic(latex):
    assert {verdict.status for verdict in check(latex, EXACT)} == {"true"}, check(latex, EXACT)


@pytest.mark.parametrize("latex", TRUE_FLOAT)
def test_a_true_equation_is_true_in_floating_point(latex):
    assert {verdict.status for verdict in check(latex, FLOAT)} == {"true"}, check(latex, FLOAT)


@pytest.mark.parametrize("latex", FALSE_EXACT)
def test_a_false_equation_is_false_in_exact_arithmetic(latex):
    assert "false" in {verdict.status for verdict in check(latex, EXACT)}, check(latex, EXACT)


@pytest.mark.parametrize("latex", FALSE_FLOAT)
def test_a_false_equation_is_false_in_floating_point(latex):
    assert "false" in {verdict.status for verdict in check(latex, FLOAT)}, check(latex, FLOAT)


def test_there_are_sixty_true_and_sixty_false_equations():
    assert len(TRUE_EXACT + TRUE_FLOAT) >= 60 and len(FALSE_EXACT + FALSE_FLOAT) >= 60


def test_exact_means_that_no_float_came_in():
    assert {verdict.kind for verdict in check(r"\sigma_1 \sigma_2 = 18", EXACT)} == {"exact"}
    assert {verdict.kind for verdict in check(r"\operatorname{rank} P = 2", FLOAT)} == {"numeric"}


@pytest.mark.parametrize("latex", [r"\sigma_9 = 1", r"Q = 1", r"q_i = 0", r"f(3) = 2", r"A = \Xi"])
def test_a_name_that_is_bound_to_nothing_is_said(latex):
    assert check(latex, EXACT)[0].status == "unbound"


@pytest.mark.parametrize(
    "latex",
    [
        r"\frac{1}{2",
        r"A = ",
        r"= A",
        r"A \propto B",
        r"x \sim N(0, 1)",
        r"\foo{A} = 1",
        r"(A = 1",
        r"1/2r = 3",
        r"a \to b",
    ],
)
def test_what_cannot_be_read_or_decided_is_said(latex):
    assert "unparsed" in {verdict.status for verdict in check(latex, EXACT)}


@pytest.mark.parametrize("value", ["text", None, {"a": 1}, True, object()])
def test_a_name_bound_to_no_number_is_said(value):
    assert check("z = 1", {"z": value})[0].status == "unbound"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_tolerance_follows_the_coarsest_float(dtype):
    x = torch.randn(40, dtype=torch.float64)
    names = {"x": x, "y": x.to(dtype)}
    assert check("x = y", names)[0].status == "true"
    assert check("x = 1.5 y", names)[0].status == "false"


def test_products_are_not_commuted_and_shapes_must_fit():
    wide, tall = rng.standard_normal((2, 3)), rng.standard_normal((3, 2))
    names = {"A": wide, "B": tall, "C": wide @ tall}
    assert check("AB = C", names)[0].holds
    assert not check("BA = C", names)[0].holds
    assert "does not fit" in check("A A = C", names)[0].detail


@pytest.mark.parametrize("noise", [1.19e-16, -1.12e-16, -0.0])
def test_a_verdict_shows_no_digits_that_are_only_rounding(noise):
    names = {"A": np.array([[3.0, noise], [1e-9, 2.0]]), "B": np.array([[3.0, 0.0], [1e-9, 2.0]])}
    assert check("A = B", names)[0].detail == "[[3, 0], [1e-09, 2]] = [[3, 0], [1e-09, 2]]"


# prose


def numbers_in(text):
    return [(numeral.text.strip(), float(numeral.value), numeral.relation) for numeral in numerals(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The answer is 5, 8 and 9.", [("5", 5, "="), ("8", 8, "="), ("9", 9, "=")]),
        ("a share of 99.60 % of it", [("99.60 %", 0.996, "=")]),
        ("22.6 million parameters", [("22.6 million", 22.6e6, "=")]),
        ("90,000 × 1,000 entries", [("90,000", 90000, "="), ("1,000", 1000, "=")]),
        ("from −4 to 4", [("−4", -4, "="), ("4", 4, "=")]),
        ("more than 3 points, at most 10", [("3", 3, ">"), ("10", 10, "≤")]),
        ("about 40 of them", [("40", 40, "≈")]),
        ("9·10⁷ numbers, 10⁻¹⁶ apart", [("9·10⁷", 9e7, "="), ("10⁻¹⁶", 1e-16, "=")]),
        ("below 1e-12", [("1e-12", 1e-12, "<")]),
        ("a 6B model with 175B beside it", [("6B", 6e9, "="), ("175B", 175e9, "=")]),
        ("float64, W2, v2.1, MiniLM-L6, E17 and x86_64 are names", []),
        ("30–50 minutes", [("30", 30, "="), ("50", 50, "=")]),
        ("½ of it", [("½", 0.5, "=")]),
        ("the 60° turn", [("60", 60, "=")]),
    ],
)
def test_numbers_in_prose_are_found(text, expected):
    assert numbers_in(text) == [(shown, pytest.approx(value), relation) for shown, value, relation in expected]


@pytest.fixture(scope="module")
def works():
    return load_works(ROOT / "book" / "references.bib", ROOT / "book" / "quoted.yml")


@pytest.fixture(autouse=True)
def _without_the_statements_of_other_tests():
    made_statements()


def verdicts(works, markdown, names, next_code="", code_names=None):
    session = Session("06_rank", dict(names), works, {"Rank": 6, "Auditing LoRA code": 19})
    session.markdown("c06-01", markdown, next_code)
    if code_names is not None:
        session.names.update(code_names)
        session.code("c06-02", {})
    return [record.status for record in session.finish()]


@pytest.mark.parametrize(
    ("markdown", "expected"),
    [
        ("It holds $A = 3$.", ["true"]),
        ("It holds $A = 4$.", ["false"]),
        ("It is 3.<!--= A -->", ["true"]),
        ("It is 4.<!--= A -->", ["false"]),
        ("It is 3.", ["unsupported"]),
        ("It is 3.<!--= 3 -->", ["false"]),  # a constant proves nothing
        ("It is 3 and 5.<!--= A; b -->", ["true", "true"]),
        ("It is 3 and 5.<!--= [A, b] -->", ["true", "true"]),
        ("It is 3 and 5.<!--= A -->", ["false", "false"]),  # one value for two numbers
        ("It is 3<!--= A --> and 6.<!--= b -->", ["true", "false"]),
        ("More than 2<!--= A --> and less than 3.<!--= A -->", ["true", "false"]),
        ("About $2A$ of it.<!--= 2 * A -->", ["true"]),
        ("About $3A$ of it.<!--= 2 * A -->", ["false"]),
        ("A $3 \\times 5$ matrix.<!--= M.shape -->", ["true", "true"]),
        ("A $5 \\times 3$ matrix.<!--= M.shape -->", ["false", "false"]),
        ("In 1847.<!-- exempt: a year -->", ["exempt"]),
        ("Only $A$ and $M$ are named.", []),
        ("In code `x[3]` nothing is said.", []),
        ("[Chapter 7](07_svd.ipynb) builds it.", ["true"]),
        ("[Chapter 8](07_svd.ipynb) builds it.", ["false"]),
        ('Chapter 19<!--= chapter("Auditing") --> audits.', ["true"]),
        ('Chapter 18<!--= chapter("Auditing") --> audits.', ["false"]),
        ("(Hu et al. 2021, arXiv:2106.09685, §4.1)", ["true"] * 3),
        ("(Hu et al. 2021, arXiv:2106.09686, §4.1)", ["unparsed"] * 3),
        ("Queries alone gave 70.4 (Hu et al. 2021, Table 5).", ["true"] * 3),
        ("Queries alone gave 71.4321 (Hu et al. 2021, Table 5).", ["false", "true", "true"]),
        ("| a | b |\n|---|---|\n| 3 | 5 |\n\n<!--= A; b -->", ["true", "true"]),
        ("| a | b |\n|---|---|\n| 3 | 6 |\n\n<!--= A; b -->", ["true", "false"]),
        ("<!-- let q = A + 1 -->\n\n$q = 4$", ["true"]),
        ("$$\n\\begin{aligned} A &= 3 \\\\ &= 1 + 2 \\end{aligned}\n$$", ["true"]),
        ("*Chapter 6 · about 40 minutes · runs in 8 s on two cores*", ["true", "exempt", "exempt"]),
        ("*Chapter 7 · about 40 minutes · runs in 8 s on two cores*", ["false", "exempt", "exempt"]),
        ("$A \\otimes$ is no formula", ["unparsed"]),
    ],
)
def test_a_cell_of_prose_gets_its_verdicts(works, markdown, expected):
    assert verdicts(works, markdown, {"A": 3, "b": 5, "M": np.zeros((3, 5))}) == expected


def test_an_equation_may_stand_right_before_the_cell_that_binds_its_names(works):
    assert verdicts(works, "$q = 4$", {}, "q = 4", {"q": 4}) == ["true"]
    assert verdicts(works, "$q = 5$", {}, "q = 4", {"q": 4}) == ["false"]
    assert verdicts(works, "$q = 5$", {}, "p = 4", {"p": 4}) == ["unbound"]
    assert verdicts(works, "$q = 5$", {}) == ["unbound"]


def test_a_heading_of_an_exercise_must_name_the_exercise_that_follows(works):
    stub = 'def f(x):\n    """Do."""\n    ...\n\n\ncheck("06.1", f)'
    assert verdicts(works, "### Exercise 06.1 · a title", {}, stub) == ["true"]
    assert verdicts(works, "### Exercise 06.2 · a title", {}, stub) == ["false"]


def test_a_general_equation_is_tried_on_many_inputs(works):
    from lora_edu import exact_rank, matrices, numeric

    P, S = matrices("m", "n", integers=True), matrices("m", "n", integers=True)
    names = {"sum_rule": numeric("of a sum", lambda P, S: exact_rank(P + S) <= exact_rank(P) + exact_rank(S), P=P, S=S)}
    right = (
        r"<!-- draws: sum_rule -->"
        + "\n\n"
        + r"$\operatorname{rank}(P+S) \le \operatorname{rank} P + \operatorname{rank} S$"
    )
    assert verdicts(works, right, names) == ["true"]
    for wrong in (
        right.replace(r"\le", r"\ge"),
        right.replace(r"\le", "="),
        right.replace("+ \\operatorname", "- \\operatorname"),
    ):
        assert verdicts(works, wrong, names) == ["false"]


def test_numbers_in_the_description_of_a_figure_need_evidence(works):
    for given, expected in [
        (["A"], ["true"]),
        (["A + 1"], ["false"]),
        ([], ["unsupported"]),
        (["exempt: a label"], ["exempt"]),
    ]:
        session = Session("06_rank", {"A": 3}, works)
        session.code("c06-03", {"mystnb": {"image": {"alt": "A line that ends at 3."}}, "verify": given})
        assert [record.status for record in session.finish()] == expected


def test_a_statement_in_code_that_is_not_as_expected_fails(works):
    session = Session("06_rank", {}, works)
    exact("two and two", 4, 4)
    exact("two and three", 5, 4)
    exact("wrong on purpose", 5, 4, expected=False)
    session.code("c06-03", {})
    assert [record.status for record in session.finish()] == ["true", "false", "true"]


# the commands


def notebook(folder, *cells):
    kinds = {"m": nbformat.v4.new_markdown_cell, "c": nbformat.v4.new_code_cell}
    path = folder / "06_small.ipynb"
    book = nbformat.v4.new_notebook(cells=[kinds[kind](source) for kind, source in cells])
    nbformat.write(book, path)
    return path


def command(module, *arguments):
    environment = os.environ | {"PYTHONPATH": str(ROOT / "book")}
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )


def test_the_command_passes_a_true_chapter_and_fails_a_false_one(tmp_path):
    code = ("c", "import numpy as np\nA = np.arange(6.0).reshape(2, 3)\nG = A @ A.T")
    good = command(
        "verified_math", notebook(tmp_path, code, ("m", r"Then $G = A A^T$ has $\operatorname{tr} G = 55$."))
    )
    assert good.returncode == 0, good.stdout + good.stderr
    assert good.stdout.splitlines()[-1] == "2 statements in 1 pages; 0 not verified"
    bad = command("verified_math", notebook(tmp_path, code, ("m", r"Then $G = A^T A$ has $\operatorname{tr} G = 56$.")))
    assert bad.returncode == 1
    assert "FALSE" in bad.stdout and r"\operatorname{tr} G = 56" in bad.stdout and "55 = 56" in bad.stdout


def test_what_the_prose_draws_does_not_change_what_the_next_cell_draws(tmp_path):
    seeds = "import random\nimport numpy as np\nimport torch\nrandom.seed(0), np.random.seed(0), torch.manual_seed(0)"
    draw = "random.random(), np.random.rand(), torch.rand(1).item()"
    prose = "<!-- let u = random.random() + np.random.rand() + torch.rand(1).item() -->\n\nNow $0 < u$."
    cells = [("c", f"{seeds}\nexpected = {draw}"), ("c", seeds), ("m", prose), ("c", f"assert ({draw}) == expected")]
    result = command("verified_math", notebook(tmp_path, *cells))
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_command_fails_when_a_cell_fails_or_a_chapter_is_missing(tmp_path):
    broken = command("verified_math", notebook(tmp_path, ("c", "1 / 0")))
    assert broken.returncode == 1 and "ZeroDivisionError" in broken.stdout
    missing = command("verified_math", tmp_path / "07_nothing.ipynb")
    assert missing.returncode == 2 and "07_nothing" in missing.stderr


def test_slips_are_noticed_or_reported(tmp_path):
    cells = [("c", "x, y = 3, 4\nassert x + 1 == y"), ("m", "We have $x + 1 = y$ and $x < 10$; it is 4.<!--= y -->")]
    result = command("verified_math.mutate", notebook(tmp_path, *cells))
    assert "sign in an equation" in result.stdout and "expectation of an assertion" in result.stdout
    assert "digit in an equation: 10 → 11" in result.stdout  # x < 11 is true as well: a survivor, and it is said
    assert result.returncode == 1


def test_slips_in_a_formula_are_of_every_kind():
    (statement,) = parse(r"A^T B_1 = \sum_{i=1}^{3} \sigma_i u_i - 2 \cdot x \le 7")
    kinds = {slip.kind for slip in slips(statement)}
    assert {"digit", "sign", "operator", "index", "transpose", "relation"} <= kinds


def test_slips_in_numbers_and_expressions_change_one_thing():
    (numeral,) = numerals("16.85")
    assert {change for change, _ in mutated_digits(numeral)} == {"16.85 → 26.85", "16.85 → 16.86"}
    changed = {code for _, code in mutated_expressions("A.T @ b[0] + 1")}
    assert {"A @ b[0] + 1", "A.T @ b[1] + 1", "A.T @ b[0] + 2", "A.T @ b[0] - 1"} <= changed


def test_the_parser_reads_every_formula_of_the_book():
    from verified_math.reading import Formula, blocks

    pages = [*sorted((ROOT / "chapters").glob("*.ipynb")), *sorted((ROOT / "book").glob("*.ipynb"))]
    sources = [cell.source for page in pages for cell in nbformat.read(page, 4).cells if cell.cell_type == "markdown"]
    sources += [(ROOT / "book" / name).read_text(encoding="utf-8") for name in ("notation.md", "ledger.md")]
    formulas = [
        piece for text in sources for block in blocks(text) for piece in block.pieces if isinstance(piece, Formula)
    ]
    assert len(formulas) > 500
    for formula in formulas:
        try:
            parse(formula.latex)
        except Unparsed as error:
            pytest.fail(f"{formula.latex!r}: {error}")


def test_the_ledger_of_the_built_book_is_complete_and_true():
    """Written by `make book`, which verifies each page that is a notebook before it builds."""
    pages = [*sorted((ROOT / "chapters").glob("*.ipynb")), *sorted((ROOT / "book").glob("*.ipynb"))]
    for page in pages:
        data = json.loads((ROOT / "_build" / "verified" / f"{page.stem}.json").read_text(encoding="utf-8"))
        assert data["records"], page
        assert {record["status"] for record in data["records"]} <= {"true", "exempt"}, page
