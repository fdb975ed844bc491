"""`make verify`: run chapters and decide what they assert. Exit status 1, and the statement, when one is false."""

import argparse
import sys
import time
from collections import Counter
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


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="verified_math", description=__doc__)
    parser.add_argument("chapters", nargs="+", type=Path, help="notebooks")
    parser.add_argument("--changed", action="store_true", help="only those that have changed since they were verified")
    options = parser.parse_args(arguments)
    missing = [str(path) for path in options.chapters if not path.is_file()]
    if missing:
        parser.error(f"there is no {', '.join(missing)}")
    results, failures = [], 0
    for path in (path.resolve() for path in options.chapters):
        if options.changed and kept(path):
            continue
        started = time.perf_counter()
        try:
            results.append(run(path))
        except CellExecutionError as error:
            print(f"{path.name}: a cell failed\n{error}", flush=True)
            failures += 1
            continue
        report(results[-1])
        print(f"  in {time.perf_counter() - started:.0f} s", flush=True)
        if not results[-1].failures and path.is_relative_to(ROOT):
            keep(results[-1])
    failures += sum(len(result.failures) for result in results)
    decided = sum(len(result.records) for result in results)
    print(f"{decided} statements in {len(results)} pages; {failures} not verified")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
