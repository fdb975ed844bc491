"""The search for an input with a wanted property, by Hypothesis: the same in every run, and without a trace on disk."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any
from unittest import mock

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


def search(
    strategy: "SearchStrategy[dict[str, Any]]", wanted: Callable[[dict[str, Any]], bool], count: int
) -> dict[str, Any] | None:
    """The smallest input that Hypothesis finds for which `wanted` holds, or None after `count` inputs without one.

    The same inputs are tried in every run and on every machine, and nothing is written to disk.

    Raises ValueError if no input can be drawn, or if `wanted` changes its answer for the same input.
    """
    from hypothesis import HealthCheck, Phase, Verbosity, errors, find, settings

    quietly = settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        print_blob=False,
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    try:
        with _same_on_every_machine():
            # A random number generator of our own, or the draws would follow the text of Hypothesis's own code.
            return find(strategy, wanted, settings=quietly, random=Random(0))
    except errors.NoSuchExample:
        return None
    except errors.Unsatisfiable:
        raise ValueError("no input can be drawn: the conditions on it leave nothing") from None
    except errors.Flaky:
        raise ValueError("the claim gives different answers for the same input") from None


@contextmanager
def _same_on_every_machine() -> Iterator[None]:
    """Keep Hypothesis from writing to a folder, and from drawing constants that it reads in this machine's modules."""
    no_folder = mock.patch("hypothesis.configuration.__hypothesis_home_directory", Path(os.devnull))
    # Not there in older versions, which draw no such constants
    provider = "hypothesis.internal.conjecture.data.HypothesisProvider"
    no_constants = mock.patch(f"{provider}._maybe_draw_constant", lambda *_, **__: None, create=True)
    with no_folder, no_constants:
        yield
