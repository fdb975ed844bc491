"""Checkpoints from which training goes on exactly: the weights, batches and dropout are as if it had never stopped."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .inject import lora_layers
from .qlora import NF4Linear


def save_checkpoint(path: Path, model: nn.Module, state: dict[str, Any]) -> None:
    """Write what training changes, and `state`, to `path`; beside it first, so that an older one is never lost."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        torch.save({"tensors": _changing_tensors(model), "rng": _rng_state(model), **state}, partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def load_checkpoint(path: Path, model: nn.Module, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Read a checkpoint into `model` and the random generators, and return its state.

    Raises ValueError, with the model as it was, if the file is damaged, or was made with other settings or another
    model.
    """
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        stored, tensors, rng = state["settings"], state["tensors"], state["rng"]
        changed = [key for key in settings if stored.get(key) != settings[key]]
        shapes = {key: (tensor.shape, tensor.dtype) for key, tensor in tensors.items()}
    except Exception as error:  # torch.load raises many kinds for a damaged file
        # without its text, which advises to read the file with weights_only=False, and so to run what is in it
        kind = type(error).__name__
        raise ValueError(f"{path} is damaged, or no checkpoint ({kind}): delete it to start anew") from None
    if changed:
        listed = "; ".join(f"{key} is {settings[key]!r} but was {stored.get(key)!r}" for key in changed)
        raise ValueError(f"{path} comes from another training ({listed}): delete it to start anew")
    present = _changing_tensors(model)
    if shapes != {key: (tensor.shape, tensor.dtype) for key, tensor in present.items()}:
        raise ValueError(f"{path} holds other trained tensors than the model has: delete it to start anew")
    with torch.no_grad():
        for key, tensor in tensors.items():
            present[key].copy_(tensor)
    torch.set_rng_state(rng["cpu"])
    if "cuda" in rng:
        torch.cuda.set_rng_state(rng["cuda"], next(model.parameters()).device)
    return state


def identity(model: nn.Module, data: Mapping[str, Tensor], validation: Mapping[str, Tensor] | None) -> dict[str, Any]:
    """What a training is about, as short hashes: with other data or another model, nothing could go on exactly."""
    frozen = {name: p.detach() for name, p in model.named_parameters() if not p.requires_grad} | _packed(model)
    layers = {
        n: (la.variant.name, la.r, la.alpha, getattr(la.dropout, "p", 0.0)) for n, la in lora_layers(model).items()
    }
    return {
        "data": fingerprint(data),
        "validation": fingerprint(validation or {}),
        "frozen weights": fingerprint(frozen),
        "LoRA layers": hashlib.sha256(repr(layers).encode()).hexdigest()[:16],
        "device": next(model.parameters()).device.type,
    }


def fingerprint(data: Mapping[str, Tensor]) -> str:
    """A short hash of the tensors' names, shapes and contents: other data cannot continue a checkpoint."""
    digest = hashlib.sha256()
    for key in sorted(data):
        digest.update(f"{key}{tuple(data[key].shape)}{data[key].dtype}".encode())
        digest.update(data[key].detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def _changing_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The parameters that train, and all buffers (a batch norm changes its own) but those of weights in four bits."""
    trained = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    frozen = _packed(model)
    return trained | {f"buffer:{name}": b for name, b in model.named_buffers() if name not in frozen}


def _packed(model: nn.Module) -> dict[str, Tensor]:
    layers = {name: module for name, module in model.named_modules() if isinstance(module, NF4Linear)}
    return {f"{name}.{key}": buffer for name, layer in layers.items() for key, buffer in layer.named_buffers()}


def _rng_state(model: nn.Module) -> dict[str, Tensor]:
    device = next(model.parameters()).device
    return {"cpu": torch.get_rng_state()} | (
        {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {}
    )
