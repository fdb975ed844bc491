"""`make verify`: run chapters and decide what they assert. Exit status 1, and the statement, when one is false.

Two chapters run at the same time, with one thread each: that takes less than one after the other with two threads,
because little in a chapter is large enough for two.
"""

import argparse
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from nbclient.exceptions import CellExecutionError

from .chapter import ROOT, Run, run
from .store import keep, kept

MARKS = {"false": "FALSE", "unbound": "UNBOUND", "unparsed": "NOT READ", "unsupported": "NO EVIDENCE"}


def summary(result: Run) -> str:
    kinds = Counter(record["kind"] for record in result.records if record["status"] == "true")
    exempt = sum(record["status"] == "exempt" for record in result.records)
    counted = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return f"{counted or 'nothing'}; {exempt} exempt; {result.mentions} mentions; {len(result.failures)} not verified"


def report(result: Run) -> None:
    print(f"{result.path.name}: {summary(result)}", flush=True)
    for record in result.failures:
        print(
            f"  {MARKS[record['status']]}  {record['id']}  {record['section']}\n"
            f"    {record['text']}\n    {record['detail']}"
        )


def timed_run(path: Path) -> tuple[Run | str, float]:
    """What came of a chapter, or the message of the cell that failed, and the seconds it took."""
    started = time.perf_counter()
    try:
        result: Run | str = run(path)
    except CellExecutionError as error:
        result = str(error)
    return result, time.perf_counter() - started


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="verified_math", description=__doc__)
    parser.add_argument("chapters", nargs="+", type=Path, help="notebooks")
    parser.add_argument("--changed", action="store_true", help="only those that have changed since they were verified")
    options = parser.parse_args(arguments)
    missing = [str(path) for path in options.chapters if not path.is_file()]
    if missing:
        parser.error(f"there is no {', '.join(missing)}")
    results, failures = [], 0
    paths = [path.resolve() for path in options.chapters]
    paths = [path for path in paths if not (options.changed and kept(path))]
    if len(paths) > 1:
        os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(max_workers=2) as pool:
        for path, (result, seconds) in zip(paths, pool.map(timed_run, paths), strict=True):
            if isinstance(result, str):
                print(f"{path.name}: a cell failed\n{result}", flush=True)
                failures += 1
                continue
            results.append(result)
            report(result)
            print(f"  in {seconds:.0f} s", flush=True)
            if not result.failures and path.is_relative_to(ROOT):
                keep(result)
    failures += sum(len(result.failures) for result in results)
    decided = sum(len(result.records) for result in results)
    print(f"{decided} statements in {len(results)} pages; {failures} not verified")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
