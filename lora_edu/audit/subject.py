"""The code under audit as its questions see it: made afresh, moved as by training, and looked into without names.

The questions are in `of_the_layer` and `of_its_use`; `ask` puts them.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .common import Make, NotAskedError, evaluating, relative


@dataclass
class Subject:
    """Foreign code, a base for it, inputs, and what it promises. The fields are the arguments of `audit`."""

    make: Make
    base: Callable[[], nn.Module]
    x: Tensor
    r: int
    alpha: float
    scaling: float
    dropout: Make | None = None
    find: Callable[[nn.Module], tuple[Tensor, Tensor]] | None = None
    on_merge: Callable[[nn.Module], object] | None = None
    on_unmerge: Callable[[nn.Module], object] | None = None
    reload: Callable[[nn.Module, nn.Module], nn.Module] | None = None
    combine: Callable[[Sequence[nn.Module], Sequence[float]], nn.Module] | None = None

    @property
    def has_dropout(self) -> bool:
        return self.dropout is not None

    @property
    def n_in(self) -> int:
        return self.x.shape[-1]

    @property
    def cotangent(self) -> Tensor:
        """A fixed random ∂L/∂y, in the shape of the output."""
        y = self.plain()(self.x)
        return torch.randn(y.shape, generator=torch.Generator().manual_seed(5))

    def backward(self, module: nn.Module) -> Tensor:
        """Gradients of ⟨cotangent, y⟩ into the module's parameters; returns y."""
        y: Tensor = module(self.x)
        if y.requires_grad:  # else no adapter is called, and there are no gradients
            torch.autograd.backward(y, self.cotangent)
        return y

    # --- the code, made and moved ----------------------------------------------------------------------------------

    @torch.no_grad()
    def plain(self, dtype: torch.dtype = torch.float32, zero_row: bool = False) -> nn.Module:
        """A base of its own, with the same numbers each time."""
        torch.manual_seed(0)
        base = self.base().to(dtype)
        for name, parameter in base.named_parameters():
            if zero_row and parameter.ndim > 1 and name.endswith("weight"):
                row = parameter[:, 0] if _keeps_columns(base.get_submodule(name.rpartition(".")[0])) else parameter[0]
                row.zero_()
        return base

    def fresh(
        self, seed: int = 0, dtype: torch.dtype = torch.float32, dropout: bool = False, zero_row: bool = False
    ) -> nn.Module:
        """The adapted layer at step 0."""
        make = self.dropout if dropout else self.make
        if make is None:
            raise NotAskedError("no dropout= was given")
        base = self.plain(dtype, zero_row)
        torch.manual_seed(100 + seed)
        return make(base)

    def shaken(
        self, seed: int = 0, dtype: torch.dtype = torch.float32, dropout: bool = False, zero_row: bool = False
    ) -> nn.Module:
        """The adapted layer as after some training: all that it trains has moved. The base has not, even if it may."""
        module = self.fresh(seed, dtype, dropout, zero_row)
        generator = torch.Generator().manual_seed(200 + seed)
        with torch.no_grad():
            for tensor in self.own(module):
                tensor.add_(0.3 * torch.randn(tensor.shape, generator=generator))
        return module

    def own(self, module: nn.Module) -> list[nn.Parameter]:
        """What the adapter trains: parameters that train and are no copy of one of the base."""
        known = list(self.plain().parameters())
        return [p for p in module.parameters() if p.requires_grad and not any(_is_copy(p, base) for base in known)]

    def frozen(self, module: nn.Module) -> dict[str, Tensor]:
        """Every tensor in the state that the adapter does not train, by name, copied."""
        own = {tensor.data_ptr() for tensor in self.own(module)}
        state: dict[str, Tensor] = module.state_dict()
        return {key: t.clone() for key, t in state.items() if t.data_ptr() not in own and t.is_floating_point()}

    # --- what is inside, without names -----------------------------------------------------------------------------

    @torch.no_grad()
    def check_linear(self) -> None:
        """Raise NotAskedError unless the base is a linear map of the last axis."""
        if not self.x.is_floating_point():
            raise NotAskedError("the base takes no real inputs")
        probe, plain = torch.eye(self.n_in), self.plain()
        try:
            b, W0 = plain(torch.zeros(1, self.n_in)), plain(probe)
            linear = W0.ndim == 2 and relative(plain(self.x), self.x @ (W0 - b) + b) < 1e-4
        except RuntimeError:
            linear = False
        if not linear:
            raise NotAskedError("the base is no linear map of the last axis")

    @torch.no_grad()
    def delta(self, module: nn.Module) -> Tensor:
        """ΔW, (out, in), from the outputs for the identity matrix. It must not be zero."""
        self.check_linear()
        probe = torch.eye(self.n_in)
        delta: Tensor = (evaluating(module)(probe) - self.plain()(probe)).T
        if not delta.any():
            raise NotAskedError("ΔW stays 0: see 'adapters train'")
        return delta

    def stored_factors(self, module: nn.Module) -> list[tuple[Tensor, bool]]:
        """A and B as the code stores them, each with whether that is the transpose of (r, in) or (out, r)."""
        self.check_linear()
        n_out = self.plain()(self.x).shape[-1]
        if self.find is not None:
            pair = self.find(module)
        else:
            pair = (self._of_sizes(module, "A", self.n_in), self._of_sizes(module, "B", n_out))
        shapes, found = ((self.r, self.n_in), (n_out, self.r)), []
        for tensor, shape in zip(pair, shapes, strict=True):
            if tuple(tensor.shape) not in (shape, shape[::-1]):
                raise NotAskedError(f"a factor of shape {tuple(tensor.shape)} is neither {shape} nor {shape[::-1]}")
            found.append((tensor, tuple(tensor.shape) != shape))
        return found

    def factors(self, module: nn.Module) -> tuple[Tensor, Tensor]:
        """A as (r, in) and B as (out, r), however they are stored and named."""
        A, B = (tensor.detach().T if turned else tensor.detach() for tensor, turned in self.stored_factors(module))
        return A, B

    def _of_sizes(self, module: nn.Module, symbol: str, size: int) -> Tensor:
        """The one tensor of shape (r, size) or (size, r). In a square layer A is the flat one, B the tall one."""
        shapes = [(self.r, size), (size, self.r)]
        if self.plain()(self.x).shape[-1] == self.n_in:
            shapes = [shapes[symbol == "B"]]
        for pool in (module.parameters(), itertools.chain(module.parameters(), module.buffers())):
            found = [t for t in pool if tuple(t.shape) in shapes]
            if len(found) == 1:
                return found[0]
        raise NotAskedError(f"{len(found)} tensors have the shape of {symbol}, {shapes[0]}: pass factors=")

    # --- what it can do --------------------------------------------------------------------------------------------

    def merge(self, module: nn.Module) -> nn.Module:
        return self._call("merge", self.on_merge, module)

    def unmerge(self, module: nn.Module) -> nn.Module:
        return self._call("unmerge", self.on_unmerge, module)

    @torch.no_grad()
    def error_of_sum(self, weights: Sequence[float]) -> tuple[float, float | None]:
        """How far Σ wᵢ · adapterᵢ, as the code combines them, is from the sum of what each adds.

        The second number is by what the sum is multiplied, if it is a multiple of the right one.
        """
        if self.combine is None:
            raise NotAskedError("no combine= was given")
        modules, before = [evaluating(self.shaken(seed)) for seed in range(len(weights))], self.plain()(self.x)
        added = sum((w * (m(self.x) - before) for w, m in zip(weights, modules, strict=True)), torch.zeros(()))
        found = evaluating(self.combine(modules, list(weights)))(self.x) - before
        factor = float((found * added).sum() / added.square().sum())
        return relative(found, added), factor if relative(found, factor * added) < 1e-3 else None

    @staticmethod
    def _call(name: str, given: Callable[[nn.Module], object] | None, module: nn.Module) -> nn.Module:
        """Through the function that was given, or the method of that name; what is changed in place is returned."""
        action = given or (getattr(type(module), name, None))
        if not callable(action):
            raise NotAskedError(f"no {name}= was given, and {type(module).__name__} has no method of that name")
        result = action(module)
        return result if isinstance(result, nn.Module) else module


def _is_copy(parameter: Tensor, original: Tensor) -> bool:
    return parameter.shape == original.shape and torch.equal(parameter, original.to(parameter.dtype))


def _keeps_columns(module: nn.Module) -> bool:
    """Whether the weight is stored as (in, out), as the Conv1D of transformers has it."""
    return type(module).__name__ == "Conv1D"
