"""What LoRA, or another method, costs on a model, in numbers: `summary(model)` counts, and prints a table."""

import re
from dataclasses import dataclass

from torch import nn

from .added import added_layers
from .inject import adapter_parameters, lora_layers
from .qlora import NF4Linear


@dataclass(frozen=True)
class Group:
    """Adapted layers that share a name up to their numbers, a shape and hyper-parameters."""

    name: str
    count: int
    out_features: int
    in_features: int
    r: int
    alpha: float
    scaling: float
    parameters: int


@dataclass(frozen=True)
class AddedGroup:
    """What another method put into modules that share a name up to their numbers. Shared parameters count once."""

    name: str
    count: int
    method: str
    parameters: int


@dataclass(frozen=True)
class Summary:
    """Counts of a model. Parameters are numbers, bytes are what they occupy in memory; tied weights count once.

    A weight in four bits counts as its numbers, and as its packed bytes.
    """

    groups: tuple[Group, ...]
    total_parameters: int
    adapter_parameters: int
    trained_parameters: int
    total_bytes: int
    trained_bytes: int
    trained_tensors: tuple[str, ...] = ("A", "B")
    added: tuple[AddedGroup, ...] = ()

    @property
    def trained_share(self) -> float:
        """Trained parameters over all parameters, the factors included."""
        return self.trained_parameters / self.total_parameters if self.total_parameters else 0.0

    def __str__(self) -> str:
        header: tuple[str, ...] = ("adapted layers", "count", "out × in", "r", "alpha", "scaling", "parameters")
        rows: list[tuple[str, ...]] = [
            (
                g.name,
                str(g.count),
                f"{g.out_features} × {g.in_features}",
                str(g.r),
                f"{g.alpha:g}",
                f"{g.scaling:g}",
                f"{g.parameters:,}",
            )
            for g in self.groups
        ]
        if self.added:
            header = ("adapted modules", "count", "method", "parameters")
            rows = [(g.name, str(g.count), g.method, f"{g.parameters:,}") for g in self.added]
        widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
        lines = [
            "  ".join(
                cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
            for row in ([header, *rows] if rows else [])
        ]
        if rows:
            lines.insert(1, "-" * len(lines[0]))
            lines.append("")
        lines.append(
            f"trained {self.trained_parameters:,} of {self.total_parameters:,} parameters ({self.trained_share:.3%}), "
            f"{_readable(self.trained_bytes)} of {_readable(self.total_bytes)}"
        )
        others = self.trained_parameters - self.adapter_parameters
        if rows and others:
            names = "what was added" if self.added else " and ".join(self.trained_tensors)
            lines.append(f"of these, {self.adapter_parameters:,} in {names} and {others:,} in layers trained whole")
        return "\n".join(lines)

    __repr__ = __str__


def summary(model: nn.Module) -> Summary:
    """Count a model's parameters and bytes, all and trained, its adapted layers in groups. Works without LoRA too."""
    groups: dict[tuple[str, int, int, int, float, float], list[int]] = {}
    for name, layer in lora_layers(model).items():
        key = (
            _without_numbers(name),
            layer.out_features,
            layer.in_features,
            layer.r,
            layer.alpha,
            layer.scaling,
        )
        groups.setdefault(key, []).append(sum(layer.get_parameter(n).numel() for n in layer.variant.trained()))
    everything, layers = list(model.parameters()), lora_layers(model).values()
    trained = [p for p in everything if p.requires_grad]
    packed = [module.packed for module in model.modules() if isinstance(module, NF4Linear)]
    return Summary(
        groups=tuple(
            Group(name, len(sizes), out_features, in_features, r, alpha, scaling, sum(sizes))
            for (name, out_features, in_features, r, alpha, scaling), sizes in groups.items()
        ),
        total_parameters=sum(p.numel() for p in everything) + sum(p.shape.numel() for p in packed),
        adapter_parameters=sum(p.numel() for p in adapter_parameters(model)),
        trained_parameters=sum(p.numel() for p in trained),
        total_bytes=sum(p.numel() * p.element_size() for p in everything) + sum(p.nbytes for p in packed),
        trained_bytes=sum(p.numel() * p.element_size() for p in trained),
        trained_tensors=tuple(dict.fromkeys(name for layer in layers for name in layer.variant.trained())),
        added=_added_groups(model),
    )


def _added_groups(model: nn.Module) -> tuple[AddedGroup, ...]:
    groups: dict[tuple[str, str], list[int]] = {}
    counted: set[nn.Parameter] = set()
    for name, module in added_layers(model).items():
        own = {p for _, p in module.own_parameters()} - counted
        groups.setdefault((_without_numbers(name), module.describe()), []).append(sum(p.numel() for p in own))
        counted |= own
    return tuple(AddedGroup(name, len(sizes), method, sum(sizes)) for (name, method), sizes in groups.items())


def _without_numbers(name: str) -> str:
    """ "encoder.layer.3.attention" and "encoder.layer.4.attention" are one row, "encoder.layer.*.attention"."""
    return re.sub(r"\b\d+\b", "*", name)


def _readable(size: int) -> str:
    """Bytes in decimal units: 1 MB is 1,000,000 bytes."""
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= scale:
            return f"{size / scale:.2f} {unit}"
    return f"{size} B"
