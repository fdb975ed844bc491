"""How good a model is on a data set: its objective, its mean loss, its share of right predictions."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (as in PyTorch's own documentation)

from .batches import check_data, take_rows

Batch = Mapping[str, Tensor]
Objective = Callable[[nn.Module, Batch], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Evaluation:
    """Mean loss (nats) and share of right predictions over a data set."""

    loss: float
    accuracy: float


def classification(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the model's logits, and which predictions are right. A batch holds "labels" and inputs."""
    logits = model(**{key: value for key, value in batch.items() if key != "labels"})
    return F.cross_entropy(logits, batch["labels"]), logits.argmax(dim=-1) == batch["labels"]


@torch.no_grad()
def evaluate(
    model: nn.Module, data: Mapping[str, Tensor], *, objective: Objective = classification, batch_size: int = 64
) -> Evaluation:
    """Mean loss and accuracy of `model` on `data`, in evaluation mode; every module's mode is put back afterwards.

    Both are means over all predictions that count: sentences for a classifier, labelled tokens for a language model.

    Raises ValueError if the data is empty, its tensors have different lengths, or no prediction counts.
    """
    check_data("data", data)
    device = next(model.parameters()).device
    total, right, counted, n = 0.0, 0, 0, len(data["labels"])
    # Sentences of like length together, so that little is computed on padding.
    order = data["attention_mask"].sum(dim=1).argsort(stable=True) if "attention_mask" in data else torch.arange(n)
    with mode(model, training=False):
        for rows in torch.split(order, batch_size):
            loss, hits = objective(model, {key: value.to(device) for key, value in take_rows(data, rows).items()})
            if hits.numel():  # a batch where nothing counts has no mean
                total += loss.item() * hits.numel()
                right += int(hits.sum())
                counted += hits.numel()
    if not counted:
        raise ValueError("no prediction of the data counts: every label is to be ignored")
    return Evaluation(total / counted, right / counted)


@contextlib.contextmanager
def mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Put the whole model in training or evaluation mode, and at the end every module back in the mode it had."""
    before = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, flag in before:
            module.training = flag
