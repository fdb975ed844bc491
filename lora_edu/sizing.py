"""How many GPUs a fine-tune takes, on paper: bytes of weights, gradients and optimizer, per GPU and per step sent.

`costs` counts the GPT-like shapes of chapter 1; here are three published models of Llama's kind, counted exactly, with
LoRA on all seven matrices of a layer. Activations are left out: they depend on the batch, and stand in `room`.
"""

import math
from dataclasses import dataclass

from .costs import NF4_BITS
from .traffic import ring_bytes

METHODS = ("full", "LoRA", "QLoRA")
ENGINES = ("DDP", "FSDP")
GB = 1e9


@dataclass(frozen=True)
class LlamaShape:
    """A model of Llama's kind: queries and output d × d, keys and values for `kv_heads` of the heads, gated MLP."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    hidden: int
    vocabulary: int

    @property
    def matrices(self) -> tuple[tuple[int, int], ...]:
        """(out, in) of the seven matrices of a layer: q, k, v, o, gate, up, down."""
        d, kv, h = self.width, self.width * self.kv_heads // self.heads, self.hidden
        return (d, d), (kv, d), (kv, d), (d, d), (h, d), (h, d), (d, h)

    @property
    def in_matrices(self) -> int:
        return self.layers * sum(m * n for m, n in self.matrices)

    @property
    def parameters(self) -> int:
        """All of them: the matrices, two norms a layer and one at the end, word vectors in and out (not tied)."""
        return self.in_matrices + (2 * self.layers + 1) * self.width + 2 * self.vocabulary * self.width

    def adapter(self, r: int) -> int:
        """Numbers in LoRA's factors of rank r, r (m + n) for each matrix."""
        return self.layers * sum(r * (m + n) for m, n in self.matrices)


# As torchtune builds them: torchtune/models/llama2 and llama3_1, _model_builders.py.
LLAMAS = {
    "7B": LlamaShape(layers=32, width=4096, heads=32, kv_heads=32, hidden=11_008, vocabulary=32_000),
    "70B": LlamaShape(layers=80, width=8192, heads=64, kv_heads=8, hidden=28_672, vocabulary=32_000),
    "405B": LlamaShape(layers=126, width=16_384, heads=128, kv_heads=8, hidden=53_248, vocabulary=128_256),
}


def state_bytes(shape: LlamaShape, method: str, r: int = 16) -> float:
    """Bytes of weights, gradients and optimizer together, in mixed precision with Adam, before they are shared out.

    A frozen number takes 2 bytes, or 4.127 bits in NF4 if it is in a layer's matrix; a trained one takes 16
    (Rajbhandari et al. 2019, arXiv:1910.02054, §3.1). Raises ValueError for another method.
    """
    if method not in METHODS:
        raise ValueError(f"method={method!r} is none of {', '.join(METHODS)}")
    if method == "full":
        return 16 * shape.parameters
    frozen = 2.0 * shape.parameters
    if method == "QLoRA":
        frozen += (NF4_BITS / 8 - 2) * shape.in_matrices
    return frozen + 16 * shape.adapter(r)


def gpus_needed(size: float, memory: float = 80 * GB, room: float = 20 * GB) -> int:
    """The fewest GPUs of `memory` bytes that hold `size` bytes shared out evenly, with `room` left on each.

    Raises ValueError if the room leaves nothing.
    """
    if not 0 <= room < memory:
        raise ValueError(f"room={room:g} leaves nothing of memory={memory:g}")
    return math.ceil(size / (memory - room))


def step_bytes(shape: LlamaShape, method: str, engine: str, gpus: int, r: int = 16) -> float:
    """Bytes that each GPU sends in one step, forward and backward, around a ring; gradients in 2 bytes.

    DDP all-reduces what is trained. FSDP gathers all weights twice, as they are stored, and reduce-scatters gradients.
    Raises ValueError for another method or engine, or no GPU.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine={engine!r} is none of {', '.join(ENGINES)}")
    whole = state_bytes(shape, method, r)  # checks the method
    trained = shape.parameters if method == "full" else shape.adapter(r)
    if engine == "DDP":
        return ring_bytes("all-reduce", 2 * trained, gpus)
    weights = whole - 14 * trained  # of a trained number's 16 bytes, 2 are the weight that is gathered
    return 2 * ring_bytes("all-gather", weights, gpus) + ring_bytes("reduce-scatter", 2 * trained, gpus)
