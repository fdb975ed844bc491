"""The pretrained model of the book, loaded with no network: MiniLM, a real BERT encoder, with a new head."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from .assets import find


class TextClassifier(nn.Module):
    """A pretrained encoder, the mean of its token vectors, and a new linear head: sentences in, logits out.

    Shapes: token ids (batch, length) and their mask (batch, length) ↦ logits (batch, classes).
    """

    def __init__(self, encoder: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.classifier = nn.Linear(width, classes)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        tokens = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weights = attention_mask.unsqueeze(-1).to(tokens.dtype)
        logits: Tensor = self.classifier((tokens * weights).sum(dim=1) / weights.sum(dim=1))
        return logits


@contextlib.contextmanager
def without_progress_bar() -> Iterator[None]:
    """Load with transformers in silence, whose bar would stay in a notebook; afterwards it is shown as before."""
    from transformers.utils import logging  # here, because transformers takes seconds to load

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def load_text_classifier(classes: int = 2, seed: int = 0) -> tuple[TextClassifier, Any]:
    """MiniLM (all-MiniLM-L6-v2: 6 layers, width 384, 22.6 million parameters) with a fresh head, and its tokenizer.

    The head is drawn from `seed`; everything else is pretrained. The model is in evaluation mode, on the CPU, in
    float32.

    Raises FileNotFoundError with the command to run if the weights are not fetched yet, ValueError if classes < 2.
    """
    if classes < 2:
        raise ValueError(f"classes={classes} must be at least 2")
    folder = find("minilm")
    # Imported here: transformers takes seconds to load, and most of the package does without it.
    from transformers import AutoTokenizer, BertConfig, BertModel

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # the model is made on the CPU: a GPU's generator stays as it is
        encoder = BertModel(BertConfig.from_pretrained(folder), add_pooling_layer=False)
        model = TextClassifier(encoder, encoder.config.hidden_size, classes)
    weights = load_file(folder / "model.safetensors")
    # The file also has a pooler, for a task that is not ours, and the positions 0, 1, 2, …, which the model makes.
    unused = [key for key in weights if key.startswith("pooler.") or key == "embeddings.position_ids"]
    encoder.load_state_dict({key: weight for key, weight in weights.items() if key not in unused})
    return model.eval(), AutoTokenizer.from_pretrained(folder)
