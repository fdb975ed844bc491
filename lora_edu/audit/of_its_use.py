"""What must hold when an adapter is used: merged, taken out, saved, added to another. See `of_the_layer`."""

import io
import math
from collections.abc import Callable

import torch
from torch import nn

from .common import Outcome, evaluating, relative, training
from .subject import Subject

SUMS = 1e-5


def merging(s: Subject) -> Outcome:
    """Merge, then forward, equals forward."""
    module = training(s.shaken())
    expected = module(s.x).detach()
    return relative(s.merge(module)(s.x), expected), SUMS, "What is merged is not what was trained."


def merging_with_dropout(s: Subject) -> Outcome:
    """Merged in the middle of training, with dropout, it is the same merged layer."""
    expected = evaluating(s.merge(training(s.shaken())))(s.x)
    error = relative(s.merge(training(s.shaken(dropout=True)))(s.x), expected)
    return error, SUMS, "Dropout acts while merging, or on the merged layer."


def merging_twice(s: Subject) -> Outcome:
    """To merge twice is to merge once."""
    module = s.merge(training(s.shaken()))
    expected = module(s.x).detach()
    return relative(s.merge(module)(s.x), expected), SUMS, "ΔW is added again: merging keeps no flag."


def unmerging(s: Subject) -> Outcome:
    """Unmerge gives back the base, bit for bit."""
    module = training(s.shaken())
    before = s.frozen(module)
    after = s.unmerge(s.merge(module)).state_dict()
    error = max(relative(after[key], tensor) for key, tensor in before.items())
    changed = any(not torch.equal(after[key], tensor) for key, tensor in before.items())
    text = "W₀ is got back by subtracting ΔW, which rounds: keep W₀ instead." if error < 1e-2 else "W₀ is not got back."
    return (max(error, 1e-12) if changed else 0.0), 0, text


def saving(s: Subject) -> Outcome:
    """Saved and loaded into a new base, it is the same, bit for bit."""
    module = evaluating(s.shaken())
    expected = module(s.x).detach()
    loaded = s.reload(module, s.plain()) if s.reload is not None else _by_state_dict(module, s.fresh(seed=7))
    return (
        relative(evaluating(loaded)(s.x), expected),
        0,
        "Something that was trained is not in the file, or counts twice once loaded.",
    )


def _by_state_dict(module: nn.Module, other: nn.Module) -> nn.Module:
    buffer = io.BytesIO()
    torch.save(module.state_dict(), buffer)
    other.load_state_dict(torch.load(io.BytesIO(buffer.getvalue()), weights_only=True))
    return other


def one_at_weight_one(s: Subject) -> Outcome:
    """A weighted sum of one adapter at weight 1 is that adapter."""
    error, factor = s.error_of_sum((1.0,))
    return error, SUMS, _read_sum(s, factor, s.r, "The new adapter does not take over what the old one does.")


def sum_of_two(s: Subject) -> Outcome:
    """Half of one adapter and half of another is half of each."""
    error, factor = s.error_of_sum((0.5, 0.5))
    text = "Cross terms: (B₁ + B₂)(A₁ + A₂) is not B₁A₁ + B₂A₂. Or the sum was cut to a lower rank."
    return error, SUMS, _read_sum(s, factor, 2 * s.r, text)


def _read_sum(s: Subject, factor: float | None, r: int, otherwise: str) -> str:
    if factor is None:
        return otherwise
    known = {math.sqrt(r): "√r", math.sqrt(s.r): "√r", s.scaling: "the scaling", float(r): "r"}
    name = next((f" = {name}" for value, name in known.items() if math.isclose(value, factor, rel_tol=1e-3)), "")
    return f"The sum is {factor:.4g}{name} times what it should be: the new adapter has another scaling than was meant."


QUESTIONS: dict[str, Callable[[Subject], Outcome]] = {
    "merge": merging,
    "merge, dropout": merging_with_dropout,
    "merge twice": merging_twice,
    "unmerge": unmerging,
    "save": saving,
    "one at weight 1": one_at_weight_one,
    "sum of two": sum_of_two,
}
