"""The built book as a reader meets it: every page in headless Chromium, with nothing to load but the book's own folder.

`make test` builds the book first. These tests read _build/html and do not build anything.
"""

import contextlib
import functools
import http.server
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import execute
import lora_book
import pytest
from bs4 import BeautifulSoup
from PIL import Image
from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parent.parent
HTML = ROOT / "_build" / "html"
AXE = ROOT / "book" / "node_modules" / "axe-core" / "axe.min.js"
# _sources holds the chapters as notebooks, for the download button; _static holds what the pages load.
PAGES = [path.relative_to(HTML).as_posix() for path in sorted(HTML.rglob("*.html"))]
PAGES = [page for page in PAGES if not page.startswith("_")]
READ = [page for page in PAGES if page.startswith(("book/", "chapters/"))]
CHAPTERS = [page for page in READ if page.startswith("chapters/")]
OPEN_ALL = "() => document.querySelectorAll('details').forEach(d => { d.open = true; })"


@functools.cache
def soup(page: str) -> BeautifulSoup:
    return BeautifulSoup((HTML / page).read_text(encoding="utf-8"), "html.parser")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The book served on loopback."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None: ...

    handler = functools.partial(Quiet, directory=str(HTML))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@contextlib.contextmanager
def visit(browser, base: str, page: str, scheme: str = "light") -> Iterator[tuple[Page, list[str]]]:
    """Open a page and wait until it stands still. What goes wrong is listed; anything outside the book is refused."""
    context = browser.new_context(
        viewport={"width": 1280, "height": 900}, color_scheme=scheme, reduced_motion="reduce", service_workers="block"
    )
    troubles: list[str] = []

    def guard(route):
        if route.request.url.startswith((base, "data:", "blob:")):
            route.continue_()
        else:
            troubles.append(f"request outside the book: {route.request.url}")
            route.abort()

    context.route("**/*", guard)
    tab = context.new_page()
    tab.on("console", lambda message: message.type == "error" and troubles.append(f"console: {message.text}"))
    tab.on("pageerror", lambda error: troubles.append(f"script: {error}"))
    tab.on("requestfailed", lambda request: troubles.append(f"failed: {request.url}"))
    tab.on("response", lambda answer: answer.status >= 400 and troubles.append(f"{answer.status}: {answer.url}"))
    tab.goto(base + page, wait_until="networkidle")
    if page in READ:
        tab.evaluate("() => Promise.all([window.MathJax?.startup?.promise, document.fonts.ready]).then(() => true)")
    yield tab, troubles
    context.close()


@pytest.fixture
def open_page(browser, address):
    """Open one page for one test."""
    with contextlib.ExitStack() as stack:
        yield lambda page, scheme="light", base=address: stack.enter_context(visit(browser, base, page, scheme))


def test_the_book_is_built_and_has_its_pages():
    assert PAGES, "there is no book in _build/html; `make book` builds it"
    appendices = {f"book/{name}.html" for name in ("notation", "api", "references")}
    assert {"index.html", "search.html", "book/index.html", *appendices} <= set(PAGES)
    committed = {f"chapters/{path.stem}.html" for path in (ROOT / "chapters").glob("*.ipynb")}
    assert set(CHAPTERS) == committed


@pytest.mark.parametrize("page", PAGES)
def test_links_and_anchors_lead_somewhere(page):
    for tag, attribute in (("a", "href"), ("img", "src"), ("script", "src"), ("link", "href")):
        for element in soup(page).find_all(tag, **{attribute: True}):
            target = urljoin(page, element[attribute])
            if urlsplit(target).scheme:
                held = tag == "img" and target.startswith("data:")  # in the page itself: nothing is asked for
                assert tag == "a" or held, f"{page} loads {target[:200]}"
                continue
            file, anchor = urldefrag(unquote(target).split("?")[0])
            assert (HTML / file).is_file(), f"{page} links to {element[attribute]}"
            if anchor and file.endswith(".html"):
                assert soup(file).find(id=anchor), f"{page} links to {element[attribute]}, but there is no such anchor"


@pytest.mark.parametrize("page", PAGES)
def test_page_has_a_language_a_title_and_described_images(page):
    document = soup(page)
    assert document.html["lang"] == "en"
    assert document.title and document.title.text.strip()
    for image in document.find_all("img"):
        assert image.has_attr("alt"), f"{page}: {image['src']} has no alt text"
        if image.find_parent("article"):
            assert len(image["alt"]) >= 40, f"{page}: {image['src']} has alt text {image['alt']!r}"


@pytest.mark.parametrize("page", CHAPTERS)
def test_chapter_can_be_downloaded_as_a_notebook(page):
    source = HTML / "_sources" / page.replace(".html", ".ipynb")
    assert source.read_bytes() == (ROOT / page.replace(".html", ".ipynb")).read_bytes()


@pytest.mark.parametrize("url", ["", "https://github.com/someone/book"])
def test_the_address_makes_the_buttons(url):
    options = {"repository_url": url, "repository_branch": "main", "launch_buttons": {"notebook_interface": "classic"}}
    lora_book.make_buttons(None, {"html_theme_options": options})
    if url:
        assert options["launch_buttons"] == {"colab_url": "https://colab.research.google.com"}
        assert options["repository_url"] == url and options["use_repository_button"]
    else:
        assert options == {}


def test_the_cache_of_executed_chapters_knows_the_package(tmp_path):
    """A changed module makes another key, so chapters run again; the same files make the same key."""
    (tmp_path / "lora_edu").mkdir()
    (tmp_path / "requirements.txt").write_text("numpy==2.4.6\n")
    module = tmp_path / "lora_edu" / "linalg.py"
    module.write_text("k = 1\n")
    first = lora_book.environment_key(tmp_path)
    assert lora_book.environment_key(tmp_path) == first
    module.write_text("k = 2\n")
    assert lora_book.environment_key(tmp_path) != first


def test_launch_buttons_are_there_when_the_book_has_an_address_and_only_then():
    url, branch = execute.repository()
    for page in READ:
        links = [a["href"] for a in soup(page).find_all("a", href=True)]
        launch = [link for link in links if "colab" in link or "binder" in link]
        expected = url.replace("https://github.com", "https://colab.research.google.com/github") + f"/blob/{branch}/"
        if url.startswith("https://github.com/") and page in CHAPTERS:
            assert launch == [expected + page.replace(".html", ".ipynb")]
        else:
            assert not launch, f"{page} has a dead button: {launch}"
        leaked = [link for link in links if "executablebooks/jupyter-book" in link]
        assert not leaked, f"{page} shows jupyter-book's own address"


@pytest.fixture(scope="module", params=READ)
def visited(request, browser, address):
    """A page of the book, opened once for the tests that follow, which look at it in this order."""
    with visit(browser, address, request.param) as (tab, troubles):
        yield request.param, tab, troubles


def test_page_opens_with_no_error_and_no_request_outside(visited):
    _, _, troubles = visited
    assert not troubles


def test_mathematics_is_typeset(visited):
    page, tab, _ = visited
    expected = len(soup(page).select("span.math, div.math"))
    assert tab.locator("mjx-container").count() >= expected
    assert expected > 0 or page not in CHAPTERS
    assert tab.locator("mjx-merror, [data-mjx-error]").count() == 0
    # Code may well contain dollars; what is left of mathematics outside it was not understood.
    text = tab.evaluate(
        "() => { const a = document.querySelector('article').cloneNode(true);"
        " a.querySelectorAll('pre, code, mjx-container').forEach(e => e.remove()); return a.textContent; }"
    )
    for raw in ("$$", "\\(", "\\[", "\\begin", "\\frac", "\\mathbb"):
        assert raw not in text, f"{page} shows {raw} … {text[max(0, text.index(raw) - 60) : text.index(raw) + 60]!r}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(visited, scheme):
    _, tab, _ = visited
    tab.emulate_media(color_scheme=scheme)
    tab.wait_for_function("scheme => document.documentElement.dataset.theme === scheme", arg=scheme)
    tab.evaluate(OPEN_ALL)  # what is folded away is read as well
    tab.add_script_tag(path=str(AXE))
    # What MathJax makes is its own, and thousands of elements: only the box around it is looked at.
    found = tab.evaluate(
        "() => axe.run({exclude: [['mjx-container > mjx-math'], ['mjx-assistive-mml']]}, {resultTypes: ['violations']})"
    )["violations"]
    serious = [
        {"rule": v["id"], "help": v["help"], "count": len(v["nodes"]), "first": v["nodes"][0]["html"][:300]}
        for v in found
        if v["impact"] in ("serious", "critical")
    ]
    assert not serious, json.dumps(serious, indent=1, ensure_ascii=False)


def test_page_fits_a_phone(visited):
    _, tab, _ = visited
    tab.set_viewport_size({"width": 390, "height": 844})
    tab.evaluate(OPEN_ALL)
    assert tab.evaluate("() => document.documentElement.scrollWidth") <= 390
    # Nothing hangs out of the column unless a box around it scrolls.
    wide = tab.evaluate(
        """() => {
          const boxed = e => { for (; e && e.tagName !== 'ARTICLE'; e = e.parentElement)
            if (['auto', 'scroll', 'hidden'].includes(getComputedStyle(e).overflowX)) return true; return false; };
          return [...document.querySelectorAll('article *')]
            .filter(e => e.getClientRects().length && e.getBoundingClientRect().right > 391 && !boxed(e))
            .map(e => e.outerHTML.slice(0, 160)).slice(0, 3); }"""
    )
    assert not wide
    # No formula is cut off: what is wider than its box scrolls in it.
    # The page looks for such formulas when the window has its new size: in the frame that is drawn then.
    tab.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    cut = tab.evaluate(
        """() => [...document.querySelectorAll('span.math')].filter(e => {
          const drawn = e.querySelector('mjx-math');
          return drawn && drawn.getBoundingClientRect().width > e.clientWidth + 5
            && getComputedStyle(e).overflowX !== 'auto'; }).map(e => e.textContent.slice(0, 80)).slice(0, 3)"""
    )
    assert not cut


def test_the_address_without_a_page_leads_to_the_front_page(open_page):
    tab, troubles = open_page("")
    tab.wait_for_url("**/book/index.html")
    assert not troubles
    assert tab.locator("article h1").first.inner_text() == "LoRA from the Ground Up"


def test_a_page_opens_from_the_disk_too(open_page):
    tab, troubles = open_page(CHAPTERS[0], base=HTML.as_uri() + "/")
    assert not troubles
    assert tab.locator("mjx-container").count() > 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", ["book/index.html", CHAPTERS[0] if CHAPTERS else "book/index.html"])
def test_page_is_not_blank(open_page, page, scheme):
    tab, _ = open_page(page, scheme)
    picture = Image.open(io.BytesIO(tab.screenshot())).convert("RGB")
    colours = sorted(picture.getcolors(maxcolors=picture.width * picture.height))
    ground = colours[-1][1]
    assert (sum(ground) > 600) == (scheme == "light")
    # A blank or broken page has a handful of colours; text and anti-aliasing make hundreds.
    assert len(colours) > 200


def test_folded_cells_say_what_they_hold(open_page):
    tab, _ = open_page(CHAPTERS[0])
    said = set(tab.locator("details.folded-cell > summary").all_inner_texts())
    assert {"Show the set-up", "Show the code of this figure", "Show the solution"} <= said
    first = tab.locator("details.folded-cell").first
    assert not first.locator("pre").first.is_visible()
    first.locator("summary").press("Enter")
    assert first.locator("pre").first.is_visible()
    assert first.locator("summary").inner_text() == "Hide the set-up"


@pytest.mark.parametrize("page", sorted(set(PAGES) - set(READ) - {"index.html"}))
def test_other_pages_open_with_no_error_too(open_page, page):
    _, troubles = open_page(page)
    assert not troubles


def test_search_finds_a_word_with_no_network(open_page):
    tab, troubles = open_page("search.html?q=rank")
    tab.wait_for_selector("#search-results ul.search li a")
    assert not troubles
