"""`make gpu-results`: run the larger runs of the chapters on the GPU that is here, and keep what they measured.

A chapter that has a larger run takes it where there is a GPU, and writes a record with its origin into `book/results`.
Here such chapters are run for their records alone: the notebooks stay as they are. `make execute` and `make book` then
show the new records in the pages and their figures. Without a GPU nothing is run, and the records stay as they are.
"""

import json
import sys
from pathlib import Path

import jsonschema
import nbformat
import torch
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "book" / "results"
SWITCH = "LARGE = torch.cuda.is_available()"


def has_larger_run(path: Path) -> bool:
    """Whether a cell of the chapter at `path` has the line that chooses the larger run."""
    cells = nbformat.read(path, as_version=4).cells
    return any(cell.cell_type == "code" and cell.source.startswith(SWITCH) for cell in cells)


def run(path: Path) -> None:
    """Run the chapter at `path` in its own folder and throw its outputs away. Raises CellExecutionError."""
    chapter = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(path.parent)}}
    NotebookClient(chapter, timeout=None, kernel_name="python3", resources=resources).execute()


def check_record(path: Path) -> None:
    """Raise jsonschema.ValidationError unless the record at `path` is as `results_schema.json` says."""
    schema = json.loads(Path(__file__).with_name("results_schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse), schema)


def _refuse(name: str) -> None:
    raise jsonschema.ValidationError(f"{name} is no measured number")


def main(names: list[str]) -> int:
    """Run the larger runs of the chapters named; return the exit status."""
    if not torch.cuda.is_available():
        print("There is no GPU here that PyTorch can use: nothing was run, and book/results is as it was.")
        return 2
    chosen = [path for path in (Path(name).resolve() for name in names) if has_larger_run(path)]
    before = {path: path.read_bytes() for path in RESULTS.glob("*.json")}
    failed = 0
    for path in chosen:
        print(f"{path.name} on {torch.cuda.get_device_name()} …", flush=True)
        try:
            run(path)
        except CellExecutionError as error:
            print(f"{path.name}: a cell failed, so its record may be as it was\n{error}", flush=True)
            failed += 1
    for path in sorted(RESULTS.glob("*.json")):
        if path.read_bytes() != before.get(path):
            check_record(path)
            print(f"recorded: {path.relative_to(ROOT)}")
    print(f"{len(chosen) - failed} of {len(chosen)} larger runs done. `make execute` and `make book` show the records.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
