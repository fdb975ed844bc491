"""Starting torchrun from a program, seeing what it prints, and leaving nothing behind: for a chapter and the tests."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

COMMAND = ("-m", "torch.distributed.run", "--standalone")
GRACE = 20  # seconds for torchrun to end its own processes


def torchrun(
    *arguments: str | os.PathLike[str],
    processes: int = 2,
    restarts: int = 0,
    timeout: float = 300.0,
    on_line: Callable[[str], None] | None = None,
) -> list[str]:
    """Run a module under torchrun (`torchrun("-m", "lora_edu.distributed", …)`), and return the lines it printed.

    Each process has one thread. `on_line` sees each line as it comes. After `timeout` seconds, or an error in
    `on_line`, torchrun and all its processes are ended.

    Raises RuntimeError, with the end of the error output, if the run fails or takes longer.
    """
    command = [sys.executable, *COMMAND, "--nproc-per-node", str(processes), "--max-restarts", str(restarts)]
    process = subprocess.Popen(
        [*command, *(os.fspath(argument) for argument in arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
    )
    errors: list[str] = []
    reader = threading.Thread(target=lambda: errors.extend(process.stderr or ()), daemon=True)
    reader.start()
    late = threading.Event()

    def stop() -> None:
        late.set()
        _end(process)

    timer = threading.Timer(timeout, stop)
    timer.daemon = True
    timer.start()
    lines: list[str] = []
    try:
        for line in process.stdout or ():
            lines.append(line.rstrip("\n"))
            if on_line is not None:
                on_line(lines[-1])
        process.wait()
    finally:
        timer.cancel()
        _end(process)
    reader.join(timeout=GRACE)
    if process.returncode or late.is_set():
        why = f"took longer than {timeout:g} seconds" if late.is_set() else f"failed ({process.returncode})"
        raise RuntimeError(f"{' '.join(command)} … {why}:\n{''.join(errors)[-3000:]}")
    return lines


def _end(process: subprocess.Popen[str]) -> None:
    """Ask torchrun to end its processes; if it does not, kill them and it. Each of them leads a group of its own."""
    if process.poll() is None:
        groups = _children(process.pid)
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=GRACE)
        if process.poll() is None:
            process.kill()
            for group in groups:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(group, signal.SIGKILL)
            process.wait()


def _children(parent: int) -> list[int]:
    """The processes that `parent` started, as Linux lists them; elsewhere none are known."""
    listed = Path(f"/proc/{parent}/task/{parent}/children")
    return [int(child) for child in listed.read_text().split()] if listed.exists() else []
