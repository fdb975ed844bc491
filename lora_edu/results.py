"""Results that were measured once and are shown in the book: kept with their origin, and refused without it."""

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

PROVENANCE = ("device", "driver", "platform", "versions", "date", "command")


def record(
    path: str | os.PathLike[str], rows: list[dict[str, Any]], *, command: str, seeds: Sequence[int], **settings: Any
) -> None:
    """Write measured `rows`, the `seeds` and `settings` they were measured with, and their provenance, as JSON.

    `command` is what a reader does to measure them again. Raises ValueError if there is no row or no seed.
    """
    if not rows or not seeds:
        raise ValueError(f"there is nothing to record: {len(rows)} rows, {len(seeds)} seeds")
    settings["seeds"] = list(seeds)
    content = {"provenance": _provenance(command), "settings": settings, "rows": rows}
    Path(path).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def load_results(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Recorded results: {"provenance": …, "settings": …, "rows": [...]}. Raises ValueError if any part is missing."""
    content: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    missing = [key for key in ("provenance", "settings", "rows") if not content.get(key)]
    missing += [f"provenance.{key}" for key in PROVENANCE if key not in (content.get("provenance") or {})]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}: a result without its origin is not shown")
    return content


def _provenance(command: str) -> dict[str, Any]:
    on_gpu = torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name() if on_gpu else f"{_processor()}, {os.cpu_count()} cores",
        "driver": _driver() if on_gpu else "none (CPU)",
        "platform": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "transformers", "numpy")},
        "date": datetime.date.today().isoformat(),
        "command": command,
    }


def _driver() -> str:
    """The NVIDIA driver's version, and the CUDA runtime that torch was built with."""
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        version = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        version = "unknown"
    return f"{version}, CUDA {torch.version.cuda}"


def _processor() -> str:
    """The processor's name, as Linux tells it; elsewhere what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
