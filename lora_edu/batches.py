"""Data for training: tensors with one row an example, taken in batches, in an order that a seed decides."""

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor


def shuffled_batches(
    data: Mapping[str, Tensor], epochs: int, batch_size: int, seed: int, skip: int = 0
) -> Iterator[dict[str, Tensor]]:
    """Every example once an epoch, in an order that `seed` and the epoch decide; the first `skip` batches left out."""
    per_epoch = math.ceil(len(data["labels"]) / batch_size)
    for epoch in range(skip // per_epoch, epochs):
        generator = torch.Generator().manual_seed(seed * 100_003 + epoch)
        order = torch.randperm(len(data["labels"]), generator=generator)
        first = skip % per_epoch if epoch == skip // per_epoch else 0
        for rows in torch.split(order, batch_size)[first:]:
            yield take_rows(data, rows)


def take_rows(data: Mapping[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
    """The chosen rows, without the columns that are padding in all of them, on the right or on the left."""
    batch = {key: value[rows] for key, value in data.items()}
    if (mask := batch.get("attention_mask")) is not None:
        used, width = mask.any(dim=0), mask.shape[1]
        batch = {k: v[:, used] if v.ndim > 1 and v.shape[1] == width else v for k, v in batch.items()}
    return batch


def check_data(name: str, data: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless `data` has "labels", and all its tensors the same length above 0."""
    if "labels" not in data:
        raise ValueError(f"{name} has no 'labels', only {', '.join(map(repr, data)) or 'nothing'}")
    lengths = {key: len(value) for key, value in data.items()}
    if len(set(lengths.values())) != 1 or not lengths["labels"]:
        raise ValueError(f"the tensors of {name} must have one common length above 0, not {lengths}")
