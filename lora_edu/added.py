"""What the other methods put into a model: a module in the place of another one, which it holds frozen.

`bottleneck`, `prefix`, `prompt` and `ia3` each define one such module; `adding` puts them in and takes them out, and
`added_files` stores them. This is LoRA's own mechanism (see `inject`) for modules that are no pair of factors.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

_RECORD = "_added_by"  # on the model


class Added(nn.Module):
    """A module that stands where `base` stood, computes with it, and trains parameters of its own."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base

    def own_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """All parameters but those of `base`: what trains."""
        return ((name, p) for name, p in self.named_parameters() if not name.startswith("base."))

    def describe(self) -> str:
        """The method and its size in a few words, for `summary`."""
        raise NotImplementedError

    def plain(self) -> nn.Module:
        """A plain module that computes the same at the cost of `base`. Raises ValueError if there is none."""
        raise ValueError(f"{self.describe()} has no weight that it could be merged into: its extra work stays")


@dataclass
class Record:
    """What was done to a model: the method, the arguments to do it again, and what it takes to undo it.

    `flags` says which parameters required a gradient before. `biases` holds those whose copies BitFit trains.
    """

    method: str
    settings: dict[str, Any]
    flags: dict[str, bool]
    biases: dict[str, nn.Parameter] = field(default_factory=dict)


def added_layers(model: nn.Module) -> dict[str, Added]:
    """The modules that one of the other methods put into a model, by name; empty if there are none."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Added)}


def record_of(model: nn.Module) -> Record | None:
    """What `adding.add` noted on the model, or None."""
    record = vars(model).get(_RECORD)
    return record if isinstance(record, Record) else None


def keep_record(model: nn.Module, record: Record | None) -> None:
    vars(model).pop(_RECORD, None)
    if record is not None:
        vars(model)[_RECORD] = record


def refuse_other_methods(model: nn.Module) -> None:
    """Raise ValueError if a method other than LoRA is in the model already."""
    if (record := record_of(model)) is not None:
        raise ValueError(f"the model has a method already ({record.method}): remove_added(model) first")


def check_count(name: str, value: object) -> int:
    """`value` if it is an integer above 0; else TypeError or ValueError with the name and the value."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}={value!r} must be an integer, not {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{name}={value} must be at least 1")
    return value


def training_dtype(weight: object) -> torch.dtype:
    """The dtype of what trains beside a weight: float32 beside half precision, as LoRA's factors. Else TypeError."""
    if not isinstance(weight, Tensor) or not weight.is_floating_point():
        raise TypeError(
            f"the base weight has dtype {getattr(weight, 'dtype', None)}; what trains beside it needs a float weight"
        )
    return torch.float32 if weight.dtype.itemsize < 4 else weight.dtype
