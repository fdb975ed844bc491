"""The JavaScript of the figures as one text. Its modules lie beside this file, and each is an ES module by itself.

Neither a widget nor a page opened from the disk can import one module from another, so the modules are joined here:
each becomes a function that runs once and returns what it exports. Nothing else is changed, and nothing is minified.
"""

import re
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
# A module stands after those that it imports. `page` is for the book's pages only.
MODULES = (
    *("maths", "dom", "plot"),
    *("bars", "columns", "rank_lab"),
    *("steps", "plane", "svd_ellipse"),
    *("rank_slider", "update_spectra", "calculator", "hands_on"),
)
IMPORT = re.compile(r'^import (\{[^}]*\}) from "\./(\w+)\.js";$', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:const|function) (\w+))", re.MULTILINE)
DEFAULT = re.compile(r"^export default .*\n", re.MULTILINE)


@cache
def widget_module() -> str:
    """The ES module that anywidget loads: its default export has `render({model, el})`."""
    return "\n".join(_as_function(name) for name in MODULES) + "\nexport default $hands_on;\n"


@cache
def page_module() -> str:
    """The same code for a page with no kernel, where it also mounts every figure that it finds."""
    return "\n".join(_as_function(name) for name in (*MODULES, "page"))


@cache
def style() -> str:
    """The figures' style sheet."""
    return (FOLDER / "hands_on.css").read_text(encoding="utf-8")


def _as_function(name: str) -> str:
    text = (FOLDER / f"{name}.js").read_text(encoding="utf-8")
    exported = ", ".join(EXPORT.findall(text))
    text = EXPORT.sub("", DEFAULT.sub("", IMPORT.sub(r"const \1 = $\2;", text)))
    return f"const ${name} = (() => {{\n{text}\nreturn {{ {exported} }};\n}})();"
