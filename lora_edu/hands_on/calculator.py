"""The calculator of chapter 1: choose a model and a method, and read bytes by component and operations for a token.

The arithmetic is that of `lora_edu.costs`, written again in JavaScript; a test compares the two.
"""

from ..costs import METHODS, NF4_BITS, OPTIMIZERS, SHAPES, Bytes, training_bytes
from .figure import HandsOn, table

BATCHES = ((8, 32), (32, 128), (1, 512), (8, 512), (8, 2048))  # texts, tokens of each
HIGHEST_RANK = 256
UNITS = (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3))


def calculator(
    model: str = "MiniLM",
    method: str = "full",
    r: int = 8,
    *,
    precision: str = "float32",
    optimizer: str = "Adam",
    batch: int = 8,
    length: int = 32,
) -> HandsOn:
    """Bytes by component and operations of a fine-tune, for a model of `lora_edu.costs.SHAPES`. All can be changed.

    Raises ValueError for a model, method, precision or optimizer that `lora_edu.costs` does not know, a rank outside
    1 … 256, or a batch or length below 1.
    """
    if model not in SHAPES:
        raise ValueError(f"model={model!r} is none of {', '.join(SHAPES)}")
    if not 1 <= r <= HIGHEST_RANK:
        raise ValueError(f"rank r={r} must be between 1 and {HIGHEST_RANK}, the figure's highest")

    def held(by: str) -> Bytes:
        return training_bytes(
            SHAPES[model], by, r, precision=precision, optimizer=optimizer, batch=batch, length=length
        )

    chosen, each = held(method), {by: held(by) for by in METHODS}
    rows = [["", *METHODS]]
    rows += [[name, *(readable(each[by].by_component()[name]) for by in METHODS)] for name in chosen.by_component()]
    rows.append(["total", *(readable(each[by].total) for by in METHODS)])
    settings = f"{precision}, {optimizer}, {batch} texts of {length} tokens, rank {r}"
    shapes = {name: vars(shape) for name, shape in SHAPES.items()}
    batches = BATCHES if (batch, length) in BATCHES else ((batch, length), *BATCHES)
    return HandsOn(
        figure="calculator",
        title="What a fine-tune costs",
        data={
            "shapes": shapes,
            "batches": [list(pair) for pair in batches],
            "optimizers": OPTIMIZERS,
            "nf4Bits": NF4_BITS,
            "highest": HIGHEST_RANK,
        },
        state={
            "model": model,
            "method": method,
            "r": r,
            "precision": precision,
            "optimizer": optimizer,
            "batch": batch,
            "length": length,
        },
        still=table(f"Bytes to train {model}: {settings}", rows),
        words=f"{model}, {method}, {settings}: {readable(chosen.total)}.",
    )


def readable(size: float) -> str:
    """Bytes in decimal units and three digits: 1 MB is 1,000,000 bytes."""
    unit, scale = next(((unit, scale) for unit, scale in UNITS if size >= scale), ("B", 1))
    return f"{float(f'{size / scale:.3g}'):g} {unit}"
