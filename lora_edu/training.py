"""One training loop for the whole book: seeded, with a progress bar, checkpoints to resume from, and a report.

It trains whatever has `requires_grad`: the factors after `add_lora`, a head, or the whole model. Next: `checkpoints`.
"""

import math
import operator
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .accumulation import backward_in_pieces
from .added import record_of
from .batches import shuffled_batches
from .checkpoints import identity, load_checkpoint, save_checkpoint
from .checks import check_training
from .evaluation import Evaluation, Objective, classification, evaluate, mode
from .lora_plus import lora_plus_groups
from .memory import PeakMemory
from .precision import in_precision, loss_scaler
from .progress import progress_bar
from .training_checks import check_factors_get_gradients, check_model_and_data


@dataclass(frozen=True)
class TrainingReport:
    """What a training did and took. `losses` has an entry a step, `evaluations` an entry an epoch, given validation."""

    steps: int
    trained_parameters: int
    total_parameters: int
    peak_memory_bytes: int
    seconds: float
    losses: tuple[float, ...] = field(repr=False)
    evaluations: tuple[Evaluation, ...] = field(repr=False)

    def __str__(self) -> str:
        last = f", validation accuracy {self.evaluations[-1].accuracy:.1%}" if self.evaluations else ""
        return (
            f"{self.steps} steps in {self.seconds:.1f} s, peak memory {self.peak_memory_bytes / 1e6:.0f} MB, "
            f"trained {self.trained_parameters:,} of {self.total_parameters:,} parameters{last}"
        )


def train(
    model: nn.Module,
    data: Mapping[str, Tensor],
    *,
    validation: Mapping[str, Tensor] | None = None,
    objective: Objective = classification,
    epochs: int = 2,
    batch_size: int = 32,
    micro_batch: int | None = None,
    precision: str = "float32",
    lr: float = 1e-3,
    lora_plus: float = 1.0,
    weight_decay: float = 0.0,
    warmup: float = 0.1,
    max_grad_norm: float = 1.0,
    seed: int = 0,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 100,
    progress: bool = True,
) -> TrainingReport:
    """Train the parameters of `model` that require a gradient, with AdamW, on whatever device the model is on.

    The learning rate rises linearly over the first `warmup` share of the steps and falls linearly to zero over the
    rest. Gradients are clipped to the norm `max_grad_norm`. The same seed gives the same batches and the same
    dropout; the generators of the caller are left as they were.

    Args:
        data, validation: tensors of equal first length, "labels" among them, such as `tokenize` gives. Columns that
            "attention_mask" marks as padding in a whole batch are cut off.
        lora_plus: λ of LoRA+: what is trained as B has the learning rate λ · lr. See `lora_plus_groups`.
        objective: (model, batch) ↦ (mean loss, which of the predictions that count are right); cross-entropy by
            default.
        micro_batch: rows in one pass through the model, if `batch_size` are too many for the memory. See
            `accumulation`.
        precision: "float32", "bfloat16" or "float16", in which products are computed. See `precision`.
        checkpoint: a file, written every `checkpoint_every` steps and at the end. If it exists, training goes on
            from it, exactly.

    Raises:
        ValueError: nothing requires a gradient, a LoRA layer is merged, the data is empty or uneven, a number is
            out of range, or the checkpoint belongs to another training.
        RuntimeError: a LoRA factor, or all that trains, receives no gradient at the first step.
        FloatingPointError: the loss or its gradient is not finite. The last checkpoint is still there.
    """
    epochs, batch_size, seed = map(operator.index, (epochs, batch_size, seed))  # a NumPy number could not be read again
    lr, weight_decay, warmup, max_grad_norm = map(float, (lr, weight_decay, warmup, max_grad_norm))
    groups = lora_plus_groups(model, lr, float(lora_plus))
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    check_model_and_data(model, trained, data, validation)
    check_training(epochs, batch_size, lr, warmup, max_grad_norm, checkpoint_every)
    if micro_batch is not None and micro_batch < 1:
        raise ValueError(f"micro_batch={micro_batch} must be at least 1")
    device = next(iter(trained.values())).device
    objective, scaler = in_precision(objective, device, precision), loss_scaler(device, precision)
    steps = epochs * math.ceil(len(data["labels"]) / batch_size)
    optimizer = torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: lr_factor(step, steps, warmup))
    settings: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "weight_decay": weight_decay}
    settings |= {"warmup": warmup, "max_grad_norm": max_grad_norm, "seed": seed}
    usual: dict[str, Any] = {"lora_plus": 1.0, "micro_batch": None, "precision": "float32"}
    given: dict[str, Any] = {"lora_plus": lora_plus, "micro_batch": micro_batch, "precision": precision}
    settings |= {key: value for key, value in given.items() if value != usual[key]}
    path = None if checkpoint is None else Path(checkpoint)
    done, losses, evaluations, seconds = 0, list[float](), list[Evaluation](), 0.0

    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), PeakMemory(device) as peak, mode(model, training=True):
        torch.default_generator.manual_seed(seed)  # not torch.manual_seed, which seeds GPUs that are not in use here
        for gpu in devices:
            torch.cuda.default_generators[gpu.index].manual_seed(seed)
        if path is not None:
            settings |= identity(model, data, validation)
            if (record := record_of(model)) is not None:
                settings["method"] = repr((record.method, record.settings))
            if path.exists():
                state = load_checkpoint(path, model, settings)
                optimizer.load_state_dict(state["optimizer"])
                schedule.load_state_dict(state["schedule"])
                scaler.load_state_dict(state.get("scaler", {}))
                done, losses, seconds = state["step"], state["losses"], state["seconds"]
                evaluations = [Evaluation(*pair) for pair in state["evaluations"]]
        started = time.perf_counter() - seconds
        with progress_bar(steps, "training", initial=done, show=progress) as bar:
            for step, batch in enumerate(shuffled_batches(data, epochs, batch_size, seed, skip=done), start=done):
                optimizer.zero_grad()
                batch = {key: value.to(device) for key, value in batch.items()}
                loss = backward_in_pieces(model, batch, objective, micro_batch, scaler)
                if step == done:
                    check_factors_get_gradients(model)
                scaler.unscale_(optimizer)
                norm = nn.utils.clip_grad_norm_(trained.values(), max_grad_norm)
                overflow = scaler.is_enabled() and not torch.isfinite(norm)  # in float16: to be expected now and then
                if not torch.isfinite(loss) or not (overflow or torch.isfinite(norm)) or scaler.get_scale() < 1:
                    raise FloatingPointError(
                        f"the loss is {loss.item()}, with a gradient of norm {norm.item()}, at step {step}: "
                        f"try a smaller lr than {lr:g}"
                    )
                scaler.step(optimizer)
                scaler.update()
                if not overflow:
                    schedule.step()
                losses.append(loss.item())
                bar.update()
                bar.set_postfix_str(f"loss {losses[-1]:.3f}")
                if validation is not None and (step + 1) % (steps // epochs) == 0:
                    evaluations.append(evaluate(model, validation, objective=objective, batch_size=micro_batch or 64))
                if path is not None and ((step + 1) % checkpoint_every == 0 or step + 1 == steps):
                    seconds = time.perf_counter() - started
                    state = {"settings": settings, "step": step + 1, "losses": losses, "seconds": seconds}
                    state |= {"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
                    state |= {"scaler": scaler.state_dict()} if scaler.is_enabled() else {}
                    state["evaluations"] = [(e.loss, e.accuracy) for e in evaluations]
                    save_checkpoint(path, model, state)
    return TrainingReport(
        steps=steps,
        trained_parameters=sum(p.numel() for p in trained.values()),
        total_parameters=sum(p.numel() for p in model.parameters()),
        peak_memory_bytes=peak.bytes,
        seconds=time.perf_counter() - started,
        losses=tuple(losses),
        evaluations=tuple(evaluations),
    )


def lr_factor(step: int, steps: int, warmup: float) -> float:
    """The share of the full learning rate at a step: up over the first `warmup` of the steps, then down to zero."""
    rising = max(1, round(warmup * steps))
    return (step + 1) / rising if step < rising else (steps - step) / max(1, steps - rising)
