"""Many adapters on one model: named, switched, mixed, and one for each row of a batch.

An adapter is its own LoRA layers beside the one frozen base, and its own copies of the modules that it trains whole.
To switch is to put other modules into the same places: nothing is computed, and nothing is rounded.
"""

import copy
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .files import load_adapter
from .inject import add_lora, lora_layers, replace_modules, take_flags, unmerge
from .layers import LoRALayer
from .mixtures import Mixture, Rows, mixed, parts_of, plain_layer
from .peft_config import read_config
from .sums import best_pair, change, one_pair
from .targets import select_modules
from .whole_modules import modules_named

Adapter = dict[nn.Module, nn.Module]  # what stands in a place of the plain model → what the adapter puts there


class AdapterBank:
    """Named adapters for `model`, of which one, a weighted sum of several, or none is in use.

    The model is changed in place. What is in it can be trained, evaluated, merged and saved as ever; every call of the
    bank undoes a merge. Raises ValueError if the model has LoRA layers already.
    """

    def __init__(self, model: nn.Module) -> None:
        if lora_layers(model):
            raise ValueError("the model has LoRA layers already: make the bank of a plain model, then add or load")
        self.model = model
        self._flags = {name: p.requires_grad for name, p in model.named_parameters()}
        self._adapters: dict[str, Adapter] = {}
        self._placed: Adapter = {}
        self._trains = True

    @property
    def names(self) -> list[str]:
        return list(self._adapters)

    def add(
        self, name: str, targets: str | Iterable[str], r: int, alpha: float, dropout: float = 0.0, **settings: Any
    ) -> nn.Module:
        """A new adapter, put in use and ready to train; the arguments are those of `add_lora`."""
        self._check_new(name)
        whole = select_modules(self.model, settings.get("modules_to_save", ()))
        return self._place_new(name, whole, lambda: add_lora(self.model, targets, r, alpha, dropout, **settings))

    def load(self, name: str, folder: str | os.PathLike[str]) -> nn.Module:
        """An adapter from its folder, put in use (see `load_adapter`)."""
        self._check_new(name)
        saved = read_config(Path(folder)).get("modules_to_save")
        whole = modules_named(self.model, saved) if isinstance(saved, list) and all(map(_is_name, saved)) else []
        return self._place_new(name, whole, lambda: load_adapter(self.model, folder))

    def use(self, choice: str | Mapping[str, float] | None) -> nn.Module:
        """Put one adapter in use, by name; or Σ wᵢ · adapterᵢ, from {name: weight}; or, with None, none.

        A sum adds up what the adapters add to the base, each by its own rule: it is exact for every variant, and one
        adapter at weight 1 is itself. A sum does not train, and `combine` makes one that can be merged and saved.
        Modules trained whole are summed as plain + Σ wᵢ (ownᵢ − plain). Raises KeyError for an unknown name,
        ValueError for a weight that is not finite.
        """
        weights = {choice: 1.0} if isinstance(choice, str) else dict(choice or {})
        adapters = self._chosen(weights)
        if len(weights) == 1 and set(weights.values()) == {1}:
            return self._place(next(iter(adapters.values())))
        places = dict.fromkeys(plain for adapter in adapters.values() for plain in adapter)
        return self._place({plain: mixed(plain, parts_of(plain, adapters, weights)) for plain in places}, trains=False)

    @contextmanager
    def rows(self, names: Sequence[str | None]) -> Iterator[nn.Module]:
        """Within this block, row i of a batch goes through the adapter `names[i]`, or none. See `Rows`."""
        adapters = self._chosen({name: 1.0 for name in names if name is not None})
        before, placed = (self._placed, self._trains), dict[nn.Module, nn.Module]()
        for plain in dict.fromkeys(plain for adapter in adapters.values() for plain in adapter):
            own = {name: adapter[plain] for name, adapter in adapters.items() if plain in adapter}
            placed[plain] = Rows(plain, list(own.values()), [list(own).index(n) if n in own else -1 for n in names])
        self._place(placed, trains=False)
        try:
            yield self.model
        finally:
            self._place(*before)

    @torch.no_grad()
    def combine(self, name: str, weights: Mapping[str, float], r: int | None = None) -> float:
        """Keep Σ wᵢ · adapterᵢ as a new plain LoRA adapter `name`, which can be merged and saved; returns its error.

        Without r the factors are put side by side, which is exact, at the sum of the ranks. With r each layer gets
        the best matrix of that rank, and the error is ‖Σ wᵢΔWᵢ − ΔW‖_F / ‖Σ wᵢΔWᵢ‖_F over all layers. A single adapter
        at weight 1 is copied as it is. Raises ValueError for DoRA without r: its change of W has no low rank.
        """
        self._check_new(name)
        self._place(self._placed, self._trains)  # undoes a merge: what follows reads W₀
        adapters, errors, sizes = self._chosen(weights), [0.0], [0.0]
        combined: Adapter = {}
        for plain in dict.fromkeys(plain for adapter in adapters.values() for plain in adapter):
            parts = parts_of(plain, adapters, weights)
            layers = [(weight, part) for weight, part in parts if isinstance(part, LoRALayer)]
            if r is None and len(parts) == len(adapters) == 1 and parts[0][0] == 1:
                combined[plain] = copy.deepcopy(parts[0][1], {id(plain): plain})
                continue
            if not layers:
                combined[plain] = mixed(plain, parts)
                continue
            delta = torch.stack([weight * change(layer) for weight, layer in layers]).sum(0)
            if r is not None:
                B, A, error = best_pair(delta, min(r, *delta.shape))
                combined[plain] = plain_layer(plain, 1.0, B, A)
                errors.append(error)
            elif any(layer.variant.gain(layer) is not None for _, layer in layers):
                raise ValueError("DoRA's change of W has no low rank: pass r for the best approximation, or use(…)")
            else:
                terms = [(w * s, layer.full(B), A) for w, layer in layers for s, B, A in layer.variant.terms(layer)]
                combined[plain] = plain_layer(plain, *one_pair(terms))
            sizes.append(float(delta.norm()))
        self._adapters[name] = combined
        return math.hypot(*errors) / (math.hypot(*sizes) or 1.0)

    def _place_new(self, name: str, whole: list[str], make: Any) -> nn.Module:
        before = self._placed, self._trains
        self.use(None)
        copies = {self.model.get_submodule(path): copy.deepcopy(self.model.get_submodule(path)) for path in whole}
        replace_modules(self.model, copies)
        try:
            make()
        except BaseException:
            replace_modules(self.model, {own: plain for plain, own in copies.items()})
            self._place(*before)
            raise
        take_flags(self.model)
        self._trains, self._placed = True, {layer.base: layer for layer in lora_layers(self.model).values()} | copies
        self._adapters[name] = self._placed
        return self.model

    def _place(self, chosen: Adapter, trains: bool = True) -> nn.Module:
        if any(inner in chosen for plain in chosen for inner in plain.modules() if inner is not plain):
            raise ValueError("one adapter trains a module whole in which another has LoRA layers: use one at a time")
        if self._placed:
            if lora_layers(self.model):
                unmerge(self.model)
            replace_modules(self.model, {own: plain for plain, own in self._placed.items()})
        self._placed = {}
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(self._flags[name] and not chosen)
        replace_modules(self.model, chosen)
        self._placed, self._trains = chosen, trains
        for plain, own in chosen.items():
            own.train(plain.training)
            if isinstance(own, LoRALayer):
                own.train_factors()
            elif not isinstance(own, Mixture | Rows):
                own.requires_grad_(trains)
        return self.model

    def _chosen(self, weights: Mapping[str, float]) -> dict[str, Adapter]:
        for name, weight in weights.items():
            if name not in self._adapters:
                raise KeyError(f"there is no adapter {name!r} in the bank, only {', '.join(map(repr, self.names))}")
            if not math.isfinite(weight):
                raise ValueError(f"the weight {weight} of {name!r} must be a finite number")
        return {name: self._adapters[name] for name in weights}

    def _check_new(self, name: str) -> None:
        if name in self._adapters:
            raise ValueError(f"there is an adapter {name!r} in the bank already")


def _is_name(entry: object) -> bool:
    return isinstance(entry, str) and bool(entry)
