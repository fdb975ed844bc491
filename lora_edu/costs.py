"""What a fine-tune costs, from the shape of a model alone: bytes by component, and floating-point operations.

Chapter 1 derives each line and measures it on a real model. The figure `hands_on.calculator` computes the same in a
browser. One kind of model is meant: a stack of transformer layers whose feed-forward part is four times as wide.
"""

from dataclasses import dataclass, fields

METHODS = ("full", "LoRA", "QLoRA", "head")
PRECISIONS = ("float32", "mixed")
OPTIMIZERS = {"Adam": 2, "SGD with momentum": 1, "SGD": 0}  # numbers that each keeps for a trained parameter
NF4_BITS = 4 + 8 / 64 + 32 / (64 * 256)  # of a weight in QLoRA, its share of the two levels of scales included


@dataclass(frozen=True)
class Shape:
    """A model: all its parameters, and the layers, width and attention heads that they are arranged in."""

    parameters: int
    layers: int
    width: int
    heads: int

    @property
    def in_matrices(self) -> int:
        """Parameters that every token is multiplied by: four square matrices a layer, and two four times as large."""
        return 12 * self.layers * self.width**2


def _stack(layers: int, width: int, heads: int, vocabulary: int = 32_000) -> Shape:
    return Shape(12 * layers * width**2 + vocabulary * width, layers, width, heads)


# MiniLM is counted, with a head of two classes; the others are layers and a table of 32,000 word vectors.
SHAPES = {
    "MiniLM": Shape(22_566_146, 6, 384, 12),
    "1B": _stack(20, 2048, 16),
    "6B": _stack(29, 4096, 32),
    "65B": _stack(80, 8192, 64),
    "GPT-3's shape": _stack(96, 12_288, 96),
}


@dataclass(frozen=True)
class Bytes:
    """Bytes that training holds, by what they are for."""

    weights: float
    gradients: float
    optimizer: float
    master: float
    activations: float

    @property
    def total(self) -> float:
        return sum(self.by_component().values())

    def by_component(self) -> dict[str, float]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


def trained_parameters(shape: Shape, method: str = "full", r: int = 8) -> int:
    """How many parameters a method trains: all, a head for two classes, or that head and LoRA on the six matrices.

    A rank-r adapter has r numbers for each row and each column of its matrix: 8 r d in the four d × d matrices of a
    layer, 10 r d in the two of d × 4d. Raises ValueError for another method or an impossible rank.
    """
    _check(method=(method, METHODS))
    if not 1 <= r <= shape.width:
        raise ValueError(f"rank r={r} must be between 1 and the width, {shape.width}")
    head = 2 * shape.width + 2
    return {"full": shape.parameters, "head": head}.get(method, adapter_size(shape, r) + head)


def adapter_size(shape: Shape, r: int) -> int:
    """Numbers in the LoRA factors of rank r on all six matrices of every layer."""
    return 18 * r * shape.width * shape.layers


def training_bytes(
    shape: Shape,
    method: str = "full",
    r: int = 8,
    *,
    precision: str = "float32",
    optimizer: str = "Adam",
    batch: int = 8,
    length: int = 32,
) -> Bytes:
    """Bytes held when the backward pass begins, in a training on batches of `batch` texts of `length` tokens.

    "float32" keeps everything in 4 bytes. "mixed" keeps weights, gradients and activations in 2, and for each trained
    parameter a master copy and the optimizer's numbers in 4 (Rajbhandari et al. 2019, arXiv:1910.02054, §3.1).
    "QLoRA" keeps the frozen matrices in 4 bits and a share of their scales. Activations are what `layer_activations`
    counts, with attention written out and nothing recomputed; libraries can do with less.

    Raises ValueError for an unknown name, or a size below 1.
    """
    _check(precision=(precision, PRECISIONS), optimizer=(optimizer, tuple(OPTIMIZERS)))
    if batch < 1 or length < 1:
        raise ValueError(f"batch={batch} and length={length} must be at least 1")
    trained = trained_parameters(shape, method, r)
    factors = adapter_size(shape, r) if method in ("LoRA", "QLoRA") else 0
    size = 4 if precision == "float32" else 2
    in_four_bits = shape.in_matrices if method == "QLoRA" else 0
    kept = 0 if method == "head" else shape.layers * (layer_activations(shape, length) + (6 * r if factors else 0))
    return Bytes(
        weights=size * (shape.parameters + factors - in_four_bits) + NF4_BITS / 8 * in_four_bits,
        gradients=size * trained,
        optimizer=4 * OPTIMIZERS[optimizer] * trained,
        master=0 if precision == "float32" else 4 * trained,
        activations=size * batch * length * kept,
    )


def layer_activations(shape: Shape, length: int) -> int:
    """Numbers that one layer keeps for a token until the backward pass: 18 d + 3 h s, in training with dropout.

    Of width d: the layer's input, queries, keys and values, the mixed values, two dropout masks, the inputs of two
    layer norms and the output of the first: 10. Of width 4d: both sides of the feed-forward part's activation: 8.
    For each of h heads and s tokens of the text: attention before and after its dropout, and the mask.
    """
    return 18 * shape.width + 3 * shape.heads * length


def flops_per_token(shape: Shape, method: str = "full", r: int = 8, length: int = 32) -> tuple[int, int]:
    """Floating-point operations for a token, forward and backward. A multiplication and its addition count as two.

    Forward, each weight in a matrix takes 2, and attention 4 · width · length in a layer. Backward, a trained weight
    takes 4: 2 for the gradient of what came in, 2 for its own. A frozen one takes the first 2, and none below a head.
    """
    trained_parameters(shape, method, r)  # checks both
    attention = 4 * shape.layers * shape.width * length
    factors = adapter_size(shape, r) if method in ("LoRA", "QLoRA") else 0
    forward = 2 * shape.in_matrices + 2 * factors + attention
    backward = {"full": 2 * forward, "head": 0}
    return forward, backward.get(method, 2 * shape.in_matrices + 4 * factors + 2 * attention)


def hours(flops: float, *, devices: int, peak: float, utilization: float) -> float:
    """Hours that `flops` take on `devices` with a `peak` (FLOP/s) each, of which the share `utilization` is achieved.

    Raises ValueError for a utilization outside (0, 1], or no device or peak.
    """
    if not 0 < utilization <= 1 or devices < 1 or peak <= 0:
        raise ValueError(
            f"devices={devices} and peak={peak:g} must be above 0, utilization={utilization:g} from 0 to 1"
        )
    return flops / (devices * peak * utilization) / 3600


def _check(**chosen: tuple[str, tuple[str, ...]]) -> None:
    for name, (value, known) in chosen.items():
        if value not in known:
            raise ValueError(f"{name}={value!r} is none of {', '.join(known)}")
