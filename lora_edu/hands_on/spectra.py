"""The spectra of ΔW, chapter 10: choose a layer and a matrix, move k, and read how much the first k directions hold.

Singular values are packed into two bytes each, on a logarithmic scale: relative to the largest, in steps of
2^(1/2048), which is a rounding of at most 0.02 %. Six layers of six matrices fit in 40 kB that way.
"""

import base64
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..linalg.checks import Array, as_matrix
from .figure import HandsOn, table

STEPS = 2048  # to a factor of two
ZERO = 65535  # the code of a value that is zero, or below 2^-32 of the largest
Spectra = Mapping[tuple[int, str], ArrayLike]


def update_spectra(
    spectra: Spectra, k: int = 8, *, weights: Spectra | None = None, random: Spectra | None = None
) -> HandsOn:
    """Singular values of ΔW by (layer, kind), for example (0, "query"), with those of W and of a random matrix beside.

    `weights` and `random` need the same keys as `spectra`; what is left out is not drawn. The figure shows σᵢ/σ₁, the
    share of ‖ΔW‖²_F in the first k directions, the stable rank ‖ΔW‖²_F / σ₁², and the sum of all σᵢ.

    Raises ValueError for no spectrum at all, a spectrum that is not a finite row of values sorted downwards with the
    first above zero, other keys in `weights` or `random`, or k outside 1 … length of the shortest spectrum.
    """
    read = _read(spectra, "spectra")
    if not read:
        raise ValueError("there is no spectrum to draw: spectra is empty")
    shortest = min(len(s) for s in read.values())
    if not 1 <= k <= shortest:
        raise ValueError(f"k={k} must be between 1 and {shortest}, the length of the shortest spectrum")
    lines = {"ΔW": read}
    for name, more in (("W", weights), ("random", random)):
        if more is not None:
            lines[name] = _read(more, name)
            if set(lines[name]) != set(read):
                raise ValueError(f"{name} must have the keys of spectra; they differ in {set(read) ^ set(lines[name])}")
    layers = sorted({layer for layer, _ in read})
    kinds = list(dict.fromkeys(kind for _, kind in read))
    first = next(iter(read))
    packed = {name: [[*key, *pack(s)] for key, s in sorted_items(group, kinds)] for name, group in lines.items()}
    share, stable = _share(read[first], k), _stable_rank(read[first])
    return HandsOn(
        figure="update-spectra",
        title="Spectrum of ΔW",
        data={"layers": layers, "kinds": kinds, "lines": packed},
        state={"layer": first[0], "kind": first[1], "k": k},
        still=table(f"Share of ‖ΔW‖² in the first {k} directions", _overview(read, layers, kinds, k)),
        words=f"in layer {first[0]}, {first[1]}, the first {k} directions hold {share} % of ‖ΔW‖², "
        f"and the stable rank is {stable}.",
    )


def pack(s: Array) -> tuple[float, str]:
    """The largest value, to seven digits, and base64 of two bytes for each: round(2048 · log₂(σ₁/σᵢ)), 65535 for 0."""
    with np.errstate(divide="ignore"):
        codes = np.rint(STEPS * np.log2(s[0] / s))
    return float(f"{s[0]:.7g}"), base64.b64encode(np.minimum(codes, ZERO).astype("<u2").tobytes()).decode()


def sorted_items(group: Mapping[tuple[int, str], Array], kinds: list[str]) -> Iterable[tuple[tuple[int, str], Array]]:
    """The spectra by layer, and within a layer in the order of `kinds`."""
    return sorted(group.items(), key=lambda item: (item[0][0], kinds.index(item[0][1])))


def _read(spectra: Spectra, name: str) -> dict[tuple[int, str], Array]:
    read = {}
    for key, values in spectra.items():
        if not (isinstance(key, tuple) and len(key) == 2 and isinstance(key[1], str)):
            raise ValueError(f"{name}: a key is a pair (layer, kind) such as (0, 'query'), got {key!r}")
        s = as_matrix(np.atleast_2d(np.asarray(values))).astype(np.float64)
        if len(s) != 1:
            raise ValueError(f"{name}[{key}]: expected one row of singular values, got shape {s.shape}")
        if s[0, 0] <= 0 or s.min() < 0 or (np.diff(s[0]) > 0).any():
            raise ValueError(f"{name}[{key}]: singular values are sorted downwards, the first above zero, none below")
        read[int(key[0]), key[1]] = s[0]
    return read


def _overview(read: dict[tuple[int, str], Array], layers: list[int], kinds: list[str], k: int) -> list[list[str]]:
    def cell(layer: int, kind: str) -> str:
        return f"{_share(read[layer, kind], k)} %" if (layer, kind) in read else "–"

    return [["layer", *kinds], *([str(layer), *(cell(layer, kind) for kind in kinds)] for layer in layers)]


def _share(s: Array, k: int) -> Any:
    return f"{100 * float((s[:k] ** 2).sum() / (s**2).sum()):.0f}"


def _stable_rank(s: Array) -> str:
    return f"{float((s**2).sum() / s[0] ** 2):.1f}"
