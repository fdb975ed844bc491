"""What a file says of a layer: its variant, rank, alpha and tensors, where the file has fewer words than we have.

Plain LoRA, rsLoRA, DoRA, PiSSA, OLoRA and VeRA are written as they are. LoRA-FA is plain LoRA to a file. Layers of
which parts are adapted are written as the plain LoRA of the whole, with zeros in B.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .family import variant_named
from .layers import LoRALayer
from .other_layers import LoRAMergedLinear
from .peft_config import AdapterFileError
from .sums import one_pair
from .variants import Variant


@dataclass(frozen=True)
class StoredForm:
    """One layer as a file has it; `tensors` by our names, as matrices and vectors."""

    variant: Variant
    r: int
    alpha: float
    tensors: dict[str, Tensor]


@torch.no_grad()
def stored_form(name: str, layer: LoRALayer, plain: bool = False) -> StoredForm:
    if not plain and not isinstance(layer, LoRAMergedLinear):
        names = [n for n in layer.variant.name.split("+") if n not in ("lora", "lora-fa")]
        variant = layer.variant if names == ["vera"] else variant_named("+".join(names) or "lora")
        tensors = dict(layer.named_parameters(recurse=False)) | dict(layer.named_buffers(recurse=False))
        return StoredForm(variant, layer.r, layer.alpha, tensors)
    if layer.variant.gain(layer) is not None:
        raise ValueError(f"{name!r}: DoRA scales all of W₀ + ΔW, so its update is no plain LoRA of low rank")
    scaling, B, A = one_pair([(s, layer.full(B), A) for s, B, A in layer.variant.terms(layer)])
    return StoredForm(variant_named("lora"), len(A), scaling * len(A), {"A": A, "B": B})


@torch.no_grad()
def compact(name: str, layer: LoRALayer, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The file's tensors as `layer` keeps them: without the zeros, where only parts of the output are adapted.

    Raises AdapterFileError if the file has something else than zeros there.
    """
    tensors = dict(tensors)
    if isinstance(layer, LoRAMergedLinear):
        own = [tensors["B"][rows, i * layer.r : (i + 1) * layer.r] for i, (rows, _, _) in enumerate(layer.blocks())]
        B = torch.cat(own).to(layer.B)
        if len(layer.variant.terms(layer)) > 1 or not torch.equal(layer.full(B).cpu(), tensors["B"].to(B.dtype)):
            raise AdapterFileError(f"lora_B of {name!r} adapts other parts of the layer than {layer.parts}")
        tensors["B"] = B
    return tensors


def shared_pair(layers: Mapping[str, LoRALayer]) -> tuple[Tensor, Tensor]:
    """VeRA's A and B, of which each layer sees a corner. Raises ValueError if the layers have no common pair."""
    A = max((layer.A for layer in layers.values()), key=lambda A: A.shape[1])
    B = max((layer.B for layer in layers.values()), key=lambda B: B.shape[0])
    for name, layer in layers.items():
        same = torch.equal(layer.A, A[: layer.r, : layer.in_features]) and torch.equal(layer.B, B[: layer.out_features])
        if not same:
            raise ValueError(f"{name!r} has a pair A, B of its own, and VeRA's file has one for all: use add_lora")
    return A, B
