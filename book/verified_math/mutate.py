"""`make mutate`: one slip at a time in what the book asserts, and whether the verification notices."""

import argparse
import json
import os
import sys
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import nbformat
import yaml

from .chapter import ROOT, run
from .citations import load_works
from .road import road
from .session import Session
from .slips import check_slips

BOOK = ROOT / "book"
SCORE = BOOK / "verified_math" / "score.json"
EXPLAINED = BOOK / "verified_math" / "survivors.yml"


def possible(path: Path) -> int:
    """How many slips a chapter offers, counted without running it."""
    works = load_works(BOOK / "references.bib", BOOK / "quoted.yml")
    session = Session(path.stem, {}, works, road(BOOK / "index.md"))
    count = 0
    cells = nbformat.read(path, as_version=4).cells
    for position, cell in enumerate(cells):
        if cell.cell_type == "code":
            count += sum(len(changes) for _, _, changes in check_slips(cell.source))
            claims = session.described(cell.metadata)
        else:
            following = next((other.source for other in cells[position + 1 :] if other.cell_type == "code"), "")
            claims = session.collect(cell.source, following)
        count += sum(len(list(item.claim.mutants())) for item in claims if item.claim is not None)
    return count


def mutants_of(path: Path, share: float, seed: int) -> list[dict[str, Any]]:
    return run(path, share=share, seed=seed).mutants


def explanations() -> dict[tuple[str, str, str], str]:
    """Why a survivor survives, by its chapter, its statement and what changed in it."""
    entries = yaml.safe_load(EXPLAINED.read_text(encoding="utf-8")) or []
    return {(entry["chapter"], entry["statement"], entry["change"]): entry["why"] for entry in entries}


def explained(outcomes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The survivors, each with the reason that is known for it, or with None."""
    known = explanations()
    survivors = [outcome for outcome in outcomes if outcome["result"] == "survived"]
    return [slip | {"why": known.get((slip["chapter"], slip["text"], slip["change"]))} for slip in survivors]


def scored(outcomes: list[dict[str, Any]]) -> list[tuple[str, int, int, int]]:
    """For each kind: slips that change the meaning, noticed, and those that change no value."""
    kinds: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for outcome in outcomes:
        kinds[outcome["kind"]][outcome["result"]] += 1
    return [
        (kind, counts["noticed"] + counts["survived"], counts["noticed"], counts["same"])
        for kind, counts in sorted(kinds.items())
    ]


def report(outcomes: list[dict[str, Any]]) -> int:
    """Print the score by kind and every survivor; return how many survivors nobody has explained."""
    rows = scored(outcomes)
    print(f"\n{'what slipped':<34}{'tried':>7}{'noticed':>9}{'score':>9}{'no change':>11}")
    for kind, tried, noticed, same in rows:
        print(f"{kind:<34}{tried:>7}{noticed:>9}{noticed / max(tried, 1):>9.1%}{same:>11}")
    survivors = explained(outcomes)
    for slip in survivors:
        print(f"survivor  {slip['chapter']} {slip['where']}  {slip['kind']}: {slip['change']}")
        print(f"          {slip['text']}\n          {slip['why'] or 'NOT EXPLAINED'}")
    tried, noticed = sum(row[1] for row in rows), sum(row[2] for row in rows)
    open_ = sum(slip["why"] is None for slip in survivors)
    print(
        f"{noticed} of {tried} slips noticed ({noticed / max(tried, 1):.2%}); "
        f"{len(survivors)} survivors, {open_} unexplained"
    )
    return open_


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="verified_math.mutate", description=__doc__)
    parser.add_argument("chapters", nargs="+", type=Path)
    parser.add_argument("--count", type=int, default=3000, help="about how many slips to try, all chapters together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", action="store_true", help=f"keep the score in {SCORE.name}, which the book shows")
    options = parser.parse_args(arguments)
    paths = [path.resolve() for path in options.chapters]
    total = sum(map(possible, paths))
    share = min(1.0, options.count / max(total, 1))
    print(
        f"{total} slips are possible in {len(paths)} chapters; "
        f"trying about {round(share * total)}, seed {options.seed}",
        flush=True,
    )
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(max_workers=2) as pool:
        futures = [pool.submit(mutants_of, path, share, options.seed) for path in paths]
        outcomes = [outcome for future in futures for outcome in future.result()]
    unexplained = report(outcomes)
    if options.record:
        kept = [{name: slip[name] for name in ("chapter", "text", "change", "why")} for slip in explained(outcomes)]
        data = {"seed": options.seed, "possible": total, "kinds": scored(outcomes), "survivors": kept}
        SCORE.write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
