"""Run chapters from the top in a fresh kernel and keep their outputs; `make execute` calls this with the files' names.

A chapter is written back only when every cell ran. It then has the set-up cell of `setup_cell.py`, outputs in order,
cell ids made from the order, no metadata of the machine or the editor that touched it last, and no widget of a kernel
that is gone.
"""

import sys
from pathlib import Path

import nbformat
import yaml
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
WIDGET = "application/vnd.jupyter.widget-view+json"  # points to a kernel that is gone
CELL_METADATA = ("tags", "mystnb", "jupyter", "cellView", "verify")


def repository() -> tuple[str, str]:
    """The book's address and branch, from the one place that has them. The address is empty for a book without one."""
    configuration = yaml.safe_load((ROOT / "book" / "_config.yml").read_text(encoding="utf-8"))
    return configuration["repository"]["url"] or "", configuration["repository"]["branch"]


def setup_cell(url: str, branch: str) -> str:
    """The first code cell of every chapter, for a book that lives at `url`."""
    source = f"git+{url}@{branch}" if url else ""
    text = (ROOT / "book" / "setup_cell.py").read_text(encoding="utf-8").strip()
    return text.replace('SOURCE = ""', f'SOURCE = "{source}"')


def tidy(chapter: nbformat.NotebookNode, number: str) -> None:
    """Keep of the metadata what the book uses, and name the cells by their order."""
    chapter.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    chapter.nbformat, chapter.nbformat_minor = 4, 5
    for position, cell in enumerate(chapter.cells, start=1):
        cell.id = f"c{number}-{position:02d}"
        cell.metadata = {key: cell.metadata[key] for key in CELL_METADATA if key in cell.metadata}
        for output in cell.get("outputs", []):
            if "metadata" in output:
                output.metadata = {}
            output.get("data", {}).pop(WIDGET, None)


def execute(path: Path) -> None:
    """Run the chapter at `path` in its own folder and write it back. Raises CellExecutionError when a cell fails."""
    chapter = nbformat.read(path, as_version=4)
    for cell in chapter.cells:
        if "setup" in cell.metadata.get("tags", []):
            cell.source = setup_cell(*repository())
    resources = {"metadata": {"path": str(path.parent)}}
    NotebookClient(
        chapter, timeout=600, kernel_name="python3", record_timing=False, coalesce_streams=True, resources=resources
    ).execute()
    tidy(chapter, path.name[:2])
    path.write_text(nbformat.writes(chapter) + "\n", encoding="utf-8")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(f"{name} …", flush=True)
        execute(Path(name).resolve())
