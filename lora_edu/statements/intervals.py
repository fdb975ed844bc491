"""Empirical statements: an interval over seeds, inside the bounds that were claimed for it."""

import math
from collections.abc import Iterable

import numpy as np
from scipy.special import stdtrit

from .statement import Statement


def empirical(
    name: str, values: Iterable[float], *, low: float | None = None, high: float | None = None, expected: bool = True
) -> Statement:
    """Whether the 95 % interval of the mean of `values`, one for each seed, lies inside [low, high].

    The interval is Student's, mean ± t · s/√n: it takes the values as independent and about normal. One of the two
    bounds may be left out.

    Raises ValueError unless there are two finite values or more, and a bound, and low ≤ high.
    """
    x = np.asarray(list(values), dtype=np.float64)
    if x.ndim != 1 or len(x) < 2 or not np.isfinite(x).all():
        raise ValueError(f"an interval needs two finite numbers or more, not {x.tolist()}")
    floor, ceiling = -math.inf if low is None else low, math.inf if high is None else high
    if (low is None and high is None) or not floor <= ceiling:
        raise ValueError(f"low={low} and high={high} must give at least one bound, with low ≤ high")
    half = float(stdtrit(len(x) - 1, 0.975) * x.std(ddof=1)) / math.sqrt(len(x))
    start, end = float(x.mean()) - half, float(x.mean()) + half
    holds = bool(floor <= start and end <= ceiling)
    bounds = f"{'(-∞' if low is None else f'[{low:.3g}'}, {'∞)' if high is None else f'{high:.3g}]'}"
    place = f"{'inside' if holds else 'not inside'} {bounds}"
    detail = f"95 % interval of the mean over {len(x)} seeds: [{start:.3g}, {end:.3g}] {place}"
    return Statement("empirical", name, holds, expected, detail)
