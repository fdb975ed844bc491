"""What a verified chapter leaves behind: its ledger as a file, and its outputs in the cache that the pages come from.

So one run of a chapter serves the verification and the page.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import nbformat
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from lora_book import cache_folder, environment_key

from .chapter import ROOT, Run

LEDGER = ROOT / "_build" / "verified"
RULES = ("references.bib", "quoted.yml", "index.md")


def key(path: Path) -> str:
    """A hash of what a chapter's verdicts depend on: its text and code, the package, the verifier, what it looks up."""
    digest = hashlib.sha256(environment_key().encode())
    for cell in nbformat.read(path, as_version=4).cells:
        digest.update(json.dumps([cell.cell_type, cell.source, cell.metadata], sort_keys=True).encode())
    for file in sorted((ROOT / "book" / "verified_math").glob("*.py")) + [ROOT / "book" / name for name in RULES]:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def keep(result: Run) -> None:
    """Keep the ledger and the outputs of a run."""
    LEDGER.mkdir(parents=True, exist_ok=True)
    name = result.path.relative_to(ROOT).with_suffix("").as_posix()
    data = {"page": name, "key": key(result.path), "mentions": result.mentions, "records": result.records}
    target = LEDGER / f"{result.path.stem}.json"
    target.write_text(json.dumps(data, ensure_ascii=False, indent=1), encoding="utf-8")
    folder = cache_folder(ROOT / "_build")
    folder.mkdir(parents=True, exist_ok=True)
    bundle = CacheBundleIn(result.notebook, str(result.path), data={})
    get_cache(str(folder)).cache_notebook_bundle(bundle, check_validity=False, overwrite=True)


def kept(path: Path) -> dict[str, Any] | None:
    """The ledger of a chapter as it is now, or None when it has changed since it was verified."""
    target = LEDGER / f"{path.stem}.json"
    if not target.exists():
        return None
    data: dict[str, Any] = json.loads(target.read_text(encoding="utf-8"))
    return data if data["key"] == key(path) else None
