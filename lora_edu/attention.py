"""Which modules of a model are attention layers that a prefix can enter, and how wide their keys are."""

import inspect
from collections.abc import Iterable

from torch import nn

from .targets import as_tuple, name_matches

_KEY_LAYERS = ("key", "k_proj")  # as BERT and Llama, and most models after them, call it
_IMPLEMENTATIONS = ("eager", "sdpa")


def list_attention(model: nn.Module) -> list[str]:
    """Names of the attention layers that pass keys and values through a cache, as those of transformers do."""
    return [name for name, module in model.named_modules() if name and _is_attention(module)]


def select_attention(model: nn.Module, targets: str | Iterable[str]) -> list[str]:
    """Names of the attention layers that `targets` selects. Raises ValueError for a target that selects none."""
    available, selected = list_attention(model), set[str]()
    patterns = as_tuple(targets)
    if not patterns:
        raise ValueError("targets is empty: name at least one attention layer")
    if not available:
        raise ValueError(
            "the model has no attention layer that takes a prefix: one whose forward has past_key_values and whose "
            f"key layer is called {' or '.join(_KEY_LAYERS)}, as in BERT and Llama of transformers"
        )
    for pattern in patterns:
        if not (found := {name for name in available if name_matches(pattern, name)}):
            raise ValueError(
                f"target {pattern!r} matches none of the {len(available)} attention layers, such as {available[0]!r}"
            )
        selected |= found
    for name in selected:
        kind = getattr(getattr(model.get_submodule(name), "config", None), "_attn_implementation", "eager")
        if kind not in _IMPLEMENTATIONS:
            raise ValueError(
                f"{name!r} uses {kind} attention; a prefix needs the mask of {' or '.join(_IMPLEMENTATIONS)}"
            )
    return [name for name in available if name in selected]


def key_layer(attention: nn.Module) -> nn.Module:
    """The layer that makes the keys."""
    layer: nn.Module = next(getattr(attention, name) for name in _KEY_LAYERS if hasattr(attention, name))
    return layer


def key_sizes(attention: nn.Module) -> tuple[int, int]:
    """(heads that have keys of their own, size of a head)."""
    size = next(getattr(attention, name) for name in ("attention_head_size", "head_dim") if hasattr(attention, name))
    return key_layer(attention).out_features // size, size


def _is_attention(module: nn.Module) -> bool:
    if not any(isinstance(getattr(module, name, None), nn.Module) for name in _KEY_LAYERS):
        return False
    if not any(hasattr(module, name) for name in ("attention_head_size", "head_dim")):
        return False
    arguments = set(inspect.signature(module.forward).parameters)
    # Attention to another sequence keeps its keys elsewhere than in the cache that it is given.
    return "past_key_values" in arguments and arguments.isdisjoint({"encoder_hidden_states", "key_value_states"})
