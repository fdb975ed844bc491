r"""Prompt tuning: trained vectors in front of the word embeddings, and nothing else (arXiv:2104.08691).

    P[1] … P[length]  e(x₁) e(x₂) … e(x_T)   ── the whole frozen model ──   h₁ h₂ … h_T

Unlike a prefix, the prompt goes through every layer: it takes `length` positions from the context, and the text starts
at position `length`. Read `ia3` next.
"""

import inspect
from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (as in PyTorch's own documentation)

from .added import Added, check_count, training_dtype
from .adding import add, check_plain


class PromptedModel(Added):
    """A transformer that reads `P` (length, width) before the text, and gives the outputs of the text alone.

    The attention mask gets `length` ones at the left. The outputs of the prompt are cut off, so a mean over the text,
    or a loss on its tokens, is computed as without a prompt; a pooler reads the first token of the text, as before.
    `P` starts as the embeddings of `length` random words of the vocabulary, one of the starts in the paper. All other
    attributes are those of `base`.
    """

    def __init__(self, base: nn.Module, length: int) -> None:
        super().__init__(base)
        self.length = check_count("length", length)
        words = cast(nn.Embedding, cast(Any, base).get_input_embeddings())
        rows = torch.randint(words.num_embeddings, (length,)).to(words.weight.device)
        self.P = nn.Parameter(words.weight.detach()[rows].to(training_dtype(words.weight)))

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        inputs_embeds: Tensor | None = None,
        position_ids: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        past_key_values: Any = None,
        **others: Any,
    ) -> Any:
        base, n = cast(Any, self.base), self.length
        x = cast(Tensor, base.get_input_embeddings()(input_ids) if inputs_embeds is None else inputs_embeds)
        if attention_mask is not None:
            if attention_mask.ndim != 2:
                raise TypeError(
                    f"a prompt needs a mask (batch, length), not one of shape {tuple(attention_mask.shape)}"
                )
            attention_mask = F.pad(attention_mask, (n, 0), value=1)
        if position_ids is not None:
            position_ids = position_ids + n
        first = past_key_values is None or past_key_values.get_seq_length() == 0
        if first:  # later, in generation, the prompt is in the cache
            x = torch.cat([self.P.to(x.dtype).expand(len(x), -1, -1), x], dim=1)
            self._check_positions(x.shape[1])
            if position_ids is not None:
                own = torch.arange(n, device=x.device).expand(len(position_ids), -1)
                position_ids = torch.cat([own, position_ids], dim=1)
            if token_type_ids is not None:
                token_type_ids = F.pad(token_type_ids, (n, 0), value=0)
        given = {"position_ids": position_ids, "token_type_ids": token_type_ids, "past_key_values": past_key_values}
        given = {name: value for name, value in given.items() if value is not None}
        output = base(inputs_embeds=x, attention_mask=attention_mask, **given, **others)
        return self._of_the_text(output) if first else output

    def _of_the_text(self, output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state[:, self.length :]
        if output.get("hidden_states") is not None:
            output.hidden_states = tuple(h[:, self.length :] for h in output.hidden_states)
        if output.get("pooler_output") is not None:
            output.pooler_output = cast(Any, self.base).pooler(output.last_hidden_state)
        return output

    def _check_positions(self, used: int) -> None:
        table = getattr(getattr(self.base, "embeddings", None), "position_embeddings", None)
        if isinstance(table, nn.Embedding) and used > table.num_embeddings:
            raise ValueError(
                f"a prompt of {self.length} and a text of {used - self.length} tokens need {used} positions; "
                f"the model has {table.num_embeddings}"
            )

    def describe(self) -> str:
        return f"prompt length={self.length}"

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "base":
                raise
            return getattr(self.base, name)


def add_prompt(model: nn.Module, length: int, modules_to_save: str | Iterable[str] = ()) -> nn.Module:
    """Put `length` trained embeddings in front of every text, freeze the rest, and return the model, changed in place.

    They enter the first transformer inside `model` (see `PromptedModel`), below the head of the task. It does not
    start as the identity: the text attends to the prompt from the start.

    Raises ValueError or TypeError, with the model as it was, if there is no transformer of one stack with word
    embeddings inside the model, the model has LoRA or another method, or the length is wrong.
    """
    check_plain(model)
    check_count("length", length)
    name = next((name for name, module in model.named_modules() if name and _takes_embeddings(module)), None)
    if name is None:
        raise ValueError(
            f"{type(model).__name__} has no transformer inside that takes inputs_embeds: a prompt goes into one stack, "
            "encoder or decoder, that is a part of the model, such as the BertModel of a BertForSequenceClassification"
        )
    makers = {name: lambda base: PromptedModel(base, length)}
    return add(model, "prompt", {"length": length}, makers, modules_to_save)


def _takes_embeddings(module: nn.Module) -> bool:
    config = getattr(module, "config", None)
    return (
        hasattr(module, "get_input_embeddings")
        and getattr(module, "base_model", module) is module  # not one with a head
        and not getattr(config, "is_encoder_decoder", False)
        and "inputs_embeds" in inspect.signature(module.forward).parameters
    )
