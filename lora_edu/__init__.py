"""LoRA from the ground up: the package that the book builds, chapter by chapter, and then uses.

The names below stand in the order in which a reader meets them: the mathematics, the layer, the model, files,
training.
"""

from .added import Added, added_layers
from .added_files import load_added, save_added
from .adding import merge_added, remove_added
from .applying import Tuned, load_tuned
from .audit import Audit, Finding, audit
from .bank import AdapterBank
from .baseline import wilson_interval
from .bitfit import add_bitfit
from .bottleneck import BottleneckAdapter, add_adapters
from .chat import next_token, tokenize_chats
from .costs import SHAPES, Bytes, Shape, flops_per_token, hours, layer_activations, trained_parameters, training_bytes
from .data import Reviews, load_reviews, tokenize
from .evaluation import Evaluation, evaluate
from .files import load_adapter, save_adapter
from .fine_tuning import fine_tune
from .ia3 import add_ia3
from .inject import adapter_parameters, add_lora, lora_layers, merge, merge_and_unload, remove_lora, unmerge
from .language_costs import language_model_bytes, language_model_flops
from .language_model import load_language_model
from .layers import LoRALayer, LoRALinear
from .linalg import (
    SVD,
    LowRank,
    NumericalRank,
    best_rank_k,
    break_even_rank,
    energy,
    exact_rank,
    factored_size,
    numerical_rank,
    randomized_svd,
    rank_by_minors,
    svd,
)
from .lora_plus import lora_plus_groups
from .models import TextClassifier, load_text_classifier
from .nf4 import nf4_levels, pack, unpack
from .other_layers import LoRAConv1D, LoRAConv2d, LoRAEmbedding, LoRAMergedConv1D, LoRAMergedLinear
from .own_checks import clean_examples, overlap, split_examples
from .own_data import DataError, Examples, read_examples
from .packing import pack_chats, packed_next_token
from .peft_config import AdapterFileError
from .precision import best_precision
from .prefix import add_prefix, drop_reparametrization
from .prompt import add_prompt
from .qlora import NF4Linear, QLoRALinear
from .quantize import loftq, quantize
from .report import Summary, summary
from .statements import Statement, empirical, exact, matrices, numeric, vectors
from .targets import list_targets
from .training import TrainingReport, train
from .variants import Variant, VeRA

__version__ = "0.1.0"

__all__ = [  # noqa: RUF022 (the order is the reader's)
    # chapter 01
    "Shape",
    "SHAPES",
    "training_bytes",
    "Bytes",
    "trained_parameters",
    "layer_activations",
    "flops_per_token",
    "hours",
    # chapters 03 and 04
    "add_adapters",
    "BottleneckAdapter",
    "add_prefix",
    "drop_reparametrization",
    "add_prompt",
    "add_ia3",
    "add_bitfit",
    "Added",
    "added_layers",
    "merge_added",
    "remove_added",
    "save_added",
    "load_added",
    # chapters 06 to 09
    "exact_rank",
    "rank_by_minors",
    "numerical_rank",
    "NumericalRank",
    "exact",
    "numeric",
    "empirical",
    "matrices",
    "vectors",
    "Statement",
    "svd",
    "SVD",
    "best_rank_k",
    "LowRank",
    "energy",
    "factored_size",
    "break_even_rank",
    "randomized_svd",
    # chapter 11
    "LoRALinear",
    "LoRALayer",
    # chapter 12
    "load_reviews",
    "Reviews",
    "load_text_classifier",
    "TextClassifier",
    "tokenize",
    "list_targets",
    "add_lora",
    "lora_layers",
    "adapter_parameters",
    "summary",
    "Summary",
    "train",
    "evaluate",
    "TrainingReport",
    "Evaluation",
    "merge",
    "unmerge",
    "merge_and_unload",
    "remove_lora",
    "save_adapter",
    "load_adapter",
    "AdapterFileError",
    # chapter 14
    "AdapterBank",
    # chapter 15
    "Variant",
    "VeRA",
    "lora_plus_groups",
    "LoRAConv1D",
    "LoRAEmbedding",
    "LoRAConv2d",
    "LoRAMergedLinear",
    "LoRAMergedConv1D",
    # chapter 16
    "nf4_levels",
    "pack",
    "unpack",
    "quantize",
    "loftq",
    "NF4Linear",
    "QLoRALinear",
    # chapter 17
    "load_language_model",
    "tokenize_chats",
    "next_token",
    "pack_chats",
    "packed_next_token",
    "best_precision",
    "language_model_bytes",
    "language_model_flops",
    # chapter 19
    "audit",
    "Audit",
    "Finding",
    # chapter 20
    "read_examples",
    "Examples",
    "DataError",
    "clean_examples",
    "split_examples",
    "overlap",
    "wilson_interval",
    "fine_tune",
    "load_tuned",
    "Tuned",
]
