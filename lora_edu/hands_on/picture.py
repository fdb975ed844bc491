"""The rank slider of chapter 08: a photograph at rank k, with its error, its energy and what it costs to store.

The figure carries the picture in eight bits and nothing else. The browser takes the SVD itself, of exactly the picture
that is shown, so every rank up to the full one is within reach and every number on the page can be checked.
"""

import base64
import struct
import zlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..linalg import break_even_rank, factored_size
from ..linalg.checks import Array, as_matrix
from .figure import HandsOn, table

LONGEST = 256  # pixels on the longer side: larger pictures are averaged down to this
SHOWN = (1, 2, 4, 8, 16, 32, 64, 128)  # the ranks of the table for readers without a script


def rank_slider(picture: ArrayLike, k: int = 8) -> HandsOn:
    """A grey picture, entries in [0, 1] from black to white, at rank k: by SVD in the browser, with its errors.

    A picture with more than 256 pixels on its longer side is first made smaller: each square of c x c pixels becomes
    its mean, with the smallest whole c that suffices, and what is left over at the right and below is cut off. Grey
    levels are rounded to 256 steps. The numbers in the figure are those of this smaller picture.

    Raises ValueError for a picture that is not a finite matrix with entries in [0, 1], is narrower than two pixels,
    is black all over, or for k outside 1 … min(m, n) of the picture as shown.
    """
    grey = as_matrix(picture)
    if grey.min() < 0 or grey.max() > 1:
        raise ValueError(f"a picture has entries from 0 to 1, got {grey.min():g} to {grey.max():g}")
    levels = np.rint(255 * shrink(grey.astype(np.float64))).astype(np.uint8)
    m, n = levels.shape
    if min(m, n) < 2:
        raise ValueError(f"a picture needs at least 2 x 2 pixels, got {(m, n)} after resizing")
    if not levels.any():
        raise ValueError("the picture is black all over: there is nothing to approximate")
    if not 1 <= k <= min(m, n):
        raise ValueError(f"k={k} must be between 1 and min(m, n)={min(m, n)} of the picture as shown, {m} x {n}")
    s = np.linalg.svd(levels.astype(np.float64), compute_uv=False)
    rows = [("rank", "error in grey levels", "energy", "numbers stored")]
    rows += [(str(j), *_at_rank(s, j, m, n)) for j in sorted({*SHOWN, k}) if j <= min(m, n)]
    error, share, numbers = _at_rank(s, k, m, n)
    alt = f"The photograph itself, {m} rows of {n} grey pixels, before anything is left out."
    address = f"data:image/png;base64,{png(levels)}"
    image = f'<img class="photo" alt="{alt}" width="{n}" height="{m}" src="{address}">'
    caption = (
        f"This picture of {m} × {n} = {m * n:,} numbers at low rank; factors pay up to rank {break_even_rank(m, n)}"
    )
    return HandsOn(
        figure="rank-slider",
        title="Rank slider",
        data={"rows": m, "columns": n, "picture": address},
        state={"k": k, "original": False},
        still=image + "\n" + table(caption, rows),
        words=f"a picture of {m} × {n} pixels at rank {k} has an error of {error} grey levels (root mean square), "
        f"holds {share} of the energy and takes {numbers} numbers.",
    )


def shrink(grey: Array) -> Array:
    """Means of squares of c x c pixels, with the smallest c that makes the longer side at most `LONGEST`."""
    c = -(-max(grey.shape) // LONGEST)
    m, n = grey.shape[0] // c, grey.shape[1] // c
    means: Array = grey[: m * c, : n * c].reshape(m, c, n, c).mean(axis=(1, 3))
    return means


def png(levels: NDArray[np.uint8]) -> str:
    """A grey PNG in base64, its pixels stored and not compressed: the same text on every machine, easy to read back."""
    m, n = levels.shape
    lines = np.concatenate([np.zeros((m, 1), np.uint8), levels], axis=1).tobytes()  # 0: no filter
    stored = b"".join(
        struct.pack("<BHH", start + 65535 >= len(lines), len(part), 65535 - len(part)) + part
        for start in range(0, len(lines), 65535)
        for part in [lines[start : start + 65535]]
    )
    body = b"\x78\x01" + stored + struct.pack(">I", zlib.adler32(lines))
    header = struct.pack(">IIBBBBB", n, m, 8, 0, 0, 0, 0)
    chunks = (_chunk(b"IHDR", header), _chunk(b"IDAT", body), _chunk(b"IEND", b""))
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(chunks)).decode()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _at_rank(s: Array, k: int, m: int, n: int) -> tuple[str, str, str]:
    squares = s**2
    error = np.sqrt(squares[k:].sum() / (m * n))
    return f"{error:.2f}", f"{100 * squares[:k].sum() / squares.sum():.2f} %", f"{factored_size(m, n, k):,}"
