"""What a fine-tune costs: the formulas against counts on real and on small models, and against published figures."""

from collections.abc import Iterable

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertModel

from lora_edu import add_lora
from lora_edu.costs import (
    METHODS,
    OPTIMIZERS,
    SHAPES,
    Shape,
    flops_per_token,
    hours,
    layer_activations,
    trained_parameters,
    training_bytes,
)
from lora_edu.models import TextClassifier

BATCH, LENGTH = 3, 20


def small_model(method: str, r: int = 4) -> tuple[TextClassifier, Shape]:
    """A BERT with sizes that are all different, adapted by one of the methods, in training mode."""
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=48, num_hidden_layers=3, num_attention_heads=4, intermediate_size=192, vocab_size=101
    )
    model = TextClassifier(BertModel(config, add_pooling_layer=False), 48, 2)
    shape = Shape(sum(p.numel() for p in model.parameters()), 3, 48, 4)
    if method == "LoRA":
        add_lora(model, ["query", "key", "value", "dense"], r, 2 * r, modules_to_save="classifier")
    elif method == "head":
        model.encoder.requires_grad_(False)
    return model.train(), shape


def held(tensors: Iterable[Tensor]) -> int:
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


def forward(model: TextClassifier) -> Tensor:
    tokens = torch.randint(101, (BATCH, LENGTH), generator=torch.Generator().manual_seed(1))
    return model(tokens, torch.ones_like(tokens)).logsumexp(dim=1).sum()


@pytest.mark.parametrize("method", ["full", "LoRA", "head"])
def test_bytes_are_those_that_a_model_really_holds(method):
    model, shape = small_model(method)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        loss = forward(model)
    own = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers()]}
    activations = held(t for t in kept if t.untyped_storage().data_ptr() not in own)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained)
    loss.backward()
    optimizer.step()
    state = [t for values in optimizer.state.values() for t in values.values() if t.ndim]
    expected = training_bytes(shape, method, r=4, batch=BATCH, length=LENGTH)
    assert held(model.parameters()) == expected.weights
    assert held(p.grad for p in trained) == expected.gradients
    assert held(state) == expected.optimizer
    assert sum(p.numel() for p in trained) == trained_parameters(shape, method, r=4)
    if method == "head":
        assert activations < 20 * BATCH * 48  # a few numbers for each text, whatever its length
    else:
        assert activations == pytest.approx(expected.activations, rel=0.1)


@pytest.mark.parametrize("method", ["full", "LoRA", "head"])
def test_flops_are_those_that_pytorch_counts(method):
    model, shape = small_model(method)
    counter = FlopCounterMode(display=False)
    with counter:
        loss = forward(model)
        ahead = counter.get_total_flops()
        loss.backward()
    behind = counter.get_total_flops() - ahead
    expected = [flops * BATCH * LENGTH for flops in flops_per_token(shape, method, r=4, length=LENGTH)]
    head = 2 * BATCH * 48 * 2
    assert ahead == expected[0] + head
    if method == "full":
        assert behind == expected[1] + 2 * head
    if method == "LoRA":  # what enters the first layer is not trained: its queries, keys and values need no gradient
        first = 3 * (2 * 48**2 + 2 * 4 * 48) * BATCH * LENGTH
        assert behind == expected[1] + 2 * head - first
    if method == "head":
        assert behind == head


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_mixed_precision_saves_nothing_but_activations(shape, optimizer):
    whole = training_bytes(shape, optimizer=optimizer)
    mixed = training_bytes(shape, optimizer=optimizer, precision="mixed")
    assert mixed.total - mixed.activations == whole.total - whole.activations
    assert 2 * mixed.activations == whole.activations


def test_adam_in_mixed_precision_takes_16_bytes_and_lora_2_plus_16_f():
    shape = SHAPES["6B"]
    full = training_bytes(shape, precision="mixed")
    assert full.total - full.activations == 16 * shape.parameters
    lora, trained = training_bytes(shape, "LoRA", r=64, precision="mixed"), trained_parameters(shape, "LoRA", r=64)
    head = 2 * shape.width + 2  # one of the parameters, and trained
    assert lora.total - lora.activations == 2 * (shape.parameters - head) + 16 * trained


def test_what_scales_with_the_parameters_of_a_65b_model_fits_one_48_gigabyte_card_with_qlora_only():
    for method in METHODS:
        needed = training_bytes(SHAPES["65B"], method, r=16, precision="mixed")
        assert (needed.total - needed.activations < 48e9) == (method == "QLoRA"), method


def test_lora_computes_two_thirds_of_full_fine_tuning_and_a_little_more():
    shape = SHAPES["6B"]
    for r in (8, 64, 256):
        d, a = 12 * shape.width, 18 * r  # a row of the layer's matrices, and of its factors
        ratio = sum(flops_per_token(shape, "LoRA", r, length=1)) / sum(flops_per_token(shape, length=1))
        assert ratio == pytest.approx((2 * d + 3 * a) / (3 * d), rel=1e-3)
        assert 2 / 3 < ratio < 0.8


def test_hours_follow_from_operations():
    assert hours(3600e15, devices=2, peak=1e12, utilization=0.5) == 1000


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: training_bytes(s, "lora"), "method='lora' is none of full, LoRA, QLoRA, head"),
        (lambda s: training_bytes(s, precision="fp16"), "precision='fp16' is none of float32, mixed"),
        (lambda s: training_bytes(s, optimizer="adam"), "optimizer='adam' is none of Adam, SGD with momentum, SGD"),
        (lambda s: training_bytes(s, batch=0), "batch=0 and length=32 must be at least 1"),
        (lambda s: flops_per_token(s, "LoRA", r=385), "rank r=385 must be between 1 and the width, 384"),
        (lambda s: trained_parameters(s, "LoRA", r=0), "rank r=0 must be between 1"),
        (lambda s: hours(1e15, devices=1, peak=1e12, utilization=1.5), "utilization=1.5 from 0 to 1"),
        (lambda s: hours(1e15, devices=0, peak=1e12, utilization=0.5), "devices=0"),
    ],
)
def test_bad_input_is_refused_with_its_value(call, message):
    with pytest.raises(ValueError, match=message):
        call(SHAPES["MiniLM"])


def test_a_layer_keeps_more_for_a_longer_text():
    shape = SHAPES["MiniLM"]
    assert layer_activations(shape, 33) - layer_activations(shape, 32) == 3 * shape.heads
