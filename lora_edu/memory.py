"""Peak memory of a piece of work: allocated bytes on a GPU, resident bytes of the process on a CPU."""

import contextlib
import sys
from pathlib import Path
from types import TracebackType

import torch


class PeakMemory:
    """Measure the peak in a `with` block; `bytes` holds it afterwards.

    On a GPU it is what PyTorch allocated (`torch.cuda.max_memory_allocated`). On a CPU it is the largest resident
    size of the whole process while the block ran. Where the system cannot restart that count (it is Linux that
    can), it is the largest since the process began.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.bytes = 0

    def __enter__(self) -> "PeakMemory":
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            _restart_peak()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bytes = torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else _peak_resident()


def _restart_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # see proc(5): resets VmHWM


def _peak_resident() -> int:
    try:
        line = next(s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration):
        import resource  # not on Windows, where there is no such count

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
