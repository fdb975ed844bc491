"""The folder of one training, in which nothing looks finished before it is.

While training runs, it holds `run.json`, which says what is trained on what, and a checkpoint: the same training goes
on from there, and any other is refused. At the end come the adapter, in peft's format, and last of all `report.json`.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

RUN, CHECKPOINT, REPORT = "run.json", "checkpoint.pt", "report.json"


def finished_report(folder: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """The report of this very training if it is finished; None if it is to begin, or to go on.

    Raises ValueError if the folder belongs to another training, or its files are damaged; FileExistsError if it has
    other files; NotADirectoryError if it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file: --out names a folder")
    if (folder / REPORT).is_file():
        report = read_json(folder / REPORT)
        _refuse_other(folder, report.get("settings"), settings)
        return report
    if (folder / RUN).is_file():
        _refuse_other(folder, read_json(folder / RUN), settings)
    elif folder.is_dir() and any(not path.name.endswith(".partial") for path in folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty and holds no training of lora_edu: give another --out")
    return None


def begin(folder: Path, settings: dict[str, Any]) -> None:
    """Make the folder, or clear what a training that was killed while it saved has left in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for scratch in folder.glob(".saving-*"):
        shutil.rmtree(scratch, ignore_errors=True)
    write_json(folder / RUN, settings)


def finish(folder: Path, report: dict[str, Any]) -> None:
    """Write the report, which makes the folder a finished one, and remove what only going on would need."""
    write_json(folder / REPORT, report)
    for left in (CHECKPOINT, f"{CHECKPOINT}.partial", RUN):
        (folder / left).unlink(missing_ok=True)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Beside its place first, so that it is there whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(partial, path)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file that `write_json` wrote. Raises ValueError if it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged: it holds a {type(content).__name__}")
    return content


def _refuse_other(folder: Path, stored: Any, settings: dict[str, Any]) -> None:
    stored = stored if isinstance(stored, dict) else {}
    changed = [key for key in settings if stored.get(key) != settings[key]]
    if changed:
        listed = "; ".join(f"{key} is {settings[key]!r} but was {stored.get(key)!r}" for key in changed)
        raise ValueError(f"{folder} belongs to another training ({listed}): give another --out, or remove the folder")
