"""Checkpoints of a training on many processes: gathered, written by process 0 alone, and read by every process.

What is stored is whole, never a shard, so a training may go on with another number of processes, or sharded where it
was not. Next: `data_parallel`, which calls this.
"""

import copy
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
_SHARE_OUT = StateDictOptions(full_state_dict=True, strict=False)  # not strict: what is frozen is not stored


def trained_tensors(model: nn.Module) -> dict[str, Tensor]:
    """What trains, whole and on the CPU, by the plain model's names; on process 0, nothing on the others.

    All processes must call it together: a sharded tensor is gathered.
    """
    return {k: v for k, v in get_model_state_dict(model, options=_WHOLE).items() if isinstance(v, Tensor)}


def save_whole(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Write what trains, the optimizer's means and `state` to `path`, beside it first: the old one is never lost.

    All processes must call it together; process 0 writes.
    """
    tensors = trained_tensors(model)
    means = get_optimizer_state_dict(model, optimizer, options=_WHOLE)
    if dist.get_rank() == 0:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        torch.save({"tensors": tensors, "optimizer": means, **state}, partial)
        os.replace(partial, path)


def load_whole(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Read a checkpoint into `model` and `optimizer`, of which each process takes its part, and return its state.

    Every process reads the file. Raises ValueError if it is damaged, or comes from another training.
    """
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        stored, tensors, means = state["settings"], state["tensors"], state["optimizer"]
    except Exception as error:  # torch.load raises many kinds for a damaged file
        raise ValueError(f"{path} is damaged, or no checkpoint ({type(error).__name__}): delete it") from None
    if changed := [key for key in settings if stored.get(key) != settings[key]]:
        listed = "; ".join(f"{key} is {settings[key]!r} but was {stored.get(key)!r}" for key in changed)
        raise ValueError(f"{path} comes from another training ({listed}): delete it to start anew")
    set_model_state_dict(model, tensors, options=_SHARE_OUT)
    set_optimizer_state_dict(model, optimizer, means, options=_SHARE_OUT)
    return state


def outline(model: nn.Module) -> nn.Module:
    """A copy of the model in which no tensor has any memory: names, shapes and LoRA layers, to be filled later.

    A sharded model cannot be saved as an adapter; its outline can, filled with `trained_tensors`.
    """
    parameters = {
        id(p): nn.Parameter(torch.empty_like(p, device="meta"), requires_grad=p.requires_grad)
        for p in model.parameters()
    }
    return copy.deepcopy(model, parameters)  # what is in the memo is taken in place of a copy
