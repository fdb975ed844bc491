"""What the book needs of Sphinx beyond jupyter-book, in one small extension.

It keys the cache of executed chapters on the package's content, makes launch buttons only when the book has an address,
says in words what a folded cell holds, brings the figures that move to life, and reads the package's docstrings as they
are written.
"""

import hashlib
import html
import re
import shutil
from pathlib import Path
from typing import Any

from docutils import nodes
from myst_nb.sphinx_ import HideCodeCellNode
from sphinx.application import Sphinx
from sphinx.config import Config

ROOT = Path(__file__).resolve().parent.parent


def environment_key(root: Path = ROOT) -> str:
    """A hash of what outputs depend on beside a chapter's code: the package, recorded results, pinned versions."""
    digest = hashlib.sha256()
    read = [path for path in (root / "lora_edu").rglob("*") if path.suffix in {".py", ".txt", ".json"}]
    read += (root / "book" / "results").glob("*.json")
    for path in sorted([root / "requirements.txt", *read]):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def cache_folder(build: Path) -> Path:
    """Where the outputs of chapters are kept, by what they depend on beside their own code."""
    return build / ".jupyter_cache" / environment_key()


def key_the_cache(app: Sphinx, config: Config) -> None:
    """Execute chapters again when their own code or the package has changed; jupyter-cache notices only the first."""
    chosen = cache_folder(Path(app.outdir).parent)
    if chosen.parent.is_dir():
        for old in chosen.parent.iterdir():
            if old != chosen:
                shutil.rmtree(old)
    chosen.mkdir(parents=True, exist_ok=True)
    config["nb_execution_cache_path"] = str(chosen)


def make_buttons(app: Sphinx, config: Config) -> None:
    """With a repository address, buttons for Colab (GitHub only), source and issues; without one, none."""
    options = config["html_theme_options"]
    url = options.get("repository_url")
    if url:
        on_github = url.startswith("https://github.com/")  # Colab opens notebooks from nowhere else
        options["launch_buttons"] = {"colab_url": "https://colab.research.google.com"} if on_github else {}
        options["use_repository_button"] = True
        options["use_issues_button"] = True
    else:
        for name in ("repository_url", "repository_branch", "launch_buttons"):
            options.pop(name, None)


def label_folded_cells(app: Sphinx, doctree: nodes.document) -> None:
    """Say what opens: the set-up, a solution, the code of a figure."""
    for cell in doctree.findall(nodes.container):
        if cell.get("nb_element") == "cell_code" and cell.get("hide_mode"):
            metadata: dict[str, Any] = cell["cell_metadata"]
            tags = metadata.get("tags", [])
            if "solution" in tags:
                what = "the solution"
            elif "setup" in tags:
                what = "the set-up"
            elif "image" in metadata.get("mystnb", {}):
                what = "the code of this figure"
            else:
                what = "the code"
            cell["prompt_show"], cell["prompt_hide"] = f"Show {what}", f"Hide {what}"


def read_single_backticks_as_code(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """The package's docstrings write code as Markdown does; Sphinx wants two backticks."""
    lines[:] = [re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", line) for line in lines]


def skip_fields_without_words(
    app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object
) -> bool | None:
    """The fields of a named tuple are explained by its own docstring; what Python says of them is not worth a line."""
    return True if str(getattr(obj, "__doc__", "")).startswith("Alias for field number") else None


def drop_role_of_reference_list(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """docutils gives the list of references a role that its entries do not fit; as a plain box it is read well."""
    if "body" in context:
        context["body"] = context["body"].replace(
            '<div role="list" class="citation-list">', '<div class="citation-list">'
        )


def add_hands_on_figures(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Give a page that has a figure its code and style, in the head: a page opened from the disk can import nothing."""
    if '<div class="hands-on"' in context.get("body", ""):
        from lora_edu.hands_on.source import page_module, style  # here, because it takes seconds to load

        context["metatags"] += f'<style>\n{style()}</style>\n<script type="module">\n{page_module()}</script>\n'


def visit_folded_cell(self: Any, node: HideCodeCellNode) -> None:
    # myst-nb's own markup calls every summary "Toggle hidden content" to a screen reader, and looks like an admonition.
    show, hide = html.escape(node["prompt_show"]), html.escape(node["prompt_hide"])
    self.body.append(
        f'<details class="folded-cell {" ".join(node["classes"])}">\n'
        f'<summary><span class="when-closed">{show}</span><span class="when-open">{hide}</span></summary>\n'
    )


def depart_folded_cell(self: Any, node: HideCodeCellNode) -> None:
    self.body.append("</details>\n")


def setup(app: Sphinx) -> dict[str, bool]:
    from verified_math import page  # here, because the verifier itself asks this module for the cache

    page.setup(app)
    app.add_config_value("comments_config", {}, "html")  # jupyter-book sets it for sphinx_comments, which is left out
    app.connect("config-inited", key_the_cache)
    app.connect("config-inited", make_buttons)
    app.connect("doctree-read", label_folded_cells)
    app.connect("autodoc-process-docstring", read_single_backticks_as_code, priority=400)  # before napoleon
    app.connect("autodoc-skip-member", skip_fields_without_words)
    app.connect("html-page-context", drop_role_of_reference_list)
    app.connect("html-page-context", add_hands_on_figures)
    app.add_node(HideCodeCellNode, override=True, html=(visit_folded_cell, depart_folded_cell))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
