"""Training on many processes that share out each batch: with DDP each holds the model, with FSDP2 a part of it.

The engine is PyTorch's own. What is here is what it leaves to us: who takes which rows, how their losses are weighted,
and how a run goes on after a process died. `distributed` runs it under torchrun; `traffic` counts what it costs.
"""

import contextlib
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from .batches import check_data, shuffled_batches, take_rows
from .checkpoints import fingerprint
from .checks import check_training
from .evaluation import Objective, classification, mode
from .files import save_adapter
from .sharded_state import load_whole, outline, save_whole, trained_tensors
from .traffic import Traffic, local_bytes
from .training import lr_factor

METHODS = ("ddp", "fsdp")


@dataclass(frozen=True)
class ManyReport:
    """What a training on many processes did, as this process saw it.

    `losses` has the mean loss of each whole batch. `sizes` has the bytes handed to each kind of collective in the last
    step, and `held` the bytes that this process holds of parameters, gradients and the optimizer's means.
    """

    processes: int
    resumed_at: int
    losses: tuple[float, ...] = field(repr=False)
    sizes: dict[str, int]
    held: dict[str, int]


def train_on_many(
    model: nn.Module,
    data: Mapping[str, Tensor],
    *,
    method: str = "ddp",
    objective: Objective = classification,
    epochs: int = 2,
    batch_size: int = 32,
    lr: float = 1e-3,
    warmup: float = 0.1,
    max_grad_norm: float = 1.0,
    seed: int = 0,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 100,
    adapter: str | os.PathLike[str] | None = None,
    on_step: Callable[[int, float], None] | None = None,
) -> ManyReport:
    """Train what requires a gradient, as `train` does, on all processes of the default group together.

    Every process calls this with the same model, data and arguments. Of each batch, process k of W takes rows
    k, k + W, k + 2W, …, once each. The loss is weighted by what is counted on each process, so that the gradient is
    that of the whole batch, whatever the rows are. `batch_size` is that of the whole batch.

    Args:
        method: "ddp" (each process holds the whole model; gradients are all-reduced) or "fsdp" (each holds one part in
            W of every parameter; the rest is gathered when it is needed). "fsdp" leaves `model` sharded.
        objective: (model, batch) ↦ (mean loss, which predictions are right, one entry for each that is counted).
        checkpoint: a file on a disk that all processes see, written by process 0 every `checkpoint_every` steps and at
            the end. If it exists, training goes on from it.
        adapter: a folder for the LoRA adapter, written by process 0 at the end, in peft's format.
        on_step: called after each step with its number and the loss of the whole batch.

    Raises:
        ValueError: nothing trains, the data is empty or uneven, a number is out of range, a process has nothing to
            count, or the checkpoint belongs to another training.
        FloatingPointError: the loss or its gradient is not finite, on all processes alike.
    """
    if method not in METHODS:
        raise ValueError(f"method={method!r} is none of {', '.join(METHODS)}")
    check_data("data", data)
    check_training(epochs, batch_size, lr, warmup, max_grad_norm, checkpoint_every)
    rank, processes = dist.get_rank(), dist.get_world_size()
    empty = outline(model) if adapter is not None else None
    engine = _distribute(model, method)
    trained = [p for p in engine.parameters() if p.requires_grad]
    device = trained[0].device
    optimizer = torch.optim.AdamW(trained, lr=lr, weight_decay=0.0, fused=True)
    steps = epochs * math.ceil(len(data["labels"]) / batch_size)
    settings: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "warmup": warmup, "seed": seed}
    settings |= {"max_grad_norm": max_grad_norm, "data": fingerprint(data)}
    done, losses, traffic = 0, list[float](), Traffic()
    path = None if checkpoint is None else Path(checkpoint)
    if path is not None and path.exists():
        state = load_whole(path, engine, optimizer, settings)
        done, losses = state["step"], state["losses"]
    resumed_at = done

    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), mode(engine, training=True):
        for step, batch in enumerate(shuffled_batches(data, epochs, batch_size, seed, skip=done), start=done):
            # Dropout depends on the seed, the step and the process alone, so a checkpoint needs no generator's state.
            torch.manual_seed((seed * 100_003 + step) * processes + rank)
            for group in optimizer.param_groups:
                group["lr"] = lr * lr_factor(step, steps, warmup)
            with traffic if step + 1 == steps else contextlib.nullcontext():
                optimizer.zero_grad()
                loss, mean = _shared_loss(engine, objective, batch, device)
                torch.autograd.backward(loss)
                norm: Any = nn.utils.clip_grad_norm_(trained, max_grad_norm)
                norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
                if not math.isfinite(mean) or not torch.isfinite(norm):
                    raise FloatingPointError(
                        f"the loss is {mean}, with a gradient of norm {norm.item():g}, at step {step}"
                    )
                optimizer.step()
            losses.append(mean)
            if path is not None and ((step + 1) % checkpoint_every == 0 or step + 1 == steps):
                save_whole(path, engine, optimizer, {"settings": settings, "step": step + 1, "losses": losses})
            if on_step is not None:
                on_step(step + 1, mean)
    if adapter is not None and empty is not None:
        whole = trained_tensors(engine)
        if rank == 0:
            empty.load_state_dict(whole, strict=False, assign=True)
            save_adapter(empty, adapter)
    held = {
        "parameters": local_bytes(list(engine.parameters())),
        "gradients": local_bytes([p.grad for p in trained if p.grad is not None]),
        "optimizer": local_bytes([[s["exp_avg"], s["exp_avg_sq"]] for s in optimizer.state.values()]),
    }
    return ManyReport(processes, resumed_at, tuple(losses), dict(traffic.sizes), held)


def _shared_loss(
    engine: nn.Module, objective: Objective, batch: Mapping[str, Tensor], device: torch.device
) -> tuple[Tensor, float]:
    """The loss whose gradients, averaged over the processes, are those of the batch's mean; and that mean."""
    rank, processes = dist.get_rank(), dist.get_world_size()
    rows = torch.arange(rank, len(batch["labels"]), processes)
    weight = float(len(rows) > 0)  # without rows it must still take part in every collective: one row, at weight 0
    own = take_rows(batch, rows if len(rows) else torch.zeros(1, dtype=torch.long))
    loss, counted = objective(engine, {key: value.to(device) for key, value in own.items()})
    if counted.numel() == 0:
        raise ValueError(f"nothing is counted in the {len(rows)} rows of process {rank}: its mean loss is undefined")
    share = weight * counted.numel()
    total = torch.stack([loss.detach().double() * share, torch.tensor(share, dtype=torch.float64, device=device)])
    dist.all_reduce(total)
    return loss * (share * processes / total[1].item()), (total[0] / total[1]).item()


def _distribute(model: nn.Module, method: str) -> nn.Module:
    """The model as the engine takes it, started from the trained parameters of process 0."""
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        raise ValueError("no parameter of the model requires a gradient: call add_lora first")
    for parameter in trained:  # each process drew its own A
        dist.broadcast(parameter.detach(), src=0)
    if method == "ddp":
        # The frozen weights are read from the same file by every process: they need not be sent.
        return DistributedDataParallel(model, init_sync=False)
    mesh = init_device_mesh(trained[0].device.type, (dist.get_world_size(),))
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    for block in max(lists, key=len, default=nn.ModuleList()):  # a transformer's layers: one all-gather each
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model
