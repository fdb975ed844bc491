"""Two sides of a comparison, measured in turn, and the row that comes out of it.

What the machine does beside us slows both sides alike when they take turns; which one goes first alternates. `ratio`
is that of the medians, and `low` to `high` is the middle half of the ratios of the pairs. Below 1, `lora_edu` takes
less.
"""

import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Side:
    """`work` is timed; what it works on is made by `prepare` each time, and that is not timed."""

    work: Callable[[Any], object]
    prepare: Callable[[], Any] = lambda: None

    def seconds(self) -> float:
        given = self.prepare()
        started = time.perf_counter()
        kept = self.work(given)
        taken = time.perf_counter() - started
        del kept  # after the clock has stopped: to free a model takes time as well
        return taken


def compare(name: str, ours: Side, theirs: Side, seconds: float, against: str = "peft") -> Row:
    """Time both sides for about `seconds` in all, in 8 to 100 pairs after the warm-up, print the row and return it."""
    for side in (ours, theirs):
        side.seconds()
    started = time.perf_counter()
    for side in (ours, theirs, theirs, ours):
        side.seconds()
    pairs = int(min(100, max(8, 2 * seconds / (time.perf_counter() - started))))
    gc.collect()
    taken: dict[Side, list[float]] = {ours: [], theirs: []}
    for n in range(pairs):
        for side in (ours, theirs) if n % 2 == 0 else (theirs, ours):
            taken[side].append(side.seconds())
    return row(name, [1e3 * t for t in taken[ours]], [1e3 * t for t in taken[theirs]], "ms", against)


def compare_bytes(name: str, script: str, ours: str, theirs: str, repeats: int = 3) -> Row:
    """The same for bytes, which `script` prints when it is given a side; each measurement is a process of its own."""
    measured: dict[str, list[float]] = {ours: [], theirs: []}
    for n in range(repeats):
        for side in (ours, theirs) if n % 2 == 0 else (theirs, ours):
            result = subprocess.run([sys.executable, script, side], capture_output=True, text=True, check=True)
            measured[side].append(json.loads(result.stdout) / 1e6)
    return row(name, measured[ours], measured[theirs], "MB", "peft")


def row(name: str, ours: list[float], theirs: list[float], unit: str, against: str) -> Row:
    middle = {"ours": statistics.median(ours), "theirs": statistics.median(theirs)}
    ratio = middle["ours"] / middle["theirs"]
    low, _, high = statistics.quantiles([a / b for a, b in zip(ours, theirs, strict=True)], n=4)
    figures = "".join(f"{value:10.2f} {unit}" for value in middle.values())
    print(f"{name:<48}{figures}   ratio {ratio:.3f}   (middle half {low:.3f} to {high:.3f})", flush=True)
    spread = {"ratio": ratio, "low": low, "high": high, "pairs": len(ours)}
    return {"name": name, "against": against, "unit": unit} | middle | spread


def heading(title: str, ours: str, theirs: str) -> None:
    print(f"\n{title:<48}{ours:>13}{theirs:>13}", flush=True)
