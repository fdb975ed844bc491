r"""Prefix tuning: trained keys and values in front of those of the text, in every attention (arXiv:2101.00190).

    keys    P_K[1] … P_K[length]  k₁ k₂ … k_T        every query of the text may look at all of them;
    values  P_V[1] … P_V[length]  v₁ v₂ … v_T        the prefix has no queries, so it has no outputs

The prefix enters where a key/value cache does, so it works in attention layers of transformers that have one, encoders
such as BERT and decoders such as Llama alike. Positions of the text stay as they are. Read `prompt` next.
"""

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (as in PyTorch's own documentation)

from .added import Added, added_layers, check_count, training_dtype
from .adding import add, check_plain, some_record
from .attention import key_layer, key_sizes, select_attention


class Reparametrization(nn.Module):
    """P′ (length, width) and the first layer of the MLP, shared by all attention layers: ↦ (length, hidden)."""

    def __init__(self, length: int, width: int, hidden: int, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        self.P = nn.Parameter(torch.randn(length, width, device=device, dtype=dtype))
        self.first = nn.Linear(width, hidden, device=device, dtype=dtype)

    def forward(self) -> Tensor:
        return torch.tanh(self.first(self.P))


class PrefixAttention(Added):
    """An attention layer whose keys and values begin with `K` and `V`, each (length, key heads · head size).

    They are parameters, drawn from N(0, 1) as in the code of the paper, or, with `shared`, what the layer's own
    second layer of the MLP makes of the shared first one: [K, V] = W tanh(W₁P′ + b₁) + b.
    """

    def __init__(self, base: nn.Module, length: int, shared: Reparametrization | None = None) -> None:
        super().__init__(base)
        self.length = check_count("length", length)
        self.heads, self.head_size = key_sizes(base)
        weight = cast(Tensor, key_layer(base).weight)
        settings: dict[str, Any] = {"device": weight.device, "dtype": training_dtype(weight)}
        width = self.heads * self.head_size
        self.shared, self.second = shared, None
        if shared is None:
            self.K, self.V = (nn.Parameter(torch.randn(length, width, **settings)) for _ in "KV")
        else:
            self.second = nn.Linear(shared.first.out_features, 2 * width, **settings)

    def prefix(self) -> tuple[Tensor, Tensor]:
        """K and V, each (length, key heads · head size)."""
        if self.shared is None or self.second is None:
            return self.K, self.V
        K, V = self.second(self.shared()).chunk(2, dim=-1)
        return K, V

    @torch.no_grad()
    def drop_reparametrization(self) -> None:
        """Keep what the MLP gives as parameters, and the MLP no longer."""
        K, V = self.prefix()
        self.shared = self.second = None
        self.K, self.V = nn.Parameter(K.clone()), nn.Parameter(V.clone())

    def forward(
        self,
        hidden_states: Tensor,
        *,
        attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        **others: Any,
    ) -> Any:
        mask = self._widened(attention_mask, hidden_states, past_key_values)
        cache = _PrefixInFront(self, past_key_values)
        return self.base(hidden_states, attention_mask=mask, past_key_values=cache, **others)

    def _widened(self, mask: Tensor | None, x: Tensor, cache: Any) -> Tensor | None:
        """The mask (batch, 1, queries, keys) with `length` more columns at the left, open to every query."""
        queries = x.shape[1]
        if mask is None:
            if queries == 1 or not getattr(self.base, "is_causal", False):
                return None  # everything may be looked at, the prefix too
            # Without a mask, PyTorch's causal attention would count the prefix as the first tokens of the text.
            keys = queries if cache is None else cache.get_mask_sizes(queries, getattr(self.base, "layer_idx", 0))[0]
            mask = torch.full((1, 1, queries, keys), torch.finfo(x.dtype).min, dtype=x.dtype, device=x.device).triu(1)
        if not isinstance(mask, Tensor) or mask.ndim != 4:
            raise TypeError(
                "a prefix needs an attention mask (batch, heads, queries, keys), as eager and sdpa attention have; "
                f"given was {tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__}"
            )
        return F.pad(mask, (self.length, 0), value=mask.dtype == torch.bool)  # True, or 0 to be added: look at it

    def describe(self) -> str:
        mlp = "" if self.shared is None else f" hidden={self.shared.first.out_features}"
        return f"prefix length={self.length}{mlp}"


class _PrefixInFront:
    """A key/value cache for one call: what the model's own cache gives, if it has one, with the prefix in front."""

    def __init__(self, layer: PrefixAttention, cache: Any) -> None:
        self.layer, self.cache = layer, getattr(cache, "self_attention_cache", cache)

    def update(self, keys: Tensor, values: Tensor, *where: Any, **settings: Any) -> tuple[Tensor, Tensor]:
        if self.cache is not None:
            keys, values = self.cache.update(keys, values, *where, **settings)
        K, V = self.layer.prefix()
        return self._in_front(K, keys), self._in_front(V, values)

    def _in_front(self, P: Tensor, tokens: Tensor) -> Tensor:
        """(length, heads · size) and (batch, heads, T, size) ↦ (batch, heads, length + T, size)."""
        P = P.to(tokens.dtype).view(-1, self.layer.heads, self.layer.head_size).transpose(0, 1)
        return torch.cat([P.expand(len(tokens), -1, -1, -1), tokens], dim=2)


def add_prefix(
    model: nn.Module,
    targets: str | Iterable[str],
    length: int,
    hidden: int | None = None,
    modules_to_save: str | Iterable[str] = (),
) -> nn.Module:
    """Put `length` trained keys and values in front of every attention that `targets` selects, and freeze the rest.

    Unlike the other methods it does not start as the identity: attention is shared with the prefix from the start.

    Args:
        targets: names of attention layers, ends of names, or regular expressions: "attention.self" in a BERT,
            "self_attn" in a Llama, ".*" for all.
        length: how many, in each layer.
        hidden: train P[i, :] = MLP(P′[i, :]) in place of P, with one hidden layer of this size, and P′ as wide as the
            model, as in the code of the paper. (Its footnote 4 names the size k of P′, 512 or 800; the code takes k
            for the hidden layer.) `drop_reparametrization` ends it after training.
        modules_to_save: names of modules that are trained whole, such as a new head.

    Raises ValueError or TypeError, with the model as it was, if a target matches no attention layer with a key/value
    cache, the attention is neither "eager" nor "sdpa", the model has LoRA or another method, or a number is wrong.
    """
    check_plain(model)
    names = select_attention(model, targets)
    check_count("length", length)
    shared = None
    if hidden is not None:
        key = key_layer(model.get_submodule(names[0]))
        weight = cast(Tensor, key.weight)
        width = cast(int, key.in_features)
        shared = Reparametrization(length, width, check_count("hidden", hidden), weight.device, training_dtype(weight))
    settings = {"targets": names, "length": length, "hidden": hidden}
    makers = dict.fromkeys(names, lambda base: PrefixAttention(base, length, shared))
    return add(model, "prefix", settings, makers, modules_to_save)


def drop_reparametrization(model: nn.Module) -> nn.Module:
    """Replace the MLP by the keys and values that it gives: the outputs stay the same, bit for bit.

    Raises ValueError if the model has no prefix that is reparametrized.
    """
    layers = [la for la in added_layers(model).values() if isinstance(la, PrefixAttention) and la.shared is not None]
    if not layers:
        raise ValueError("the model has no reparametrized prefix: add_prefix(…, hidden=512) makes one")
    for layer in layers:
        layer.drop_reparametrization()
    some_record(model).settings["hidden"] = None
    return model
