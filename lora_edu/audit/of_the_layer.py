r"""What makes a layer LoRA, as questions that are put to code by its behaviour alone.

The code is known as a function that takes a base layer and returns the adapted one. ΔW is what it adds to the rows of
the identity matrix; A and B are found by their shapes; "after training" means that all that trains was moved at random.
Each question returns what was measured, what is allowed, and how to read it if it is more. Read `of_its_use` next.
"""

import copy
import math
from collections.abc import Callable

import torch

from .common import NotAskedError, Outcome, evaluating, relative, training
from .subject import Subject

ROUNDING, SUMS, HALF = 1e-6, 1e-5, 0.02


def identity(s: Subject) -> Outcome:
    """At step 0 the adapted layer is the base."""
    error = relative(evaluating(s.fresh())(s.x), s.plain()(s.x))
    return error, ROUNDING, "ΔW is not 0 before training: both factors are random, or their product is not taken out."


def identity_with_dropout(s: Subject) -> Outcome:
    """At step 0, in training with dropout, it is the base too."""
    error = relative(training(s.fresh(dropout=True))(s.x), s.plain()(s.x))
    return error, ROUNDING, "Dropout changes the start: it reaches W₀x, or a part of W₀ that was moved into B A."


def only_adapters_train(s: Subject) -> Outcome:
    """No tensor of the base gets a gradient."""
    module = training(s.shaken())
    s.backward(module)
    own = {id(tensor) for tensor in s.own(module)}
    moved = [n for n, p in module.named_parameters() if id(p) not in own and p.grad is not None and p.grad.any()]
    return (
        len(moved),
        0,
        f"The base is not frozen: {', '.join(moved)}. It trains, costs memory, and is lost when saved.",
    )


def every_adapter_trains(s: Subject) -> Outcome:
    """Every tensor of the adapter has moved after three steps of Adam."""
    module = training(s.fresh())
    own = s.own(module)
    if not own:
        return 1, 0, "Nothing trains: no adapter was put in, or all of it is frozen."
    start, optimizer = [tensor.detach().clone() for tensor in own], torch.optim.Adam(own, lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        s.backward(module)
        optimizer.step()
    still = sum(torch.equal(now, before) for now, before in zip(own, start, strict=True))
    return (
        still,
        0,
        f"{still} of {len(own)} tensors are dead: both factors 0, one detached or never called, or B frozen at 0.",
    )


def one_matrix(s: Subject) -> Outcome:
    """In evaluation, with dropout set, it is one matrix W₀ + ΔW."""
    delta = s.delta(s.shaken())
    module = s.shaken(dropout=True) if s.has_dropout else s.shaken()
    error = relative(evaluating(module)(s.x), s.plain()(s.x) + s.x @ delta.T)
    return error, SUMS, "Dropout is on in evaluation, or a call depends on the rest of the batch or on an earlier call."


def dropout_stays_inside(s: Subject) -> Outcome:
    """What dropout changes in training goes through B: its rank is 2r at most, σ₂ᵣ₊₁ / σ₁."""
    module = s.shaken(dropout=True)
    s.delta(s.shaken())
    change = training(module)(s.x) - evaluating(s.shaken())(s.x)
    sigma = torch.linalg.svdvals(change.detach().flatten(0, -2))
    if not sigma[0] > 0:
        raise NotAskedError("dropout changes nothing in training")
    if len(sigma) <= 2 * s.r:
        raise NotAskedError(f"x has {len(sigma)} rows, too few to tell a rank of 2r = {2 * s.r}")
    return float(sigma[2 * s.r] / sigma[0]), SUMS, "Dropout reaches W₀x: drop the input of A alone."


def rank(s: Subject) -> Outcome:
    """The rank of ΔW is r at most: σᵣ₊₁ / σ₁."""
    sigma = torch.linalg.svdvals(s.delta(s.shaken()))
    if len(sigma) <= s.r:
        raise NotAskedError(f"r={s.r} is the full rank of a matrix of {s.x.shape[-1]} inputs")
    return float(sigma[s.r] / sigma[0]), SUMS, "ΔW has a higher rank than r: more than B A is added."


def rule(s: Subject) -> Outcome:
    """ΔW = scaling · B A, with the scaling that was promised."""
    module = s.shaken()
    A, B = s.factors(module)
    delta, product = s.delta(module), B @ A
    error = relative(delta, s.scaling * product)
    found = float((delta * product).sum() / product.square().sum())
    if relative(delta, found * product) < 1e-3:
        r, alpha = s.r, s.alpha
        known = {alpha: "α: the division by r is missing", alpha / math.sqrt(r): "α/√r", alpha / r: "α/r"}
        known |= {
            1.0: "1: there is no scaling",
            alpha / r**2: "α/r²: divided twice",
            alpha**2 / r**2: "(α/r)²: scaled twice",
        }
        name = next(
            (text for value, text in known.items() if math.isclose(value, found, rel_tol=1e-3)), "no known rule"
        )
        return error, SUMS, f"B A is multiplied by {found:.4g}, which is {name}; promised is {s.scaling:.4g}."
    if delta.shape[0] == delta.shape[1] and relative(delta.T, s.scaling * product) < 1e-3:
        return error, SUMS, "ΔW is the transpose of scaling · B A: a factor is the wrong way round."
    return error, SUMS, "ΔW is no multiple of B A: another rule, or a factor that is not used."


def start(s: Subject) -> Outcome:
    """A starts uniform on ±1/√in: how wide it is, less 1."""
    drawn = torch.stack([s.factors(s.fresh(seed))[0].detach() for seed in range(8)])
    width = float(drawn.square().mean().sqrt()) * math.sqrt(3 * s.n_in)
    too_far = float(drawn.abs().max()) * math.sqrt(s.n_in) > 1.001
    text = f"A is {width:.2f} times as wide as U(±1/√in)"
    if math.isclose(width, math.sqrt(s.n_in / s.r), rel_tol=0.05):
        text += ", which is √(in/r): it is stored as (in, r), and its fan-in was taken for r"
    elif width == 0:
        text = "A starts at 0. With B = 0 as well nothing ever moves"
    elif too_far and abs(width - 1) < 0.1:
        return 2.0, 0.1, f"{text}, but its entries pass the bound: another distribution."
    return abs(width - 1), 0.1, f"{text}."


def gradients(s: Subject) -> Outcome:
    """∂L/∂A = scaling · BᵀG and ∂L/∂B = scaling · GAᵀ."""
    module = training(s.shaken())
    s.backward(module)
    A, B = s.factors(module)
    G = s.cotangent.flatten(0, -2).T @ s.x.flatten(0, -2)
    errors = []
    for (factor, turned), expected in zip(
        s.stored_factors(module), (s.scaling * B.T @ G, s.scaling * G @ A.T), strict=True
    ):
        if factor.requires_grad:
            found = torch.zeros_like(factor) if factor.grad is None else factor.grad
            errors.append(relative(found.T if turned else found, expected))
    if not errors:
        raise NotAskedError("neither A nor B trains")
    return max(errors), 1e-4, "Backward is not the derivative of forward: a detach, another scaling, or in-place work."


def half_precision(s: Subject) -> Outcome:
    """In bfloat16 the output is bfloat16, and near that of the same numbers in float32."""
    module = evaluating(s.shaken(dtype=torch.bfloat16))
    wide = copy.deepcopy(module).float()
    y = module(s.x if not s.x.is_floating_point() else s.x.bfloat16())
    if y.dtype != torch.bfloat16:
        return (
            math.inf,
            HALF,
            f"The output has dtype {str(y.dtype).removeprefix('torch.')}: cast the update before it is added.",
        )
    x = s.x.bfloat16().float() if s.x.is_floating_point() else s.x
    return relative(y.float(), wide(x)), HALF, "More is lost than rounding explains."


def zero_row(s: Subject) -> Outcome:
    """With a row of zeros in W₀, output and gradients are numbers."""
    module = training(s.fresh(zero_row=True))
    y = s.backward(module)
    tensors = [y, *(p.grad for p in module.parameters() if p.grad is not None)]
    bad = sum(int((~tensor.isfinite()).sum()) for tensor in tensors)
    return bad, 0, f"{bad} entries are NaN or infinite: something is divided by the norm of a row."


QUESTIONS: dict[str, Callable[[Subject], Outcome]] = {
    "identity": identity,
    "identity, dropout": identity_with_dropout,
    "base frozen": only_adapters_train,
    "adapters train": every_adapter_trains,
    "one matrix": one_matrix,
    "dropout inside": dropout_stays_inside,
    "rank": rank,
    "rule": rule,
    "start": start,
    "gradients": gradients,
    "bfloat16": half_precision,
    "row of zeros": zero_row,
}
