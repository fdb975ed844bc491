"""Every exercise: the stub is open, the solution passes, and each wrong answer is told exactly what it did."""

import ast
import copy
import math
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from scipy import stats

from lora_edu.bottleneck import BottleneckAdapter
from lora_edu.exercises import EXERCISES, Exercise, Mistake, check
from lora_edu.exercises.counts import adapter_numbers
from lora_edu.exercises.engine import judge, same

CHAPTERS = sorted((Path(__file__).parents[1] / "chapters").glob("*.ipynb"))
MISTAKES = [(key, n) for key, exercise in EXERCISES.items() for n in range(len(exercise.mistakes))]


def cases_of(exercise):
    return list(exercise.cases(np.random.default_rng(0)))


# --- the exercises -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", EXERCISES)
@pytest.mark.parametrize("stub", [lambda *a: ..., lambda *a: None], ids=["...", "None"])
def test_a_stub_is_open_neither_right_nor_wrong(key, stub):
    verdict = check(key, stub)
    assert (verdict.state, bool(verdict)) == ("open", False)
    assert EXERCISES[key].title in verdict.message and repr(verdict).startswith(f"○ Exercise {key}: ")


@pytest.mark.parametrize("key", EXERCISES)
def test_the_solution_passes(key):
    verdict = check(key, EXERCISES[key].solution)
    assert verdict and verdict.state == "passed", verdict
    assert f"right on all {len(cases_of(EXERCISES[key]))} inputs tried" in verdict.message


@pytest.mark.parametrize(("key", "n"), MISTAKES)
def test_every_mistake_is_told_its_own_diagnosis(key, n):
    mistake = EXERCISES[key].mistakes[n]
    verdict = check(key, mistake.answer)
    assert verdict.state == "failed" and verdict.message == mistake.diagnosis


@pytest.mark.parametrize("key", EXERCISES)
def test_there_are_three_mistakes_or_more_each_with_a_sentence_of_its_own(key):
    diagnoses = [mistake.diagnosis for mistake in EXERCISES[key].mistakes]
    assert len(diagnoses) >= 3 and len(set(diagnoses)) == len(diagnoses)
    for diagnosis in diagnoses:
        assert diagnosis.endswith(".") and 30 < len(diagnosis) < 200, diagnosis


@pytest.mark.parametrize("key", EXERCISES)
def test_the_inputs_are_several_and_the_same_every_time(key):
    first, second = cases_of(EXERCISES[key]), cases_of(EXERCISES[key])
    assert len(first) >= 3
    assert all(same_case(a, b) for a, b in zip(first, second, strict=True))


def same_case(a, b):
    return all(
        str(x) == str(y) if not isinstance(x, np.ndarray) else np.array_equal(x, y) for x, y in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("key", EXERCISES)
def test_solutions_and_mistakes_leave_their_inputs_alone(key):
    exercise = EXERCISES[key]
    for answer in [exercise.solution, *(mistake.answer for mistake in exercise.mistakes)]:
        for case in cases_of(exercise):
            before = copy.deepcopy(case)
            answer(*case)
            assert same_case(case, before)


@pytest.mark.parametrize("key", EXERCISES)
def test_an_answer_that_raises_is_told_its_error(key):
    def answer(*args):
        raise ZeroDivisionError("division by zero")

    verdict = check(key, answer)
    assert verdict.state == "failed"
    assert verdict.message.startswith("your function raised ZeroDivisionError: division by zero. Input: ")


@pytest.mark.parametrize("key", EXERCISES)
@pytest.mark.parametrize(
    "wrong",
    ["nonsense", -math.pi, (), [[]], np.full((2, 9), 7.5), {"a": 1}, torch.zeros(3)],
    ids=lambda w: type(w).__name__,
)
def test_a_wrong_answer_that_nobody_expected_is_shown_where_it_differs(key, wrong):
    verdict = check(key, lambda *args: wrong)
    assert verdict.state == "failed"
    assert verdict.message.startswith("not yet. For ") and "your function gives " in verdict.message
    assert len(verdict.message) < 1200


@pytest.mark.parametrize("key", EXERCISES)
def test_a_small_error_in_one_input_alone_is_noticed(key):
    """Right everywhere but in the last input tried."""
    exercise, seen = EXERCISES[key], []
    last = len(cases_of(exercise))

    def answer(*case):
        seen.append(case)
        right = exercise.solution(*case)
        return "nothing of the kind" if len(seen) == last else right

    assert check(key, answer).state == "failed"


def test_a_call_instead_of_a_function_is_refused_with_the_reason():
    with pytest.raises(TypeError, match=r"exercise 06.1 takes a function, not int: leave out the \(\)"):
        check("06.1", 3)


def test_an_unknown_key_is_refused_with_the_known_ones():
    with pytest.raises(KeyError, match=r"no exercise '99.1'; there are 01.1, 01.2"):
        check("99.1", lambda: 1)


# --- what learners write --------------------------------------------------------------------------------------------


def whole_groups(count=round, last=lambda own, n: own[len(own) - n :], out=list):
    def rows_for_test(groups, labels, share):
        taken = []
        for label in set(labels):
            own = list(dict.fromkeys(g for g, its in zip(groups, labels, strict=True) if its == label))
            taken += last(own, count(share * len(own)))
        return out(row for row, group in enumerate(groups) if group in taken)

    return rows_for_test


def words_in(text):
    return tuple(re.findall(r"\w+", text.lower()))


OTHER_WAYS = {
    "a NumPy word": ("02.1", lambda parts: np.str_(EXERCISES["02.1"].solution(parts))),
    "a NumPy float": ("02.2", lambda L, d, m, n: np.float64(L) * (d * m + m + m * d + d + n * d + n * d)),
    "a loop over layers": ("02.2", lambda L, d, m, n: sum(2 * m * d + d + m + 2 * n * d for _ in range(L))),
    "a tensor": ("02.2", lambda L, d, m, n: torch.tensor(L * (2 * m * d + d + m + 2 * n * d))),
    "an if at one half": ("02.3", lambda n, share: 8 * round(share * n) if share < 0.5 else 4 * n),
    "half rounded up": ("02.3", lambda n, share: min(8 * int(share * n + 0.5), 4.0 * n)),
    "a sum over layers": ("02.4", lambda b, s, L, d, h: sum(4 * b * s * (11 * d + 3 * h * s) for _ in range(L))),
    "diagonal matrices": ("02.5", lambda W, b, ell: [np.diag(ell) @ W, np.diag(ell) @ b]),
    "tensors in a pair": ("02.5", lambda W, b, ell: (torch.tensor((W.T * ell).T), torch.tensor(ell * b))),
    "lists of lists": ("02.5", lambda W, b, ell: ((ell[:, None] * W).tolist(), (ell * b).tolist())),
    "row by row": ("03.1", lambda h, D, b, U, c: [x + U @ np.where(D @ x + b > 0, D @ x + b, 0) + c for x in h]),
    "a search": ("03.3", lambda n, L, d: max(m for m in range(1, 999) if 2 * L * (2 * m * d + d + m) <= n)),
    "a sum over tokens": (
        "03.4",
        lambda G, H, D: sum(np.outer(g, np.tanh(D @ x)) for g, x in zip(G.T, H.T, strict=True)),
    ),
    "written out": ("03.5", lambda W, b, D, f, U, c: [W + U @ (D @ W), b + U @ (D @ b + f) + c]),
    "a tuple of places": ("20.1", lambda texts: tuple([words_in(t) for t in texts].index(words_in(x)) for x in texts)),
    "an array of places": (
        "20.1",
        lambda texts: np.array([[words_in(t) for t in texts].index(words_in(x)) for x in texts]),
    ),
    "an array of rows": ("20.2", whole_groups(out=lambda rows: np.array(list(rows)))),
    "a list of rows": ("20.2", whole_groups()),
    "a list of ends": ("20.3", lambda right, n: EXERCISES["20.3"].solution(right, n).tolist()),
    "a tuple of ends": ("20.3", lambda right, n: tuple(EXERCISES["20.3"].solution(right, n))),
    "a binomial test": ("20.5", lambda b, w: stats.binomtest(b, b + w).pvalue),
}


@pytest.mark.parametrize("way", OTHER_WAYS)
def test_a_right_answer_may_be_written_in_another_way(way):
    verdict = check(*OTHER_WAYS[way])
    assert verdict, verdict


SLIPS = [
    ("02.1", lambda parts: "hybrid" if len(parts) > 1 else EXERCISES["02.1"].solution(parts), "two adapters"),
    ("02.1", lambda parts: EXERCISES["02.1"].solution(parts).capitalize(), "small letter"),
    ("02.2", lambda L, d, m, n: L * (2 * m * d + m + 2 * n * d), "bias behind the bottleneck"),
    ("02.2", lambda L, d, m, n: (L - 1) * (2 * m * d + d + m + 2 * n * d), "one layer too few"),
    ("02.2", lambda L, d, m, n: [L * (2 * m * d + d + m + 2 * n * d)], "a list"),
    ("02.2", lambda L, d, m, n: L * (2 * n * d + d + n + 2 * m * d), "exchanged"),
    ("02.3", lambda n, share: min(8 * int(share * n), 4 * n), "down"),
    ("02.3", lambda n, share: min(8 * math.ceil(share * n), 4 * n), "up"),
    ("02.3", lambda n, share: min(8 * share * n, 4 * n), "a part of a parameter"),
    ("02.3", lambda n, share: 8 * min(8 * round(share * n), 4 * n), "bits"),
    ("02.4", lambda b, s, L, d, h: 32 * b * s * L * (11 * d + 3 * h * s), "bits"),
    ("02.4", lambda b, s, L, d, h: 4 * b * s * L * (9 * d + 3 * h * s), "one row, kept once"),
    ("02.4", lambda b, s, L, d, h: 4 * s * L * (11 * d + 3 * h * s), "one text"),
    ("02.5", lambda W, b, ell: ell[:, None] * W, "weight alone"),
    ("02.5", lambda W, b, ell: (ell * b, ell[:, None] * W), "exchanged"),
    ("02.5", lambda W, b, ell: ((ell[:, None] * W).T, ell * b), "transpose"),
    ("03.3", lambda n, L, d: (n // (2 * L) - d) // (2 * d), "bottleneck's bias"),
    ("03.4", lambda G, H, D: H @ np.tanh(D @ G).T, "exchanged"),
    ("03.5", lambda W, b, D, f, U, c: (W + U @ D @ W, b + U @ (D @ b + f)), "b_up"),
    (
        "20.1",
        lambda texts: [[t.lower().strip(" .!?") for t in texts].index(x.lower().strip(" .!?")) for x in texts],
        "ends",
    ),
    ("20.2", whole_groups(int), "rounded down"),
    ("20.2", whole_groups(math.ceil), "rounded up"),
    ("20.2", whole_groups(last=lambda own, n: own[-n:]), "own[-0:]"),
    ("20.3", lambda right, n: stats.binomtest(right, n).proportion_ci(method="wilson"), "more digits"),
    ("20.4", lambda score, share, seen: score - share * seen / (1 - share), "divided only"),
    ("20.5", lambda better, worse: stats.binomtest(better, better + worse, alternative="greater").pvalue, "both"),
]


@pytest.mark.parametrize(("key", "slip", "told"), SLIPS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_slip_is_named_however_it_is_written(key, slip, told):
    verdict = check(key, slip)
    assert verdict.state == "failed" and told in verdict.message, verdict
    assert verdict.message in [mistake.diagnosis for mistake in EXERCISES[key].mistakes]


def test_the_numbers_of_an_adapter_are_those_of_the_real_one():
    real = BottleneckAdapter(torch.nn.Linear(24, 16), bottleneck=5)
    assert adapter_numbers(16, 5) == sum(p.numel() for part in (real.down, real.up) for p in part.parameters())


# --- the engine --------------------------------------------------------------------------------------------------


def exercise_of(solution=lambda x: 2 * x, mistakes=(), accepts=None):
    return Exercise("00.1", "double", solution, lambda rng: [(1.0,), (rng.random(3),), (4,)], mistakes, accepts)


def test_a_mistake_is_recognised_only_where_it_behaves_alike_on_every_input():
    tripled = Mistake(lambda x: 3 * x, "you tripled it.")
    assert judge(exercise_of(mistakes=(tripled,)), lambda x: 3 * x).message == "you tripled it."
    other = judge(exercise_of(mistakes=(tripled,)), lambda x: 3 * x if np.ndim(x) else 5 * x)
    assert other.message == "not yet. For 1 your function gives 5, but 2 is right."


def test_an_answer_may_change_its_input():
    def answer(x):
        if isinstance(x, np.ndarray):
            x *= 2
            return x
        return 2 * x

    assert judge(exercise_of(), answer)


def test_a_condition_takes_the_place_of_equality():
    accepts = lambda got, x: np.all(np.asarray(got) > x)  # noqa: E731
    assert judge(exercise_of(accepts=accepts), lambda x: x + 1)
    verdict = judge(exercise_of(accepts=accepts), lambda x: x - 1)
    assert verdict.message == "not yet. For 1 your function gives 0."


def test_the_verdict_shows_itself_in_a_notebook_with_its_text_escaped():
    verdict = judge(exercise_of(), lambda x: "<b>")
    assert "&lt;b&gt;" in verdict._repr_html_() and "<b>" not in verdict._repr_html_()
    assert 'class="exercise-verdict failed"' in verdict._repr_html_() and repr(verdict).startswith("✗ Exercise 00.1")
    assert repr(judge(exercise_of(), lambda x: 2 * x)).startswith("✓ Exercise 00.1: double: right on all 3")


def test_interrupting_the_kernel_is_no_wrong_answer():
    def answer(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judge(exercise_of(), answer)


@pytest.mark.parametrize(
    ("got", "expected", "equal"),
    [
        (2, 2.0, True),
        (1.0 + 1e-9, 1, True),
        (1.001, 1, False),
        (torch.tensor([1.0, 2]), np.array([1, 2]), True),
        (torch.tensor([1.0, 2], requires_grad=True), np.array([1, 2]), True),
        ([1, 2], np.array([1, 2]), True),
        (np.array([[1, 2]]), np.array([1, 2]), False),
        ((1, 2), (1, 2), True),
        ([1, 2], (1, 2), True),
        (np.array([1, 2]), (1, 2), True),
        (torch.tensor([[1.0, 2.0], [3.0, 4.0]]), [(1, 2), (3, 4)], True),
        (np.array(1), (1,), False),
        ((1, 2, 3), (1, 2), False),
        (5, (1, 2), False),
        (np.float64(math.nan), 1.0, False),
        ("yes", "yes", True),
        (True, True, True),
        (1, "1", False),
        ("x", 1.0, False),
        ("1", 1.0, False),
        (1 + 4j, 1.0, False),
        (["1", "2"], np.array([1, 2]), False),
        (None, 1.0, False),
        (object(), 1.0, False),
        ({}, 1.0, False),
    ],
)
def test_equality_is_up_to_rounding_and_item_by_item(got, expected, equal):
    assert same(got, expected) is equal


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (torch.ones(2, 9), "an array of shape (2, 9)"),
        (np.array([[1.0, 2.5]]), "[[1. , 2.5]]"),
        ((1, 0.123456789), "(1, 0.123457)"),
        ([1], "(1,)"),
        (np.float64(2), "2"),
        ("word", "word"),
        (torch.tensor(3.0), "3.0"),
    ],
)
def test_values_are_shown_short(value, text):
    verdict = judge(Exercise("00.2", "nothing", lambda x: 0, lambda rng: [(value,)], ()), lambda x: -1)
    assert verdict.message == f"not yet. For {text} your function gives -1, but 0 is right."


# --- the notebooks -----------------------------------------------------------------------------------------------


def cells_of(path, tag):
    return [c for c in nbformat.read(path, as_version=4).cells if tag in c.metadata.get("tags", ())]


def keys_in(path, tag):
    return [re.search(r'check\("([\d.]+)", *\w+\)\s*$', cell.source)[1] for cell in cells_of(path, tag)]


def namespace_of(path):
    """What the chapter imports, all but the rest of its code: enough for its solutions, which have to stand alone."""
    names = {}
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code" and not cell.source.lstrip().startswith(("%", "!")):
            imports = [n for n in ast.parse(cell.source).body if isinstance(n, ast.Import | ast.ImportFrom)]
            exec(compile(ast.Module(imports, []), path.name, "exec"), names)
    return names


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_a_chapter_has_its_exercises_each_with_one_stub_and_one_solution(path):
    expected = [key for key in EXERCISES if key.startswith(path.stem[:2] + ".")]
    assert 3 <= len(expected) <= 5
    assert keys_in(path, "exercise") == keys_in(path, "solution") == expected
    headings = [
        m
        for c in nbformat.read(path, as_version=4).cells
        for m in re.findall(r"^### Exercise ([\d.]+)", c.source, re.M)
    ]
    assert headings == expected


def test_no_exercise_is_without_its_chapter():
    assert {path.stem[:2] for path in CHAPTERS} == {key[:2] for key in EXERCISES}


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_the_stubs_in_the_chapter_are_open(path):
    names = namespace_of(path)
    for key, cell in zip(keys_in(path, "exercise"), cells_of(path, "exercise"), strict=True):
        functions = [n for n in ast.parse(cell.source).body if isinstance(n, ast.FunctionDef)]
        exec(compile(ast.Module(functions, []), key, "exec"), names)
        assert check(key, names[functions[-1].name]).state == "open"
        assert "open" in str(cell.outputs[0].data)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_the_solutions_in_the_chapter_pass(path):
    names = namespace_of(path)
    for key, cell in zip(keys_in(path, "solution"), cells_of(path, "solution"), strict=True):
        assert cell.source.startswith(f"# @title Solution {key}\n")
        functions = [n for n in ast.parse(cell.source).body if isinstance(n, ast.FunctionDef)]
        exec(compile(ast.Module(functions, []), key, "exec"), names)
        chapter, number = key.split(".")
        verdict = check(key, names[f"solution_{chapter}_{number}"])
        assert verdict.state == "passed", verdict
        assert "passed" in str(cell.outputs[0].data)
