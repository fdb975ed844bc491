"""`make bench`: LoRA here against `peft`, and the randomized SVD against scikit-learn's, in one run, as ratios.

Both sides take turns, so that a busy machine slows both alike; which one goes first alternates. A ratio below 1
means that `lora_edu` takes less. Times are medians; the range is the middle half of the pairwise ratios. Peak
memory is measured in a process of its own for each side, the sides again in turn. The SVD's part, and how it grows
with the size of the matrix, is in `bench_svd.py`.
"""

import argparse
import copy
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import bench_svd
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from lora_edu import add_lora, load_text_classifier, merge
from lora_edu.memory import PeakMemory

TARGETS = ["query", "key", "value", "dense"]
Step = Callable[[], object]


def adapted(side: str, base: nn.Module) -> nn.Module:
    """The same LoRA (r = 8, α = 16, all 36 encoder matrices, no dropout) by `lora_edu` or by `peft`."""
    torch.manual_seed(0)
    if side == "lora_edu":
        return add_lora(base, TARGETS, r=8, alpha=16)
    return get_peft_model(base, LoraConfig(r=8, lora_alpha=16, target_modules=TARGETS, lora_dropout=0.0))


def batch(size: int, length: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1000, 20000, (size, length), generator=generator)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def forward(model: nn.Module, inputs: dict[str, torch.Tensor]) -> Step:
    model.eval()

    def step() -> None:
        with torch.no_grad():
            model(**inputs)

    return step


def training_step(model: nn.Module, inputs: dict[str, torch.Tensor]) -> Step:
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    labels = torch.zeros(len(inputs["input_ids"]), dtype=torch.long)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(**inputs), labels).backward()
        optimizer.step()

    return step


def compare(name: str, ours: Step, theirs: Step, pairs: int) -> None:
    """Time two steps in turn and print the ratio of medians with the middle half of the pairwise ratios."""
    for step in (ours, theirs):
        for _ in range(3):
            step()
    taken: dict[Step, list[float]] = {ours: [], theirs: []}
    for n in range(pairs):
        for step in (ours, theirs) if n % 2 == 0 else (theirs, ours):
            started = time.perf_counter()
            step()
            taken[step].append(time.perf_counter() - started)
    ratio = statistics.median(taken[ours]) / statistics.median(taken[theirs])
    low, _, high = statistics.quantiles([a / b for a, b in zip(taken[ours], taken[theirs], strict=True)], n=4)
    first, second = (f"{1000 * statistics.median(taken[step]):8.2f} ms" for step in (ours, theirs))
    print(f"{name:<44}{first}{second}   ratio {ratio:.3f}   (middle half {low:.3f} to {high:.3f})", flush=True)


def peak_of_training(side: str) -> int:
    """Bytes by which the resident size of this process peaks above its size before, over five training steps."""
    model, _ = load_text_classifier()
    step = training_step(adapted(side, model), batch(16, 48))
    with PeakMemory(torch.device("cpu")) as before:
        pass
    with PeakMemory(torch.device("cpu")) as peak:
        for _ in range(5):
            step()
    return peak.bytes - before.bytes


def lora_against_peft(pairs: int) -> None:
    base, _ = load_text_classifier()
    ours, theirs = (adapted(side, copy.deepcopy(base)) for side in ("lora_edu", "peft"))
    print(f"{'MiniLM, r = 8 on 36 matrices, float32, CPU':<44}{'lora_edu':>11}{'peft':>11}")
    for size, length in ((1, 32), (16, 48)):
        inputs = batch(size, length)
        compare(f"forward, batch {size} × {length}", forward(ours, inputs), forward(theirs, inputs), pairs)
    inputs = batch(16, 48)
    compare("training step, batch 16 × 48", training_step(ours, inputs), training_step(theirs, inputs), pairs)
    sides = {"lora_edu": list[int](), "peft": list[int]()}
    for _ in range(3):
        for side, peaks in sides.items():
            command = [sys.executable, __file__, "--peak", side]
            result = subprocess.run(command, capture_output=True, text=True, check=True)
            peaks.append(json.loads(result.stdout))
    first, second = (statistics.median(peaks) for peaks in sides.values())
    name = "peak memory of training, above the model"
    print(f"{name:<44}{first / 1e6:8.1f} MB{second / 1e6:8.1f} MB   ratio {first / second:.3f}")

    print(f"\n{'':<44}{'merged':>11}{'pretrained':>11}")
    merge(ours)
    for size, length in ((1, 32), (16, 48)):
        inputs = batch(size, length)
        compare(f"forward, batch {size} × {length}", forward(ours, inputs), forward(base, inputs), pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=40, help="timed pairs for each comparison")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs for each point of the growth")
    parser.add_argument("--record", action="store_true", help="measure the growth alone, and keep it for the book")
    parser.add_argument("--only", choices=["lora", "svd"], help="one part alone")
    parser.add_argument("--peak", choices=["lora_edu", "peft"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        print(json.dumps(peak_of_training(arguments.peak)))
        return

    torch.set_num_threads(2)
    if arguments.only != "svd" and not arguments.record:
        lora_against_peft(arguments.pairs)
    if arguments.only != "lora" and not arguments.record:
        bench_svd.against_sklearn(compare, arguments.pairs)
    if arguments.only != "lora":
        bench_svd.growth(arguments.repeats, arguments.record)


if __name__ == "__main__":
    main()
