"""From a GGUF file, in which llama.cpp keeps a whole language model, to a folder that transformers loads at once.

The matrices of a GGUF are packed, here in blocks of four bits with a scale and an offset each. They are unpacked once,
when the model is fetched. What was lost in the packing stays lost: the model is a copy of the packed one, not of the
one that was published. Next: `language_model`.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file


def unpack_gguf(file: Path, target: Path) -> None:
    """Write the folder `target`: `config.json`, the weights in float16, the tokenizer with its chat template.

    float16 keeps 11 bits of a number, more than there are in a code of four bits. Raises OSError if `file` is not there
    or is no GGUF file.
    """
    # Imported here: transformers takes seconds to load, and most of the package does without it.
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    config = model.config
    del config.quantization_config  # nothing is packed any more
    config.dtype, config.architectures = "float16", [type(model).__name__]
    weights = model.state_dict()
    if config.tie_word_embeddings:
        weights.pop("lm_head.weight")  # the table of word vectors, once more
    target.mkdir()
    halves = {key: weight.half().contiguous() for key, weight in weights.items()}
    save_file(halves, target / "model.safetensors", {"format": "pt"})
    config.save_pretrained(target)
    tokenizer.save_pretrained(target)
