"""`make bench`: LoRA here against peft and loralib, and the randomized SVD against scikit-learn's, as ratios.

    lora       plain LoRA on MiniLM: injection, forward, training step, merged, memory     bench_lora.py
    files      merge, unmerge, save, load                                                  bench_files.py
    variants   injection, forward and training step of each variant that peft has          bench_lora.py
    loralib    forward, training step and merge, and a layer with q, k and v fused         bench_loralib.py
    svd        rank 10 of 90,000 × 1,000                                                   bench_svd.py
    growth     how the SVD's time and memory grow with the matrix                          bench_svd.py

A ratio below 1 means that `lora_edu` takes less; `bench_timing.py` says how two sides are measured in turn. With
`--record`, what was measured is kept in book/results: the ratios in bench.json, the growth in 09_growth.json.
"""

import argparse
import importlib.metadata
import sys
from pathlib import Path

import bench_files
import bench_lora
import bench_loralib
import bench_svd
import torch
from bench_timing import Row

from lora_edu.results import record

PARTS = "lora", "files", "variants", "loralib", "svd", "growth"
RESULTS = Path(__file__).parent.parent / "book" / "results" / "bench.json"


def rows_of(part: str, seconds: float) -> list[Row]:
    if part == "lora":
        plain = bench_lora.against_peft("lora", seconds)
        return plain + bench_lora.merged_against_plain(seconds) + bench_lora.memory()
    if part == "files":
        return bench_files.against_peft(seconds)
    if part == "variants":
        variants = [name for name in (*bench_lora.SETTINGS, "vera") if name != "lora"]
        return [row for name in variants for row in bench_lora.against_peft(name, seconds)]
    if part == "loralib":
        return bench_loralib.against_loralib(seconds)
    return bench_svd.against_sklearn(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4, help="about how long each comparison takes")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch")
    parser.add_argument("--repeats", type=int, default=4, help="timed runs for each point of the growth")
    parser.add_argument("--record", action="store_true", help="keep what was measured for the book")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help="these parts alone")
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    chosen = [part for part in PARTS if part in arguments.only]
    rows: list[Row] = []
    for part in chosen:
        if part == "growth":
            bench_svd.growth(arguments.repeats, arguments.record)
        else:
            rows += [{"part": part, "seed": 0} | row for row in rows_of(part, arguments.seconds)]
    above = [f"  {row['ratio']:.3f}  {row['part']}, {row['name']}" for row in rows if row["ratio"] > 1]
    print(f"\n{len(above)} of {len(rows)} ratios are above 1.00", *above, sep="\n")
    if rows and arguments.record:
        command = " ".join(["python tests/bench.py", *sys.argv[1:]])
        others = {name: importlib.metadata.version(name) for name in ("peft", "loralib", "scikit-learn")}
        settings = {"threads": arguments.threads, "seconds": arguments.seconds, "others": others}
        record(RESULTS, rows, command=command, seeds=[0], **settings)
        print(f"kept in {RESULTS.name}")


if __name__ == "__main__":
    main()
