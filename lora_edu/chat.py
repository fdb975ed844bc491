"""Questions and answers as what a language model trains on: one text in the model's chat template, loss on the answer.

The model predicts each token from those before it. Only predictions of the answer count: the label of every other
token is `IGNORED`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (as in PyTorch's own documentation)

IGNORED = -100  # the label that cross_entropy leaves out


def tokenize_chats(chats: Sequence[tuple[str, str]], tokenizer: Any, max_length: int = 256) -> dict[str, Tensor]:
    """Pairs (question, answer) as "input_ids", "attention_mask" and "labels", all of shape (n, longest).

    Each pair is written in the tokenizer's chat template. The labels are the ids of the answer, its closing mark
    included, and `IGNORED` elsewhere; they stand under their own token, and `next_token` shifts them. A chat longer
    than `max_length` tokens is cut at its end.

    Raises ValueError if there is no chat, an answer is empty, or a question alone fills `max_length`.
    """
    if not chats:
        raise ValueError("there are no chats to tokenize")
    rows = [_ids_and_labels(question, answer, tokenizer, max_length) for question, answer in chats]
    shape = (len(rows), max(len(ids) for ids, _ in rows))
    input_ids, labels = torch.full(shape, int(tokenizer.pad_token_id)), torch.full(shape, IGNORED)
    attention_mask = torch.zeros(shape, dtype=torch.long)
    for row, (ids, wanted) in enumerate(rows):
        input_ids[row, : len(ids)], labels[row, : len(ids)] = torch.tensor(ids), torch.tensor(wanted)
        attention_mask[row, : len(ids)] = 1
    return {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}


def _ids_and_labels(question: str, answer: str, tokenizer: Any, max_length: int) -> tuple[list[int], list[int]]:
    if not answer.strip():
        raise ValueError(f"the answer to {question[:60]!r} is empty: there is nothing to learn from it")
    asked = [{"role": "user", "content": question}]
    prompt = tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
    whole = tokenizer.apply_chat_template([*asked, {"role": "assistant", "content": answer}], tokenize=False)
    if not whole.startswith(prompt):
        raise ValueError("the chat template writes a question with its answer otherwise than the question alone")
    first = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    rest = tokenizer(whole[len(prompt) :].rstrip("\n"), add_special_tokens=False)["input_ids"]
    if len(first) >= max_length:
        raise ValueError(f"the question {question[:60]!r} has {len(first)} tokens; max_length={max_length} leaves none")
    ids = (first + rest)[:max_length]
    return ids, ([IGNORED] * len(first) + rest)[:max_length]


def next_token(model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy (nats a token) of the labelled tokens, and which of them are the model's first choice.

    An objective for `train` and `evaluate`: what stands at place t is predicted from the places before it.
    """
    logits = model(**{key: value for key, value in batch.items() if key != "labels"}).logits
    # The labels are shifted, and not the logits: cutting a column off these would copy them all in the backward pass.
    labels = F.pad(batch["labels"][:, 1:], (0, 1), value=IGNORED)
    counted = labels != IGNORED
    logits, labels = logits[counted].float(), labels[counted]
    return F.cross_entropy(logits, labels), logits.argmax(dim=-1) == labels
