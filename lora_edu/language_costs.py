"""What a fine-tune of a language model of Llama's kind costs, counted from the model itself: bytes and operations.

`costs` does it for a plain stack of layers. Here keys and values have fewer heads than queries, the feed-forward part
has a gate, and the logits have a number for each of tens of thousands of tokens. Chapter 17 compares with measurements.
"""

from typing import Any

from torch import nn

from .layers import LoRALayer
from .qlora import NF4Linear
from .report import summary


def language_model_bytes(
    model: Any,
    rows: int,
    length: int,
    counted: int,
    *,
    checkpointing: bool = False,
    few_logits: bool = False,
    masked: bool = True,
) -> dict[str, int]:
    """Bytes at the peak of a training step of a `LlamaForCausalLM` on `rows` × `length` tokens, by what they are for.

    Weights and what trains are counted as they are; gradients as the trained parameters, Adam's means as twice that.
    "layers" is what the backward pass needs of them; with `checkpointing`, their inputs. "logits" is, for each entry
    of the vocabulary, two numbers for each token of the text (their gradient passes through a copy) and one for each
    of the `counted` predictions; with `few_logits`, which are made for these alone, three for each. If one layer needs
    more at its own turn (gradients as wide as its feed-forward part, and all of it with `checkpointing`), that stands
    in their place. `masked` says that a mask is needed: then PyTorch repeats keys and values for all heads.

    Raises ValueError for a size below 1.
    """
    if min(rows, length, counted) < 1:
        raise ValueError(f"rows={rows}, length={length} and counted={counted} must be at least 1")
    counts, config, tokens = summary(model), model.config, rows * length
    one, size = tokens * layer_bytes(model, length, masked), model.lm_head.weight.element_size()
    logits = config.vocab_size * (12 * counted if few_logits else 2 * size * tokens + 4 * counted)
    turn = 2 * size * tokens * config.intermediate_size + (one if checkpointing else 0)
    inputs = size * tokens * config.hidden_size
    return {
        "weights": counts.total_bytes,
        "gradients": counts.trained_bytes,
        "Adam": 2 * counts.trained_bytes,
        "layers": config.num_hidden_layers * (inputs if checkpointing else one),
        "logits": max(logits, turn),
    }


def layer_bytes(model: Any, length: int, masked: bool = True) -> int:
    """Bytes that one layer keeps for a token until the backward pass, in a text of `length` tokens, without dropout.

    Of width d, the inputs of two norms, and one each of the attention and the feed-forward part if a matrix that
    reads it trains; of all heads, queries, keys, values and what attention made of them; three of the width of the
    feed-forward part; the mask; r for each adapter.
    """
    config, layer = model.config, model.model.layers[0]
    heads, width, wide = config.num_attention_heads, config.hidden_size, config.intermediate_size
    of_heads = heads * config.head_dim
    of_keys = of_heads if masked else config.num_key_value_heads * config.head_dim
    attention, feed_forward = layer.self_attn, layer.mlp
    size = attention.k_proj.weight.element_size()
    numbers = 2 * of_heads + 2 * of_keys + 3 * wide + (length if masked else 0)
    if any(_trains(m) for m in (attention.q_proj, attention.k_proj, attention.v_proj)):
        numbers += width
    if any(_trains(m) for m in (feed_forward.gate_proj, feed_forward.up_proj)):
        numbers += width
    if _trains(feed_forward.down_proj):
        numbers += wide
    numbers += sum(m.r for m in layer.modules() if isinstance(m, LoRALayer))
    norms = 2 * width + 2 + heads  # in float32 always, as the sums of attention's weights are
    if layer.input_layernorm.weight.requires_grad:
        norms += 2 * width
    return int(size * numbers + 4 * norms)


def _trains(module: nn.Module) -> bool:
    return any(p.requires_grad for p in module.parameters())


def language_model_flops(model: Any, length: int) -> tuple[int, int]:
    """Floating-point operations for a token, forward and backward, in a text of `length` tokens.

    Forward, each weight in a matrix takes 2 (the table of tokens is one, when it makes logits), and attention
    4 · length for each number of the queries in a layer. Backward, a frozen weight takes 2, a trained one 4. It is the
    count without checkpointing: work that is done twice to save memory is no progress.
    """
    config = model.config
    frozen = sum(p.numel() for p in _matrices(model) if not p.requires_grad)
    packed = sum(m.in_features * m.out_features for m in model.modules() if isinstance(m, NF4Linear))
    trained = sum(p.numel() for p in _matrices(model) if p.requires_grad)
    attention = 4 * config.num_hidden_layers * config.num_attention_heads * config.head_dim * length
    return 2 * (frozen + packed + trained) + attention, 2 * (frozen + packed) + 4 * trained + 2 * attention


def _matrices(model: Any) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.ndim == 2]
