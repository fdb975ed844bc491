"""Memory of a piece of work: at its peak, as the device or the process has it, and as PyTorch's tensors make it up.

`PeakMemory` asks the GPU's allocator, or the operating system. `TensorMemory` adds up tensors: it can be compared with
a formula, on any device, and gives the same number every time.
"""

import contextlib
import sys
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


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


class TensorMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own lacks types
    """Bytes of all tensors made in a `with` block while they live: `bytes` now, `peak` at most.

    What was there before does not count, and neither does what a single operation needs inside itself.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = self.peak = 0
        self._known = dict[int, Any]()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        before = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and (storage := tensor.untyped_storage())._cdata not in before:
                self._count(storage)
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return

        def gone(_: Any) -> None:
            self.bytes -= size
            del self._known[key]

        self._known[key] = weakref.ref(storage, gone)
        self.bytes += size
        self.peak = max(self.peak, self.bytes)


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
