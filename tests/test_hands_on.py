"""The figures that move: bad input in Python, and in headless Chromium every number that they show against NumPy.

A figure is mounted in three ways: by the page's module on the HTML that a cell puts out, by anywidget's contract with a
stand-in for its model, and in the built book. No way may make a request.
"""

import contextlib
import json
import re
from fractions import Fraction
from pathlib import Path

import execute
import mpmath
import nbformat
import numpy as np
import pytest

from lora_edu import exact_rank, factored_size
from lora_edu.costs import METHODS, OPTIMIZERS, PRECISIONS, SHAPES, flops_per_token, trained_parameters, training_bytes
from lora_edu.hands_on import HandsOn, calculator, rank_lab, rank_slider, svd_ellipse, update_spectra
from lora_edu.hands_on.picture import shrink
from lora_edu.hands_on.source import FOLDER, MODULES, page_module, style, widget_module

ROOT = Path(__file__).resolve().parent.parent
HTML = ROOT / "_build" / "html"
AXE = ROOT / "book" / "node_modules" / "axe-core" / "axe.min.js"
BOOK_CSS = ROOT / "book" / "_static" / "book.css"
SITE = "http://figures.test/"
COUNT = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
TENTHS = [[x / 10 for x in row] for row in COUNT]
KINDS = ("query", "value", "up")


def photograph(m=48, n=64, seed=3):
    """A picture with structure and grain, entries in [0, 1]."""
    rng = np.random.default_rng(seed)
    smooth = np.add.outer(np.sin(np.arange(m) / 7), np.cos(np.arange(n) / 11) ** 2)
    picture = smooth + 0.2 * rng.standard_normal((m, n))
    return (picture - picture.min()) / np.ptp(picture)


def spectra(seed=4, lengths=(40, 40, 30)):
    rng = np.random.default_rng(seed)
    return {
        (layer, kind): np.sort(np.exp(rng.normal(size=length) * 2 - 3))[::-1]
        for layer in range(3)
        for kind, length in zip(KINDS, lengths, strict=True)
    }


def every_figure() -> dict[str, HandsOn]:
    return {
        "rank-lab": rank_lab(COUNT),
        "svd-ellipse": svd_ellipse([[2, 2], [-1, 2]]),
        "rank-slider": rank_slider(photograph()),
        "update-spectra": update_spectra(spectra(), weights=spectra(5), random=spectra(6)),
        "calculator": calculator(),
    }


# ---- Python ----


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rank_lab(np.eye(2)), r"rank_lab takes a matrix of shape \(3, 3\), got \(2, 2\)"),
        (lambda: rank_lab([[1, 2, 3], [4, 5, 6], [7, 8, np.nan]]), "not finite"),
        (lambda: rank_lab([[1, 2, 3], [4, 5, 6], [7, 8, -2e6]]), r"up to 1e\+06 in size, got -2e\+06"),
        (lambda: svd_ellipse(np.eye(3)), r"svd_ellipse takes a matrix of shape \(2, 2\), got \(3, 3\)"),
        (lambda: svd_ellipse([[1, np.inf], [0, 1]]), "not finite"),
        (lambda: rank_slider(np.zeros((2, 2, 3))), r"got shape \(2, 2, 3\)"),
        (lambda: rank_slider(255 * photograph()), "entries from 0 to 1, got 0 to 255"),
        (lambda: rank_slider(np.zeros((5, 5))), "black all over"),
        (lambda: rank_slider(np.ones((1, 9)), k=1), r"at least 2 x 2 pixels, got \(1, 9\)"),
        (lambda: rank_slider(photograph(), k=0), r"k=0 must be between 1 and min\(m, n\)=48"),
        (lambda: rank_slider(photograph(), k=49), "k=49"),
        (lambda: calculator("7B"), "model='7B' is none of MiniLM, 1B, 6B"),
        (lambda: calculator(method="lora"), "method='lora' is none of full, LoRA"),
        (lambda: calculator(r=257), "r=257 must be between 1 and 256"),
        (lambda: calculator(batch=0), "batch=0 and length=32 must be at least 1"),
        (lambda: update_spectra({}), "spectra is empty"),
        (lambda: update_spectra({(0, "q"): [1, 2]}), "sorted downwards"),
        (lambda: update_spectra({(0, "q"): [0.0, 0.0]}), "the first above zero"),
        (lambda: update_spectra({(0, "q"): np.eye(2)}), "expected one row"),
        (lambda: update_spectra({(0, "q"): [2, np.nan]}), "not finite"),
        (lambda: update_spectra({"q": [2, 1]}, k=1), "a pair"),
        (lambda: update_spectra({(0, "q"): [2, 1]}, k=3), "k=3 must be between 1 and 2"),
        (lambda: update_spectra({(0, "q"): [2, 1]}, k=1, weights={(1, "q"): [2, 1]}), "must have the keys"),
    ],
)
def test_bad_input_is_refused_with_its_value(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_html_is_the_same_each_time_and_small():
    for (name, first), second in zip(every_figure().items(), every_figure().values(), strict=True):
        assert first._repr_html_() == second._repr_html_()
        assert len(first._repr_html_().encode()) < 150_000
        assert f'data-figure="{name}"' in first._repr_html_()


def test_html_of_full_sized_data_stays_below_150_kilobytes():
    assert len(rank_slider(photograph(512, 512))._repr_html_().encode()) < 150_000
    values = np.linspace(1, 0.01, 384)
    six = {(layer, kind): values for layer in range(6) for kind in "abcdef"}
    assert len(update_spectra(six, weights=six, random=six)._repr_html_().encode()) < 150_000


def test_a_figure_is_a_widget_html_and_a_line_of_text():
    figure = rank_lab(COUNT)
    bundle, _ = figure._repr_mimebundle_()
    assert set(bundle) == {"application/vnd.jupyter.widget-view+json", "text/html", "text/plain"}
    assert bundle["text/plain"].startswith("Rank lab: the matrix [[1, 2, 3], [4, 5, 6], [7, 8, 9]] has rank 2 ")
    before = bundle["text/html"]
    figure.state = {**figure.state, "matrix": np.eye(3).tolist()}
    assert figure._repr_html_() == before  # a page shows the figure as it was made


def test_on_colab_the_widget_is_the_only_choice(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "google.colab", object())
    bundle, _ = rank_lab(COUNT)._repr_mimebundle_()
    assert "text/html" not in bundle


def test_a_large_picture_is_averaged_down():
    picture = photograph(600, 520)
    small = shrink(picture)
    assert small.shape == (200, 173)
    assert np.allclose(small[3, 5], picture[9:12, 15:18].mean())


def test_the_code_is_small():
    """The four figures of the mathematics, with what all figures share, have 60 kB; the calculator has 7 of its own."""
    sizes = {name: (FOLDER / f"{name}.js").stat().st_size for name in (*MODULES, "page")}
    assert sizes["calculator"] < 7_000
    assert sum(sizes.values()) - sizes["calculator"] < 60_000
    assert len(page_module().encode()) < 67_000
    assert "</script" not in page_module() and "</style" not in style()


def test_committed_outputs_keep_no_widget():
    cell = nbformat.v4.new_code_cell("rank_lab(A)")
    data = {execute.WIDGET: {"model_id": "gone"}, "text/html": "<div></div>", "text/plain": "Rank lab"}
    cell.outputs = [nbformat.v4.new_output("execute_result", data=data)]
    chapter = nbformat.v4.new_notebook(cells=[cell], metadata={"widgets": {}})
    execute.tidy(chapter, "99")
    assert set(cell.outputs[0]["data"]) == {"text/html", "text/plain"}
    assert set(chapter.metadata) == {"kernelspec", "language_info"}


# ---- in a browser ----

MOUNT = """async ([figure, title, data, state]) => {
  const widget = (await import("./widget.js")).default;
  const values = { figure, title, data, state };
  const listeners = [];
  window.model = {
    saved: 0,
    get: (name) => values[name],
    set: (name, value) => { values[name] = value; },
    save_changes() { this.saved += 1; },
    on: (name, call) => listeners.push([name, call]),
    off: (name, call) => listeners.splice(listeners.findIndex((one) => one[0] === name && one[1] === call), 1),
    fromKernel(state) {
      values.state = state;
      for (const [name, call] of listeners) if (name === "change:state") call();
    },
    listening: () => listeners.length,
  };
  const el = document.querySelector("main");
  el.replaceChildren();
  window.undo = widget.render({ model: window.model, el });
}"""


@contextlib.contextmanager
def open_tab(browser, content="<main></main>", theme="light", width=900, **options):
    """A page of its own at a made-up address, in the book's look; what it asks for beyond that is a failure."""
    context = browser.new_context(viewport={"width": width, "height": 900}, reduced_motion="reduce", **options)
    troubles = []
    look = BOOK_CSS.read_text(encoding="utf-8") + "body { background: var(--pst-color-background); margin: 8px; }"
    head = f"<title>Figures</title><meta name='viewport' content='width=device-width'><style>{look}</style>"
    page = f'<!doctype html><html lang="en" data-theme="{theme}"><head>{head}</head><body>{content}</body></html>'
    served = {f"{name}.js": (FOLDER / f"{name}.js").read_text() for name in (*MODULES, "page")}
    served |= {"": page, "widget.js": widget_module(), "joined.js": page_module()}

    def answer(route):
        name = route.request.url.removeprefix(SITE)
        if name in served:
            kind = "text/javascript" if name else "text/html; charset=utf-8"
            route.fulfill(body=served[name], content_type=kind)
        elif name.startswith("fonts/"):
            route.fulfill(path=ROOT / "_build" / "static" / name)  # the book's own, for its style sheet
        elif route.request.url.startswith("data:"):
            route.continue_()
        else:
            troubles.append(f"request: {route.request.url}")
            route.abort()

    context.route("**/*", answer)
    tab = context.new_page()
    tab.on("console", lambda message: message.type == "error" and troubles.append(message.text))
    tab.on("pageerror", lambda error: troubles.append(str(error)))
    tab.goto(SITE)
    yield tab
    context.close()
    assert not troubles


@pytest.fixture
def mount(browser):
    """Mount a figure as anywidget does, and give the tab it is in."""
    with contextlib.ExitStack() as stack:

        def mounted(figure, **options):
            tab = stack.enter_context(open_tab(browser, **options))
            tab.add_style_tag(content=style())
            tab.evaluate(MOUNT, [figure.figure, figure.title, figure.data, figure.state])
            return tab

        yield mounted


def value(tab, key):
    """The full value behind a number that is shown."""
    return float(tab.locator(f"[data-key={key}]").get_attribute("data-value"))


def state(tab):
    return tab.evaluate("() => window.model.get('state')")


def type_matrix(tab, matrix):
    for i, row in enumerate(matrix):
        for j, x in enumerate(row):
            tab.locator(f"[data-entry='{i}{j}']").fill(repr(float(x)))


def exact_determinant(matrix):
    (a, b, c), (d, e, f), (g, h, i) = [[Fraction(float(x)) for x in row] for row in matrix]
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)


def generic_matrices(m, n, count, seed=7):
    """Generic, rank-deficient, graded and scaled matrices of one shape."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        matrix = rng.standard_normal((m, n))
        if i % 4 == 1:
            matrix = rng.integers(-4, 5, (m, 1)) @ rng.integers(-4, 5, (1, n)) + 0.0
        if i % 4 == 2:
            matrix *= 10.0 ** rng.integers(-9, 4, n)
        if i % 4 == 3:
            matrix *= 10.0 ** rng.integers(-150, 5)
        yield matrix


def test_svd_agrees_with_numpy(browser):
    with open_tab(browser) as tab:
        for shape in ((2, 2), (3, 3), (12, 7), (30, 30)):
            for matrix in generic_matrices(*shape, count=12):
                found = tab.evaluate(
                    "async (columns) => { const { s, U } = (await import('./maths.js')).svd(columns);"
                    " return { s, U: U.map((u) => [...u]) }; }",
                    matrix.T.tolist(),
                )
                s, U = np.array(found["s"]), np.array(found["U"]).T
                expected = np.linalg.svd(matrix, compute_uv=False)
                assert np.allclose(s, expected, rtol=1e-12, atol=3e-15 * expected[0])
                r = int((expected > 1e-13 * expected[0]).sum())
                assert np.allclose(U[:, :r].T @ U[:, :r], np.eye(r), atol=1e-10)
                scaled = matrix / expected[0]
                assert np.allclose(U[:, :r] @ (U[:, :r].T @ scaled), scaled, atol=1e-12)


def test_small_singular_values_are_right_to_machine_precision(browser):
    """Columns of very different size, where numpy itself keeps no digit of the smallest singular value."""
    matrix = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 10.0]]) * [1, 1e-9, 1e-18]
    with mpmath.workdps(60):
        exact = [float(x) for x in mpmath.svd_r(mpmath.matrix(matrix.tolist()), compute_uv=False)]
    with open_tab(browser) as tab:
        s = tab.evaluate("async (columns) => (await import('./maths.js')).svd(columns).s", matrix.T.tolist())
    assert np.allclose(s, exact, rtol=1e-14, atol=0)


def test_rank_and_determinant_are_exact_for_stored_numbers(browser):
    rng = np.random.default_rng(8)
    integers = [rng.integers(-2, 3, (3, 3)) for _ in range(40)]
    floats = [np.array(TENTHS), np.full((3, 3), 0.1), 1e-300 * rng.standard_normal((3, 3)), np.zeros((3, 3))]
    with open_tab(browser) as tab:
        for matrix in [*integers, *floats, *generic_matrices(3, 3, 12), *(x / 7 for x in integers[:12])]:
            found = tab.evaluate("async (rows) => (await import('./maths.js')).exactly(rows)", matrix.tolist())
            assert found["rank"] == exact_rank(matrix.astype(float))
            assert found["determinant"] == pytest.approx(float(exact_determinant(matrix)), rel=1e-15, abs=0)


def check_rank_lab(tab, matrix):
    matrix = np.array(matrix, dtype=float)
    s = np.linalg.svd(matrix, compute_uv=False)
    shown = [value(tab, f"sigma{i}") for i in (1, 2, 3)]
    assert np.allclose(shown, s, rtol=1e-9, atol=1e-15 * s[0])
    tolerance = value(tab, "tolerance")
    assert value(tab, "rank") == sum(x > tolerance for x in shown)
    assert value(tab, "exact") == exact_rank(matrix)
    assert value(tab, "det") == pytest.approx(np.linalg.det(matrix), rel=1e-9, abs=1e-15 * s[0] ** 3)
    assert value(tab, "exactDet") == pytest.approx(float(exact_determinant(matrix)), rel=1e-15)
    return s, tolerance


def test_rank_lab_agrees_with_numpy(mount):
    tab = mount(rank_lab(COUNT))
    rng = np.random.default_rng(9)
    cases = [np.round(m, 6) for m in generic_matrices(3, 3, 9) if np.abs(m).max() > 1e-3]
    cases += [rng.integers(-3, 4, (3, 3)) for _ in range(6)] + [np.array(TENTHS), np.zeros((3, 3))]
    for matrix in cases:
        type_matrix(tab, matrix)
        s, tolerance = check_rank_lab(tab, matrix)
        assert tolerance == pytest.approx(s[0] * 3 * np.finfo(float).eps, rel=1e-12)
        assert value(tab, "rank") == np.linalg.matrix_rank(matrix.astype(float))
        assert np.array_equal(state(tab)["matrix"], matrix)


def test_rank_lab_follows_the_tolerance_from_end_to_end(mount):
    tab = mount(rank_lab(TENTHS))
    assert (value(tab, "rank"), value(tab, "exact")) == (2, 3)
    slider, ranks = tab.get_by_label("Tolerance", exact=True), []
    slider.press("Home")
    for _ in range(11):
        check_rank_lab(tab, TENTHS)
        ranks.append(int(value(tab, "rank")))
        slider.press("PageUp")
    assert set(ranks) == {3, 2, 1, 0} and ranks == sorted(ranks, reverse=True)
    assert "rank 0" in slider.get_attribute("aria-valuetext")
    tab.get_by_role("button", name="numpy’s tolerance").click()
    assert state(tab)["tolerance"] is None and value(tab, "rank") == 2


def test_rank_lab_shows_how_a_determinant_misleads(mount):
    tab = mount(rank_lab(COUNT))
    assert value(tab, "exactDet") == 0 and 0 < abs(value(tab, "det")) < 1e-14
    tab.get_by_role("combobox", name="Matrix").select_option("nearly")
    near = [[1, 2, 3], [4, 5, 6], [7, 8, 9.000000001]]
    check_rank_lab(tab, near)
    assert value(tab, "rank") == 3 and abs(value(tab, "exactDet")) < 1e-8
    tab.get_by_role("button", name="Reset").click()
    check_rank_lab(tab, COUNT)
    assert tab.locator("select").input_value() == "given"


@pytest.mark.parametrize(("key", "rank"), [("A", 1), ("B", 2), ("C", 3), ("count", 2), ("tenths", 2), ("nearly", 3)])
def test_rank_lab_presets_have_their_ranks(mount, key, rank):
    tab = mount(rank_lab(np.eye(3)))
    tab.locator("select").select_option(key)
    check_rank_lab(tab, state(tab)["matrix"])
    assert value(tab, "rank") == rank
    place = ["a single point", "a line", "a plane", "all of space"][rank]
    assert place in tab.locator(".ho-space").get_attribute("aria-label")
    assert place in tab.locator(".ho-sentence").inner_text()


def test_rank_lab_turns_by_key_and_by_dragging(mount):
    tab = mount(rank_lab(COUNT))
    picture = tab.locator(".ho-space")
    seen = {picture.inner_html()}
    tab.get_by_label("Turn").press("ArrowRight")
    seen.add(picture.inner_html())
    box = picture.bounding_box()
    tab.mouse.move(box["x"] + 100, box["y"] + 100)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 160, box["y"] + 120, steps=3)
    tab.mouse.up()
    seen.add(picture.inner_html())
    tab.mouse.move(box["x"] + 10, box["y"] + 10)
    seen.add(picture.inner_html())
    assert len(seen) == 3  # three views; moving without the button down turns nothing


def test_half_typed_numbers_change_nothing(mount):
    tab = mount(rank_lab(COUNT))
    entry = tab.locator("[data-entry='11']")
    for text in ("", "2e6"):
        entry.fill(text)
        assert entry.get_attribute("aria-invalid") == "true"
        check_rank_lab(tab, COUNT)
    entry.fill("-0.25")
    assert entry.get_attribute("aria-invalid") is None
    check_rank_lab(tab, [[1, 2, 3], [4, -0.25, 6], [7, 8, 9]])


def check_ellipse(tab, matrix):
    matrix = np.array(matrix, dtype=float)
    U, s, Vt = np.linalg.svd(matrix)
    assert np.allclose([value(tab, "sigma1"), value(tab, "sigma2")], s, rtol=1e-9, atol=1e-15 * s[0])
    assert value(tab, "det") == pytest.approx(np.linalg.det(matrix), abs=1e-14 * s[0] ** 2)
    if s[0] > 1.001 * s[1]:  # otherwise every direction is as good
        u, v = (np.radians(value(tab, key)) for key in ("angleU", "angleV"))
        u, v = np.array([np.cos(u), np.sin(u)]), np.array([np.cos(v), np.sin(v)])
        assert np.allclose(matrix @ v, s[0] * u, atol=1e-9 * s[0])
        assert abs(abs(u @ U[:, 0]) - 1) < 1e-9 and abs(abs(v @ Vt[0]) - 1) < 1e-9
    said = tab.locator(".ho-sentence").inner_text()
    assert ("reflects" in said) == (np.linalg.matrix_rank(matrix) == 2 and np.linalg.det(matrix) < 0)
    assert ("segment" in said) == (np.linalg.matrix_rank(matrix) == 1)


def test_svd_ellipse_agrees_with_numpy(mount):
    tab = mount(svd_ellipse([[2, 2], [-1, 2]]))
    assert [round(value(tab, key), 1) for key in ("sigma1", "sigma2", "angleV", "angleU")] == [3, 2, 63.4, 26.6]
    rng = np.random.default_rng(10)
    cases = [np.round(rng.standard_normal((2, 2)) * 10.0 ** rng.integers(-2, 4), 4) for _ in range(15)]
    cases += [
        [[1, 2], [0.5, 1]],
        [[0, 0], [0, 0]],
        [[0, 1], [1, 0]],
        [[0, -1], [1, 0]],
        [[0, 0], [0, 3]],
        [[-1, 0], [0, -1]],
    ]
    for matrix in cases:
        type_matrix(tab, matrix)
        check_ellipse(tab, matrix)


def test_columns_move_by_key(mount):
    tab = mount(svd_ellipse([[2, 2], [-1, 2]]))
    handle = tab.locator("[data-column='1']")
    assert handle.get_attribute("role") == "slider"
    handle.press("ArrowLeft")
    handle.press("Shift+ArrowDown")
    assert state(tab)["matrix"] == [[2, 1.9], [-1, 1.5]]
    assert handle.get_attribute("aria-valuetext") == "1.9, 1.5"
    check_ellipse(tab, [[2, 1.9], [-1, 1.5]])
    tab.get_by_role("button", name="Reset").click()
    assert state(tab)["matrix"] == [[2, 2], [-1, 2]]


def centre(tab, column):
    box = tab.locator(f"[data-column='{column}'] .ho-grip").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_columns_follow_the_mouse_and_stop_when_it_lets_go(mount):
    tab = mount(svd_ellipse([[2, 2], [-1, 2]]))
    before = state(tab)["matrix"]
    x, y = centre(tab, 0)
    tab.mouse.move(x, y)
    tab.mouse.down()
    tab.mouse.move(x - 60, y + 25, steps=4)
    assert np.allclose(centre(tab, 0), (x - 60, y + 25), atol=3)  # the handle stays under the pointer
    tab.mouse.up()
    after = state(tab)["matrix"]
    assert after[0][0] < before[0][0] and after[1][0] < before[1][0]
    assert [row[1] for row in after] == [row[1] for row in before]
    check_ellipse(tab, after)
    tab.mouse.move(x, y)
    assert state(tab)["matrix"] == after


def test_columns_follow_a_finger(mount):
    tab = mount(svd_ellipse([[2, 2], [-1, 2]]), width=390, has_touch=True)
    x, y = centre(tab, 1)
    session = tab.context.new_cdp_session(tab)
    for kind, points in (
        ("touchStart", [{"x": x, "y": y}]),
        ("touchMove", [{"x": x - 30, "y": y + 20}]),
        ("touchMove", [{"x": x - 50, "y": y + 40}]),
        ("touchEnd", []),
    ):
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    tab.wait_for_function("() => window.model.get('state').matrix[0][1] < 1.9")
    after = state(tab)["matrix"]
    assert after[0][1] < 2 and after[1][1] < 2 and after[0][0] == 2
    check_ellipse(tab, after)


def test_the_steps_lead_from_the_circle_to_the_ellipse(mount):
    tab = mount(svd_ellipse([[2, 2], [-1, -3]]))
    slider = tab.get_by_label("On the way, step by step")
    outline = tab.locator(".ho-plane .ho-spanned")
    circle, ellipse = (tab.locator(f".ho-plane .ho-{name}").get_attribute("d") for name in ("circle", "outline"))
    slider.press("Home")

    def far(d):
        return np.abs(np.array(re.findall(r"-?\d+\.\d+", d), dtype=float)).max()

    assert far(outline.get_attribute("d")) == far(circle)
    slider.press("End")
    assert outline.get_attribute("d") == ellipse
    slider.press("ArrowLeft")
    assert outline.get_attribute("d") != ellipse
    assert slider.get_attribute("aria-valuetext") == "95 percent of step 3, U turns"


def levels_of(picture):
    return np.rint(255 * shrink(picture)).astype(np.uint8).astype(float)


@pytest.mark.parametrize("shape", [(48, 64), (64, 48), (300, 31), (2, 2)])
def test_rank_slider_agrees_with_numpy(mount, shape):
    picture = photograph(*shape)
    tab = mount(rank_slider(picture, k=1))
    levels = levels_of(picture)
    m, n = levels.shape
    U, s, Vt = np.linalg.svd(levels, full_matrices=False)
    box = tab.get_by_label("Rank k, typed")
    for k in sorted({1, 2, min(5, len(s)), len(s) // 2, len(s)}):
        box.fill(str(k))
        best = (U[:, :k] * s[:k]) @ Vt[:k]
        error = np.sqrt(((best - levels) ** 2).mean())
        assert value(tab, "error") == pytest.approx(error, rel=1e-9, abs=1e-9)
        assert value(tab, "energy") == pytest.approx((s[:k] ** 2).sum() / (s**2).sum(), rel=1e-12)
        assert value(tab, "numbers") == factored_size(m, n, k)
        assert value(tab, "bytes") == 4 * factored_size(m, n, k)
        assert ("no longer pay" in tab.locator(".ho-sentence").inner_text()) == (factored_size(m, n, k) >= m * n)
        assert np.abs(pixels(tab, m, n) - np.clip(np.rint(best), 0, 255)).max() <= 1
        assert state(tab)["k"] == k


def pixels(tab, m, n):
    read = "c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data].filter((_, i) => i % 4 === 0)"
    return np.array(tab.locator("canvas").evaluate(read), dtype=float).reshape(m, n)


def test_rank_slider_goes_down_as_well_as_up_and_shows_the_original(mount):
    picture = photograph()
    tab = mount(rank_slider(picture, k=8))
    first = pixels(tab, 48, 64)
    slider, compare = tab.get_by_label("Rank k", exact=True), tab.get_by_role("button", name="Show the original")
    slider.press("End")
    assert np.array_equal(pixels(tab, 48, 64), levels_of(picture))
    slider.press("Home")
    tab.get_by_label("Rank k, typed").fill("8")
    assert np.array_equal(pixels(tab, 48, 64), first)
    compare.press("Enter")
    assert compare.get_attribute("aria-pressed") == "true"
    assert np.array_equal(pixels(tab, 48, 64), levels_of(picture))
    tab.get_by_role("button", name="Reset").click()
    assert np.array_equal(pixels(tab, 48, 64), first)
    tab.get_by_label("Rank k, typed").fill("49")
    assert state(tab)["k"] == 8


def test_spectra_agree_with_numpy(mount):
    update, weights, random = spectra(), spectra(5), spectra(6)
    tab = mount(update_spectra(update, k=4, weights=weights, random=random))
    for (layer, kind), k in (((0, "query"), 4), ((2, "up"), 1), ((1, "value"), 30), ((1, "query"), 7)):
        tab.get_by_role("combobox", name="Layer").select_option(str(layer))
        tab.get_by_role("combobox", name="Matrix").select_option(kind)
        tab.get_by_label("Directions k, typed").fill(str(k))
        for key, group in (("share", update), ("shareW", weights), ("shareRandom", random)):
            s = group[layer, kind]
            # values are packed to 0.02 %
            assert value(tab, key) == pytest.approx((s[:k] ** 2).sum() / (s**2).sum(), rel=4e-4)
        s = update[layer, kind]
        assert value(tab, "stable") == pytest.approx((s**2).sum() / s[0] ** 2, rel=4e-4)
        assert value(tab, "sum") == pytest.approx(s.sum(), rel=2e-4)
        assert state(tab) == {"layer": layer, "kind": kind, "k": k}


def test_the_table_of_shares_chooses_a_spectrum(mount):
    update = spectra()
    tab = mount(update_spectra(update, k=3))
    assert tab.locator(".ho-table td button").count() == len(update)
    chosen = tab.get_by_role("button", name=re.compile("^Layer 2 value"))
    share = (update[2, "value"][:3] ** 2).sum() / (update[2, "value"] ** 2).sum()
    assert abs(int(chosen.inner_text()) - 100 * share) < 0.6
    chosen.press("Enter")
    assert state(tab)["layer"] == 2 and state(tab)["kind"] == "value"
    assert chosen.get_attribute("aria-pressed") == "true"
    assert tab.locator("[data-key=shareW]").count() == 0  # what was not given is not shown


def test_a_layer_may_lack_a_matrix(mount):
    update = spectra()
    del update[1, "up"]
    tab = mount(update_spectra(update))
    tab.get_by_role("combobox", name="Layer").select_option("1")
    tab.get_by_role("combobox", name="Matrix").select_option("up")
    assert (state(tab)["layer"], state(tab)["kind"]) == (1, "query")
    assert tab.get_by_role("combobox", name="Matrix").input_value() == "query"


def check_calculator(tab, now):
    """Every number that the calculator shows, against lora_edu.costs."""
    shape, method, r = SHAPES[now["model"]], now["method"], now["r"]
    given = {key: now[key] for key in ("precision", "optimizer", "batch", "length")}
    expected, full = training_bytes(shape, method, r, **given), training_bytes(shape, **given)
    for component, size in expected.by_component().items():
        assert value(tab, component) == pytest.approx(size, rel=1e-12), (component, now)
    assert value(tab, "total") == pytest.approx(expected.total, rel=1e-12)
    assert value(tab, "ofFull") == pytest.approx(expected.total / full.total, rel=1e-12)
    assert value(tab, "cards") == int(np.ceil(expected.total / 48e9))
    assert value(tab, "trained") == trained_parameters(shape, method, r)
    flops = [sum(flops_per_token(shape, by, r, length=now["length"])) for by in (method, "full")]
    assert value(tab, "flops") == flops[0]
    assert value(tab, "flopsOfFull") == pytest.approx(flops[0] / flops[1], rel=1e-12)


def test_the_calculator_agrees_with_the_package(mount):
    tab = mount(calculator("6B", "LoRA", batch=3, length=100))
    check_calculator(tab, state(tab))
    for i, (model, method) in enumerate((model, method) for model in SHAPES for method in METHODS):
        tab.get_by_role("combobox", name="Model").select_option(model)
        tab.get_by_role("combobox", name="Method").select_option(method)
        tab.get_by_role("combobox", name="Numbers").select_option(PRECISIONS[i % 2])
        tab.get_by_role("combobox", name="Optimizer").select_option(list(OPTIMIZERS)[i % 3])
        tab.get_by_role("combobox", name="Batch").select_option(["3 100", "8 512", "8 2048"][i // 2 % 3])
        tab.get_by_label("Rank r, typed").fill(str(1 + 37 * i % 256))
        now = state(tab)
        assert (now["model"], now["method"], now["r"]) == (model, method, 1 + 37 * i % 256)
        check_calculator(tab, now)


def test_the_calculator_is_moved_by_the_keyboard_and_says_what_it_shows(mount):
    tab = mount(calculator())
    tab.get_by_role("combobox", name="Method").press("ArrowDown")
    slider = tab.get_by_label("Rank r", exact=True)
    slider.press("End")
    slider.press("ArrowLeft")
    assert state(tab) == {**calculator().state, "method": "LoRA", "r": 255}
    check_calculator(tab, state(tab))
    assert tab.locator(".ho-sentence").inner_text().startswith("LoRA trains ")
    widths = tab.locator(".ho-costs .ho-counts").evaluate_all("bars => bars.map(bar => parseFloat(bar.style.width))")
    held = training_bytes(SHAPES["MiniLM"], "LoRA", 255).by_component()
    longest = max(training_bytes(SHAPES["MiniLM"]).by_component().values())
    assert np.allclose(widths, [100 * size / longest for size in held.values()], rtol=1e-4)


def test_a_flat_picture_and_a_flat_spectrum_can_be_drawn(mount):
    tab = mount(rank_slider(np.full((20, 10), 100 / 255), k=2))
    assert (value(tab, "error"), value(tab, "energy")) == (pytest.approx(0, abs=1e-6), 1)
    assert "NaN" not in tab.locator("main").inner_html()
    tab = mount(update_spectra({(0, "query"): np.ones(9)}, k=3))
    assert value(tab, "share") == pytest.approx(1 / 3) and value(tab, "stable") == 9
    assert "NaN" not in tab.locator("main").inner_html()


def test_a_matrix_of_the_readers_own_is_called_so(mount):
    tab = mount(rank_lab(COUNT))
    chosen = tab.get_by_role("combobox", name="Matrix")
    tab.locator("[data-entry='00']").fill("8")
    assert chosen.input_value() == "own"
    chosen.select_option("C")
    chosen.select_option("own")  # there is none any more
    assert chosen.input_value() == "C"


@pytest.mark.parametrize("name", list(every_figure()))
def test_keeps_the_contract_of_a_widget(mount, name):
    """render returns what undoes it; the kernel hears of changes and can make them."""
    figure = every_figure()[name]
    tab = mount(figure)
    assert tab.evaluate("() => window.model.saved") == 0  # drawing alone tells the kernel nothing
    number = next((key for key in ("k", "r") if key in figure.state), "")
    patch = {number: 5} if number else {"matrix": (np.array(figure.state["matrix"]) + 1).tolist()}
    tab.evaluate("(state) => window.model.fromKernel(state)", {**figure.state, **patch})
    if number:
        assert tab.locator("input[type=number]").first.input_value() == "5"
    else:
        assert tab.locator("[data-entry='00']").input_value() == f"{patch['matrix'][0][0]:g}"
    tab.get_by_role("button", name="Reset").click()
    assert tab.evaluate("() => window.model.saved") == 1
    assert state(tab) == figure.state
    assert tab.evaluate("() => typeof window.undo") == "function"
    tab.evaluate("() => window.undo()")
    assert tab.locator("main").inner_html() == "" and tab.evaluate("() => window.model.listening()") == 0


def page_of_figures():
    return f"<main>{''.join(figure._repr_html_() for figure in every_figure().values())}</main>"


@pytest.mark.parametrize("module", ["joined.js", "page.js"])
def test_a_page_comes_to_life_from_joined_and_from_single_modules(browser, module):
    with open_tab(browser, page_of_figures() + f'<script type="module" src="{module}"></script>') as tab:
        tab.wait_for_function("() => document.querySelectorAll('.hands-on > .ho').length === 5")
        assert tab.locator(".hands-on > script, .hands-on > table, .hands-on > img").count() == 0
        tab.get_by_label("Rank k, typed").fill("3")
        assert value(tab, "numbers") == factored_size(48, 64, 3)


def test_without_a_script_a_page_still_says_the_numbers(browser):
    with open_tab(browser, page_of_figures(), java_script_enabled=False) as tab:
        text = tab.locator("main").inner_text()
        assert "16.848" in text and "below the tolerance" in text
        assert tab.locator("img").get_attribute("alt").startswith("The photograph itself")
        assert tab.locator("table").count() == 5


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_and_a_phone_shows_all(browser, theme):
    content = f"<style>{style()}</style><h1>Figures</h1>{page_of_figures()}"
    script = '<script type="module" src="joined.js"></script>'
    with open_tab(browser, content + script, theme, width=390) as tab:
        tab.wait_for_function("() => document.querySelectorAll('.hands-on > .ho').length === 5")
        assert tab.evaluate("() => document.documentElement.scrollWidth") <= 390
        assert violations(tab, "main") == []
        focusable = "button, select, input, [tabindex='0']"
        for control in tab.locator(f".ho :is({focusable})").all():
            control.focus()
            ring = control.evaluate("e => { const s = getComputedStyle(e.querySelector('.ho-grip') ?? e);"
                                    " return s.outlineStyle !== 'none' || s.stroke !== 'none'; }")  # fmt: skip
            assert ring, control.evaluate("e => e.outerHTML.slice(0, 200)")


def violations(tab, where):
    tab.add_script_tag(content=AXE.read_text(encoding="utf-8"))
    found = tab.evaluate("(where) => axe.run(where, { resultTypes: ['violations'] })", where)["violations"]
    return [(v["id"], v["impact"], v["nodes"][0]["html"][:200]) for v in found]


def test_every_figure_of_a_chapter_lives_in_the_built_book(browser):
    """From the disk, where nothing can be imported and nothing fetched."""
    for chapter in sorted((ROOT / "chapters").glob("*.ipynb")):
        outputs = [out for cell in nbformat.read(chapter, as_version=4).cells for out in cell.get("outputs", [])]
        texts = [out.get("data", {}).get("text/html", "") for out in outputs]
        made = [text for text in texts if text.startswith('<div class="hands-on"')]
        if not made:
            continue
        context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="dark")
        tab, errors = context.new_page(), []
        tab.on("pageerror", lambda error, errors=errors: errors.append(str(error)))
        tab.goto((HTML / "chapters" / f"{chapter.stem}.html").as_uri(), wait_until="load")
        tab.wait_for_function("(n) => document.querySelectorAll('.hands-on > .ho').length === n", arg=len(made))
        for text, place in zip(made, tab.locator(".hands-on").all(), strict=True):
            content = json.loads(re.search(r"json\">(.*?)</script>", text, re.DOTALL).group(1))
            assert place.get_attribute("data-figure") == content["figure"]
            assert place.locator(".ho-title").text_content() == content["title"]
        for scheme in ("light", "dark"):
            tab.emulate_media(color_scheme=scheme)
            tab.wait_for_function("scheme => document.documentElement.dataset.theme === scheme", arg=scheme)
            assert violations(tab, ".hands-on") == []
        context.close()
        assert not errors
