"""What the modules of the audit share: the distance of two tensors, the two modes, a question that cannot be asked."""

from collections.abc import Callable

from torch import Tensor, nn

Make = Callable[[nn.Module], nn.Module]
Outcome = tuple[float, float, str]  # measured, allowed, how to read a failure


class NotAskedError(Exception):
    """The code has nothing that this question could be put to; the message says what is missing."""


def relative(actual: Tensor, expected: Tensor) -> float:
    """‖actual − expected‖ / ‖expected‖ in float64; the norm of `actual` where `expected` is zero, inf for NaN."""
    difference, size = (actual.double() - expected.double()).norm(), expected.double().norm()
    error = float(difference / size if size > 0 else difference)
    return error if error < float("inf") else float("inf")


def training(module: nn.Module) -> nn.Module:
    """The module in training mode. Not `module.train()`: loralib's returns None."""
    module.train()
    return module


def evaluating(module: nn.Module) -> nn.Module:
    """The module in evaluation mode."""
    module.eval()
    return module
