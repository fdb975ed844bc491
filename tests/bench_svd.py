"""The randomized SVD against scikit-learn's at equal error, and how time and memory grow with m, n and k.

`python tests/bench.py --only growth --record` keeps the growth in book/results/09_growth.json, where chapter 09 draws
it. Each point is measured in a process of its own: time as the shortest of several runs, since what else the machine
does only ever adds to it, and memory as the peak above what the process held with A.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_timing import Row, Side, compare, heading
from scipy.fft import idct
from sklearn.utils.extmath import randomized_svd as sklearn_svd

from lora_edu import randomized_svd
from lora_edu.memory import PeakMemory
from lora_edu.results import record

M, N, K = 90_000, 1_000, 10
SWEEPS: dict[str, tuple[int, ...]] = {
    "m": (5_625, 11_250, 22_500, 45_000, M),
    "n": (125, 250, 500, N),
    "k": (K, 20, 40, 80),
}
FULL_AT_MOST = 30_000 * 1_000  # entries: above that the full SVD takes too long, and too much memory
SIDES: dict[str, Callable[[np.ndarray, int], Any]] = {
    "lora_edu": lambda A, k: randomized_svd(A, k),
    "scikit-learn": lambda A, k: sklearn_svd(A, k, n_oversamples=10, n_iter=2, random_state=0),
    "full SVD": lambda A, k: np.linalg.svd(A, full_matrices=False),
}
RESULTS = Path(__file__).parent.parent / "book" / "results" / "09_growth.json"


def spectrum(n: int) -> np.ndarray:
    return 10_000 / np.arange(1, n + 1)


def matrix(m: int, n: int, seed: int = 0) -> np.ndarray:
    """(m, n) float32 with the singular values `spectrum(n)`: the construction of chapter 09."""
    rng = np.random.default_rng(seed)
    V = np.linalg.qr(rng.standard_normal((n, n)))[0]
    frequencies, signs = rng.choice(m, n, replace=False), rng.choice(np.float32([-1, 1]), (m, 1))
    A = np.empty((m, n), np.float32)
    for start in range(0, n, 25):
        part = np.zeros((m, min(25, n - start)), np.float32)
        part[frequencies] = spectrum(n)[:, None] * V[start : start + 25].T
        A[:, start : start + 25] = signs * idct(part, axis=0, norm="ortho")
    return A


def above_best(A: np.ndarray, k: int, side: str) -> float:
    """Error of the projection on the k left vectors that a side finds, as a multiple of the best, minus one."""
    U, sigma = SIDES[side](A, k)[0][:, :k], spectrum(A.shape[1])
    kept = float(np.linalg.norm((U.T @ A).astype(np.float64)))
    return float(np.sqrt(np.sum(sigma**2) - kept**2) / np.linalg.norm(sigma[k:])) - 1


def against_sklearn(seconds: float) -> list[Row]:
    """Rank 10 of 90,000 × 1,000: the errors of both sides, then their times in turn."""
    heading("randomized SVD, float32, 20 vectors, 2 steps", "lora_edu", "scikit-learn")
    A = matrix(M, N)
    errors = [100 * above_best(A, K, side) for side in ("lora_edu", "scikit-learn")]
    print(f"{'error above the best of rank 10':<48}{errors[0]:11.4f} %{errors[1]:11.4f} %")
    sides = [Side(lambda A, work=SIDES[side]: work(A, K), lambda: A) for side in ("lora_edu", "scikit-learn")]
    return [compare(f"rank {K} of {M:,} × {N:,}", *sides, seconds, against="scikit-learn")]


def measure(what: str, side: str, m: int, n: int, k: int, repeats: int) -> float:
    """One point, in this process: the shortest time in seconds, or the peak of memory above that before in bytes."""
    A, work = matrix(m, n), SIDES[side]
    work(A[: 2 * n], k)
    taken = []
    with PeakMemory(torch.device("cpu")) as before:
        pass
    with PeakMemory(torch.device("cpu")) as peak:
        for _ in range(repeats if what == "seconds" else 1):
            started = time.perf_counter()
            work(A, k)
            taken.append(time.perf_counter() - started)
    return min(taken) if what == "seconds" else peak.bytes - before.bytes


def in_a_process(what: str, *point: str | int) -> float:
    """`measure` in a process of its own. For memory, malloc gives freed blocks back, so that none is reused unseen."""
    command = [sys.executable, __file__, what, *map(str, point)]
    environment = os.environ | ({"MALLOC_MMAP_THRESHOLD_": "65536"} if what == "bytes" else {})
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return float(json.loads(result.stdout))


def growth(repeats: int, keep: bool) -> None:
    """Print the three sweeps, each point from a process of its own; with `keep` record them for the book."""
    print(f"\n{'growth':<14}{'m':>8}{'n':>7}{'k':>5}{'seconds':>10}{'MB above A':>12}", flush=True)
    rows, known = [], dict[tuple[Any, ...], dict[str, float]]()
    for sweep, sizes in SWEEPS.items():
        for size in sizes:
            m, n, k = (size if name == sweep else fixed for name, fixed in (("m", M), ("n", N), ("k", K)))
            for side in SIDES:
                if side == "full SVD" and (sweep == "k" or m * n > FULL_AT_MOST):
                    continue
                point = (side, m, n, k)
                if point not in known:
                    known[point] = {what: in_a_process(what, *point, repeats) for what in ("seconds", "bytes")}
                seconds, size_bytes = known[point]["seconds"], known[point]["bytes"]
                print(f"{side:<14}{m:>8,}{n:>7,}{k:>5}{seconds:>10.3f}{size_bytes / 1e6:>12.1f}", flush=True)
                rows.append({"side": side, "sweep": sweep, "m": m, "n": n, "k": k, "seed": 0, **known[point]})
    if keep:
        command_line = "python tests/bench.py --record"
        settings = {"oversampling": 10, "power_steps": 2, "dtype": "float32", "repeats": repeats}
        record(RESULTS, rows, command=command_line, seeds=[0], **settings)
        print(f"kept in {RESULTS.name}")


if __name__ == "__main__":
    print(json.dumps(measure(*sys.argv[1:3], *map(int, sys.argv[3:]))))
