"""Gradient accumulation: the gradient of a large batch, a few rows at a time, in the memory of a few rows.

It is exact only if each piece counts as much as it has predictions: a mean of means over pieces of unequal size is
another loss. Dropout draws other numbers in pieces than in one go, and a batch norm has other means. Read `training`
next.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .batches import take_rows
from .evaluation import Objective


def backward_in_pieces(
    model: nn.Module,
    batch: Mapping[str, Tensor],
    objective: Objective,
    micro_batch: int | None = None,
    scaler: torch.amp.GradScaler | None = None,
) -> Tensor:
    """Leave the gradient of the batch's mean loss in the parameters, and return that loss, a scalar.

    The batch is cut into pieces of `micro_batch` rows; None means one piece. With a `scaler` the gradients are those
    of the scaled loss.

    Raises RuntimeError if the loss depends on no parameter that trains, ValueError if no prediction counts.
    """
    rows = len(batch["labels"])
    if micro_batch is None or micro_batch >= rows:
        loss, hits = objective(model, batch)
        if not hits.numel():
            raise ValueError(_NOTHING)
        _backward(loss, scaler)
        return loss.detach()
    total, counted = torch.zeros((), device=batch["labels"].device), 0
    for piece in torch.split(torch.arange(rows), micro_batch):
        loss, hits = objective(model, take_rows(batch, piece))
        if n := hits.numel():  # a piece without any has no mean
            _backward(loss * n, scaler)
            total, counted = total + n * loss.detach(), counted + n
    if not counted:
        raise ValueError(_NOTHING)
    for parameter in model.parameters():
        if parameter.grad is not None and parameter.requires_grad:
            parameter.grad /= counted
    return total / counted


_NOTHING = "no prediction of the batch counts: every label is to be ignored"


def _backward(loss: Tensor, scaler: torch.amp.GradScaler | None) -> None:
    if not loss.requires_grad:
        raise RuntimeError(
            "the loss depends on no parameter that trains: does a no_grad block cut it off, or re-entrant gradient "
            "checkpointing, which gives none to what lies behind frozen inputs? (use_reentrant=False)"
        )
    torch.autograd.backward(loss if scaler is None else scaler.scale(loss))
