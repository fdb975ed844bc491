"""Asking: every invariant put to foreign code, in order, with what goes wrong on the way made a finding or an error."""

import warnings
from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor, nn

from . import of_its_use, of_the_layer
from .common import Make, NotAskedError, evaluating
from .report import Audit, Finding
from .subject import Subject

INVARIANTS = of_the_layer.QUESTIONS | of_its_use.QUESTIONS


def audit(
    make: Make,
    r: int,
    alpha: float,
    *,
    base: Callable[[], nn.Module] | None = None,
    x: Tensor | None = None,
    scaling: float | None = None,
    skip: Collection[str] = (),
    dropout: Make | None = None,
    factors: Callable[[nn.Module], tuple[Tensor, Tensor]] | None = None,
    merge: Callable[[nn.Module], object] | None = None,
    unmerge: Callable[[nn.Module], object] | None = None,
    reload: Callable[[nn.Module, nn.Module], nn.Module] | None = None,
    combine: Callable[[Sequence[nn.Module], Sequence[float]], nn.Module] | None = None,
) -> Audit:
    r"""Ask every invariant of the code that `make` stands for. All is done in float32, on small modules of its own.

    Args:
        make: base ↦ adapted module, with rank r, this alpha, and no dropout. It may change the base or copy it.
        r, alpha: what `make` uses. r ≥ 2 and alpha ≠ r, since otherwise a scaling by α, or none, looks right.
        base: makes the layer or model to adapt; an `nn.Linear` of 24 inputs and 18 outputs by default.
        x: inputs of it, `(..., in)`; by default `(3, 4, in)` for a base with `in_features`.
        scaling: what the code promises to multiply B A by; α/r by default.
        skip: names of invariants that the code does not promise.
        dropout: as `make`, with dropout.
        factors: module ↦ (A, B), where their shapes do not tell them.
        merge, unmerge: act on the module, in place or not; its methods of these names by default.
        reload: (trained module, new base) ↦ module, by way of a file; by default its state dict.
        combine: (trained modules, weights) ↦ module that has Σ wᵢΔWᵢ.

    Warnings of the code are not shown. Two-dimensional questions ("rule", "rank", …) are put to linear layers only.

    Raises:
        TypeError: `make` is no function, or returns no module; `x` is no tensor.
        ValueError: r or alpha could hide a mistake; `skip` names no invariant; the adapted module raises an error on x
            or changes the shape of the output.
    """
    if unknown := set(skip) - set(INVARIANTS):
        raise ValueError(f"skip={sorted(unknown)} names no invariant: there are {list(INVARIANTS)}")
    if not ("rule" in skip or scaling is not None) and (r < 2 or alpha == r):
        raise ValueError(f"r={r}, alpha={alpha:g} would hide a wrong scaling: take r ≥ 2 and alpha ≠ r")
    if not callable(make) or isinstance(make, nn.Module):
        raise TypeError(f"make must be a function from a base layer to an adapted one, not a {type(make).__name__}")
    scaling = alpha / r if scaling is None else scaling
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        base = base or (lambda: nn.Linear(24, 18))
        x = _inputs_of(base()) if x is None else x
        if not isinstance(x, Tensor):
            raise TypeError(f"x must be a tensor, not a {type(x).__name__}")
        subject = Subject(make, base, x, r, alpha, scaling, dropout, factors, merge, unmerge, reload, combine)
        _check_that_it_runs(subject)
        return Audit(tuple(_ask(name, subject, name in skip) for name in INVARIANTS))


def _inputs_of(base: nn.Module) -> Tensor:
    features = getattr(base, "in_features", None)
    if not isinstance(features, int):
        raise ValueError(f"the base is a {type(base).__name__}: pass x, inputs that it takes")
    return torch.randn(3, 4, features, generator=torch.Generator().manual_seed(2))


def _ask(name: str, subject: Subject, skipped: bool) -> Finding:
    if skipped:
        return Finding(name, "not asked", None, None, "The code does not promise this.")
    try:
        measured, tolerance, reading = INVARIANTS[name](subject)
    except NotAskedError as missing:
        return Finding(name, "not asked", None, None, f"{missing}.")
    except NotImplementedError as refused:
        return Finding(name, "not asked", None, None, f"The code refuses: {_first_line(refused)}")
    except Exception as error:  # foreign code may raise anything, and that is a finding too
        return Finding(name, "fails", None, None, f"{type(error).__name__}: {_first_line(error)}")
    holds = measured <= tolerance
    return Finding(name, "holds" if holds else "fails", measured, tolerance, invariant_says(name) if holds else reading)


def _check_that_it_runs(subject: Subject) -> None:
    module, expected = subject.fresh(), subject.plain()(subject.x)
    if not isinstance(module, nn.Module):
        raise TypeError(f"make(base) must return the adapted module, not a {type(module).__name__}")
    shape = tuple(subject.x.shape)
    try:
        y = evaluating(module)(subject.x)
    except Exception as error:
        raise ValueError(
            f"the adapted module raises {type(error).__name__} on inputs of shape {shape}, which its base takes: "
            f"{_first_line(error)}. If only square layers work, a factor is the wrong way round"
        ) from error
    if not isinstance(y, Tensor) or y.shape != expected.shape:
        found = f"shape {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
        raise ValueError(f"for inputs of shape {shape} the base gives {tuple(expected.shape)}, the adapted one {found}")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:160]


def invariant_says(name: str) -> str:
    """What the invariant of this name says, in one sentence. Raises KeyError if there is none."""
    return str(INVARIANTS[name].__doc__)
