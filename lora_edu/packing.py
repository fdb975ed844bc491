"""Packing: several chats in one row, so that little is computed on padding, and no chat sees another.

Two things make a packed row equal to its chats one by one: positions that start anew with every chat, and a mask that
lets a token see only the tokens before it in its own chat. Read `training` next.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .batches import check_data
from .chat import IGNORED, next_token


def pack_chats(data: Mapping[str, Tensor], width: int) -> dict[str, Tensor]:
    """Chats from `tokenize_chats` in as few rows of at most `width` tokens as a simple rule finds.

    The rule: longest first, each into the first row that still has room. The result has "input_ids", "labels",
    "position_ids" (0, 1, 2, … in every chat) and "segments" (the number of the chat in its row, from 1; 0 is padding),
    all of shape (rows, longest row). The first token of a chat has no label: nothing before it in its chat could
    predict it.

    Raises ValueError if the data is empty, or a chat is longer than `width`.
    """
    check_data("data", data)
    lengths = data["attention_mask"].sum(dim=1).tolist()
    if max(lengths) > width:
        raise ValueError(f"a chat has {max(lengths)} tokens; width={width} has no room for it")
    rows = list[list[int]]()
    used = list[int]()
    for chat in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        place = next((k for k, filled in enumerate(used) if filled + lengths[chat] <= width), None)
        if place is None:
            rows.append([chat])
            used.append(lengths[chat])
        else:
            rows[place].append(chat)
            used[place] += lengths[chat]
    shape = (len(rows), max(used))
    packed = {key: torch.zeros(shape, dtype=torch.long) for key in ("input_ids", "position_ids", "segments")}
    packed["labels"] = torch.full(shape, IGNORED)
    for k, chats in enumerate(rows):
        start = 0
        for number, chat in enumerate(chats, start=1):
            here, real = slice(start, start + lengths[chat]), data["attention_mask"][chat].bool()
            packed["input_ids"][k, here] = data["input_ids"][chat, real]
            packed["labels"][k, here] = data["labels"][chat, real]
            packed["labels"][k, start] = IGNORED
            packed["position_ids"][k, here] = torch.arange(lengths[chat])
            packed["segments"][k, here] = number
            start += lengths[chat]
    return packed


def block_diagonal(segments: Tensor) -> Tensor:
    """Which token (row) sees which (column), True or False: (n, width) ↦ (n, 1, width, width).

    A token sees the tokens of its own segment up to itself. Padding is a segment as well: a token that saw nothing
    would have the mean of nothing as its attention, and that is no number.
    """
    same = segments[:, :, None] == segments[:, None, :]
    return same.tril()[:, None]


def packed_next_token(model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """`next_token` for the rows of `pack_chats`."""
    inputs = {key: batch[key] for key in ("input_ids", "position_ids", "labels")}
    return next_token(model, inputs | {"attention_mask": block_diagonal(batch["segments"])})
