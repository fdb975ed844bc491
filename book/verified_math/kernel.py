"""The verifier's end in a chapter's kernel: `chapter.py` calls these functions between the cells."""

import json
import random
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from .citations import load_works
from .road import road
from .session import Session
from .slips import Slips

BOOK = Path(__file__).resolve().parents[1]
_session: Session
_slips: Slips


def start(chapter: str, seed: int, share: float) -> None:
    global _session, _slips
    from IPython.core.getipython import get_ipython

    names = get_ipython().user_ns  # type: ignore[union-attr]
    works = load_works(BOOK / "references.bib", BOOK / "quoted.yml")
    _slips = Slips(chapter, seed, share)
    _session = Session(chapter, names, works, road(BOOK / "index.md"), _slips.watch if share else None)


@contextmanager
def unseen_by_the_chapter() -> Iterator[None]:
    """Leave the generators of random numbers as they were: the next cell draws as if nobody had looked at the prose."""
    torch = sys.modules.get("torch")
    states = random.getstate(), np.random.get_state(), torch and torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        if torch:
            torch.set_rng_state(states[2])


@unseen_by_the_chapter()
def markdown(cell: str, source: str, next_code: str) -> None:
    _session.markdown(cell, source, next_code)


@unseen_by_the_chapter()
def code(cell: str, metadata: Mapping[str, Any], source: str) -> None:
    _session.code(cell, metadata, source)
    if _slips.share:
        _slips.after(cell, source, _session.names)


def save(path: str) -> None:
    data = {
        "records": [asdict(record) for record in _session.finish()],
        "mentions": _session.mentions,
        "mutants": [asdict(outcome) for outcome in _slips.outcomes],
    }
    Path(path).write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
