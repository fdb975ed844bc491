"""What holds for every chapter as it is committed: outputs in order, nothing of a machine in it, figures described.

That the outputs are right is checked by nbval, in the same run of pytest: it executes each chapter and compares.
"""

import json
import re
from pathlib import Path

import execute
import nbformat
import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = sorted((ROOT / "chapters").glob("*.ipynb"))
MACHINE = re.compile(r"(?:^|[\s\"'(=])(/(?:home|root|Users|tmp|usr|opt|work|mnt|content)/\w|[A-Z]:\\\\)")
MEASURED = re.compile(r"perf_counter|process_time|timeit|time\.time|seconds|get_device_name|cuda|memory")


def code_cells(chapter: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in chapter.cells if cell.cell_type == "code"]


def tags(cell: nbformat.NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


@pytest.fixture(params=CHAPTERS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def chapter(path):
    return nbformat.read(path, as_version=4)


def test_there_are_chapters_and_each_is_in_the_table_of_contents():
    toc = (ROOT / "book" / "_toc.yml").read_text(encoding="utf-8")
    files = [entry["file"] for part in yaml.safe_load(toc)["parts"] for entry in part["chapters"]]
    assert CHAPTERS
    assert [f"chapters/{path.stem}" for path in CHAPTERS] == [file for file in files if file.startswith("chapters/")]


def test_is_a_valid_notebook_as_the_book_writes_it(path, chapter):
    nbformat.validate(chapter)
    assert path.read_text(encoding="utf-8").endswith("}\n")


def test_was_run_from_the_top_in_one_go(chapter):
    counts = [cell.execution_count for cell in code_cells(chapter)]
    assert counts == list(range(1, len(counts) + 1))


def test_has_no_empty_cell(chapter):
    assert all(cell.source.strip() for cell in chapter.cells)


def test_carries_no_metadata_of_a_machine_or_an_editor(path, chapter):
    assert chapter.metadata == {"kernelspec": execute.KERNEL, "language_info": {"name": "python"}}
    for position, cell in enumerate(chapter.cells, start=1):
        assert set(cell.metadata) <= set(execute.CELL_METADATA), f"cell {cell.id}: {dict(cell.metadata)}"
        assert cell.id == f"c{path.name[:2]}-{position:02d}"


def test_names_no_path_of_a_machine(chapter):
    for cell in chapter.cells:
        texts = [cell.source.replace("/tmp/preinstalled.txt", "")]  # the set-up cell's, on Colab
        for output in cell.get("outputs", []):
            texts += [str(value) for kind, value in output.get("data", {}).items() if "image" not in kind]
            texts.append(output.get("text", ""))
        for text in texts:
            assert not MACHINE.search(text), f"cell {cell.id}: {MACHINE.search(text).group(0)!r} in {text[:200]!r}"


def test_has_neither_errors_nor_warnings_in_its_outputs(chapter):
    for cell in code_cells(chapter):
        for output in cell.outputs:
            assert output.output_type != "error", f"cell {cell.id} raised {output.get('ename')}"
            assert output.get("name") != "stderr", f"cell {cell.id} wrote to stderr: {output.text[:200]!r}"


def test_describes_every_figure(chapter):
    for cell in code_cells(chapter):
        kinds = [kind for output in cell.outputs for kind in output.get("data", {})]
        described = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
        if any(kind.startswith("image/") for kind in kinds):
            assert len(described) >= 40, f"cell {cell.id} draws a figure; its alt text is {described!r}"
        else:
            assert not described, f"cell {cell.id} has alt text and draws no figure"


def test_has_a_figure(chapter):
    assert any("image/png" in output.get("data", {}) for cell in code_cells(chapter) for output in cell.outputs)


def test_leaves_only_measurements_out_of_the_comparison(chapter):
    for cell in code_cells(chapter):
        ignored = [tag for tag in tags(cell) if tag.startswith("nbval") or tag == "raises-exception"]
        if "nbval-ignore-output" in ignored:
            assert MEASURED.search(cell.source), f"cell {cell.id} measures nothing, but its output is not compared"
        assert set(ignored) <= {"nbval-ignore-output"}, f"cell {cell.id}: {ignored}"
        assert not re.search(r"NBVAL|PYTEST_VALIDATE_IGNORE", cell.source), f"cell {cell.id}"


def test_starts_with_its_title_and_the_set_up_cell(path, chapter):
    assert chapter.cells[0].cell_type == "markdown"
    assert chapter.cells[0].source.startswith("# ")
    assert f"Chapter {int(path.name[:2])} " in chapter.cells[0].source
    first = code_cells(chapter)[0]
    assert first.source == execute.setup_cell(*execute.repository()), "run `make execute`"
    assert {"setup", "hide-input"} <= set(tags(first))
    assert not first.outputs


def test_draws_from_a_seed_from_its_first_draw_on(path, chapter):
    """PyTorch seeds its generator from the machine's entropy: what nobody seeded differs in every run."""
    sources = [cell.source for cell in code_cells(chapter)]
    imports = next((source for source in sources if re.search(r"^import torch$", source, flags=re.MULTILINE)), None)
    if imports is not None:
        assert f"torch.manual_seed({int(path.name[:2])})" in imports
    for source in sources:
        assert not re.search(r"default_rng\(\)|np\.random\.(?!default_rng\(|Generator\b)", source)


def test_has_one_title_and_the_sections_that_every_chapter_has(chapter):
    prose = "\n".join(cell.source for cell in chapter.cells if cell.cell_type == "markdown")
    prose = re.sub(r"```.*?```", "", prose, flags=re.DOTALL)
    assert len(re.findall(r"^# ", prose, flags=re.MULTILINE)) == 1
    for part in ("What you will be able to do", "Predict", "## Exercises", "## Summary", "## Further reading"):
        assert part in prose, f"no {part!r}"


def test_no_line_of_prose_begins_with_a_comment(chapter):
    """Such a line is HTML to Markdown: what stands behind the comment is neither typeset nor verified."""
    for cell in chapter.cells:
        if cell.cell_type == "markdown":
            prose = re.sub(r"^```.*?^```", "", cell.source, flags=re.DOTALL | re.MULTILINE)
            found = re.search(r"^<!--(?:(?!-->).)*-->(?!\s*(?:<!--|$)).*", prose, flags=re.MULTILINE)
            assert not found, f"cell {cell.id}: {found[0][:100]!r}"


def test_has_a_stub_and_a_solution_for_each_exercise(path, chapter):
    from lora_edu.exercises import EXERCISES

    number = path.name[:2]
    stubs = {cell.source.strip().splitlines()[-1] for cell in code_cells(chapter) if "exercise" in tags(cell)}
    solutions = [cell for cell in code_cells(chapter) if "solution" in tags(cell)]
    keys = [key for key in EXERCISES if key.startswith(f"{number}.")]
    assert 3 <= len(keys) <= 5
    assert len(stubs) == len(keys) == len(solutions)
    for key, cell in zip(keys, solutions, strict=True):
        assert any(line.startswith(f'check("{key}", ') for line in stubs), f"no stub for {key}"
        first, last = cell.source.strip().splitlines()[0], cell.source.strip().splitlines()[-1]
        assert first == f"# @title Solution {key}"
        assert last == f'check("{key}", solution_{key.replace(".", "_")})'
        assert {"solution", "hide-cell"} <= set(tags(cell)), f"the solution of {key} is not hidden on the page"
        assert cell.metadata.get("jupyter") == {"source_hidden": True}, f"the solution of {key} is open in Jupyter"
        assert cell.metadata.get("cellView") == "form", f"the solution of {key} is open on Colab"


def test_committed_stubs_are_open_and_solutions_pass(chapter):
    for cell in code_cells(chapter):
        for tag, mark in (("exercise", "○"), ("solution", "✓")):
            if tag in tags(cell):
                shown = cell.outputs[-1].data["text/plain"]
                assert shown.startswith(f"{mark} Exercise"), f"cell {cell.id} shows {shown!r}"


def test_links_between_chapters_lead_somewhere(path, chapter):
    for cell in chapter.cells:
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\(([^)\s]+)\)", cell.source):
                if not re.match(r"https?://|#|mailto:", target):
                    assert (path.parent / target.split("#")[0]).exists(), f"cell {cell.id} links to {target}"


def test_execute_writes_an_address_into_the_set_up_cell():
    cell = execute.setup_cell("https://github.com/someone/book", "main")
    assert 'SOURCE = "git+https://github.com/someone/book@main"' in cell
    assert len(cell.splitlines()) <= 14
    assert 'SOURCE = ""' in execute.setup_cell("", "main")


def test_execute_keeps_nothing_of_the_machine(tmp_path):
    """Run on a small notebook: counts in order, ids by order, foreign metadata gone, the set-up cell put in."""
    foreign = {"kernelspec": {"name": "other", "display_name": "x"}, "colab": {"name": "x"}}
    notebook = nbformat.v4.new_notebook(metadata=foreign)
    notebook.cells = [
        nbformat.v4.new_markdown_cell("# Small"),
        nbformat.v4.new_code_cell("# Set-up", metadata={"tags": ["setup"], "collapsed": False}),
        nbformat.v4.new_code_cell("21 * 2", metadata={"scrolled": True}),
    ]
    path = tmp_path / "99_small.ipynb"
    nbformat.write(notebook, path)
    execute.execute(path)
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written["metadata"] == {"kernelspec": execute.KERNEL, "language_info": {"name": "python"}}
    assert [cell["id"] for cell in written["cells"]] == ["c99-01", "c99-02", "c99-03"]
    assert [cell["metadata"] for cell in written["cells"]] == [{}, {"tags": ["setup"]}, {}]
    assert "".join(written["cells"][1]["source"]) == execute.setup_cell(*execute.repository())
    assert written["cells"][2]["execution_count"] == 2
    assert written["cells"][2]["outputs"][0]["data"]["text/plain"] == ["42"]
