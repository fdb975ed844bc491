"""Run one chapter in a kernel of its own, deciding on the way what its prose asserts."""

import json
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.util import run_sync

ROOT = Path(__file__).resolve().parents[2]
START = """
import sys
sys.path.insert(0, {book!r})
import verified_math.kernel
verified_math.kernel.start({chapter!r}, {seed!r}, {share!r})
"""


@dataclass
class Run:
    """What came of a chapter: the notebook as it ran, the ledger's records, and the mutants, if any were asked for."""

    path: Path
    notebook: nbformat.NotebookNode
    records: list[dict[str, Any]] = field(default_factory=list)
    mentions: int = 0
    mutants: list[dict[str, Any]] = field(default_factory=list)

    @property
    def failures(self) -> list[dict[str, Any]]:
        return [record for record in self.records if record["status"] not in {"true", "exempt"}]


class KernelFailure(RuntimeError):
    """The verifier itself failed inside the kernel; the message is its traceback."""


def run(path: Path, *, share: float = 0.0, seed: int = 0) -> Run:
    """Execute the chapter at `path` and verify it. With a `share`, that part of all possible slips is tried too.

    Raises nbclient's CellExecutionError when a cell of the chapter fails.
    """
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(
        notebook, timeout=600, kernel_name="python3", record_timing=False, coalesce_streams=True, resources=resources
    )
    with tempfile.TemporaryDirectory() as folder, client.setup_kernel():
        _ask(client, START.format(book=str(ROOT / "book"), chapter=path.stem, seed=seed, share=share))
        for position, cell in enumerate(notebook.cells):
            cell_id = cell.get("id", f"cell-{position + 1}")
            if cell.cell_type == "markdown":
                following = next(
                    (other.source for other in notebook.cells[position + 1 :] if other.cell_type == "code"), ""
                )
                _ask(client, f"verified_math.kernel.markdown({cell_id!r}, {cell.source!r}, {following!r})")
            elif cell.cell_type == "code":
                client.execute_cell(cell, position)
                metadata = json.loads(json.dumps(cell.metadata))
                _ask(client, f"verified_math.kernel.code({cell_id!r}, {metadata!r}, {cell.source!r})")
        result = Path(folder) / "result.json"
        _ask(client, f"verified_math.kernel.save({str(result)!r})")
        data = json.loads(result.read_text(encoding="utf-8"))
    return Run(path, notebook, data["records"], data["mentions"], data["mutants"])


def _ask(client: NotebookClient, code: str) -> None:
    """Run code of the verifier in the kernel, leaving no trace in the notebook or in its history."""
    assert client.kc is not None
    reply = run_sync(client.kc.execute_interactive)(  # type: ignore[attr-defined]
        code, silent=True, store_history=False, allow_stdin=False, timeout=600, output_hook=lambda message: None
    )
    content = reply["content"]
    if content["status"] != "ok":
        plain = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(content.get("traceback", [])))
        raise KernelFailure(plain or str(content))
