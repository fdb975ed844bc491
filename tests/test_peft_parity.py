"""Ours and peft's side by side in the same test: the same A and B give the same numbers, and files go both ways."""

import copy
import json
import math
import warnings

import pytest
import torch
from helpers import Nested, TwoTowers, assert_same_bits, generic, make, randomize
from torch import nn
from torch.nn import functional as F  # noqa: N812 (as in PyTorch's own documentation)

from lora_edu import (
    AdapterFileError,
    LoRALinear,
    adapter_parameters,
    add_lora,
    load_adapter,
    lora_layers,
    merge,
    merge_and_unload,
    save_adapter,
    summary,
)

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.filterwarnings("ignore")  # those of peft and transformers about their own future

TINY_BERT = {
    "vocab_size": 23,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 20,
    "max_position_embeddings": 16,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "num_labels": 3,
    "initializer_range": 0.3,
}
TINY_LLAMA = {
    "vocab_size": 23,
    "initializer_range": 0.3,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 20,
    "max_position_embeddings": 16,
}


def bert(seed=0):
    torch.manual_seed(seed)
    return transformers.BertModel(transformers.BertConfig(**TINY_BERT)).eval()


def classifier(seed=0):
    torch.manual_seed(seed)
    return transformers.BertForSequenceClassification(transformers.BertConfig(**TINY_BERT)).eval()


def llama(seed=0):
    torch.manual_seed(seed)
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**TINY_LLAMA)).eval()


def towers(seed=0):
    return make(TwoTowers, seed).eval()


IDS = torch.tensor([[1, 5, 7, 22, 3], [2, 9, 0, 11, 4]])
# name: (a fresh model, targets that both sides understand, model ↦ output)
MODELS = {
    "towers": (towers, ["query", "right.up"], lambda m: m(generic(4, 6))),
    "bert": (bert, ["query", "value", "intermediate.dense"], lambda m: m(input_ids=IDS).last_hidden_state),
    "classifier": (classifier, ["query", "output.dense"], lambda m: m(input_ids=IDS).logits),
    "llama": (llama, ["q_proj", "v_proj", "down_proj"], lambda m: m(input_ids=IDS).logits),
}


def close(left, right):
    """Equal up to float32 rounding: peft scales B A x, we scale A x, and a few layers carry that on."""
    return torch.allclose(left, right, rtol=1e-4, atol=2e-5 * float(right.abs().max()))


def by_peft(model, targets, r=2, alpha=6, **settings):
    return peft.get_peft_model(
        model, peft.LoraConfig(r=r, lora_alpha=alpha, target_modules=targets, lora_dropout=0.0, **settings)
    )


def peft_layers(model):
    return {
        name.removeprefix("base_model.model."): module
        for name, module in model.named_modules()
        if isinstance(module, peft.tuners.lora.LoraLayer)
    }


def pair(name, seed=1):
    """Ours and peft's on equal bases, with equal factors."""
    fresh, targets, run = MODELS[name]
    ours, theirs = randomize(add_lora(fresh(), targets, r=2, alpha=6), seed), by_peft(fresh(), targets)
    layers = peft_layers(theirs)
    assert list(layers) == list(lora_layers(ours))
    with torch.no_grad():
        for key, layer in lora_layers(ours).items():
            layers[key].lora_A["default"].weight.copy_(layer.A)
            layers[key].lora_B["default"].weight.copy_(layer.B)
    return ours, theirs.eval(), run


@pytest.mark.parametrize("name", MODELS)
def test_same_factors_same_outputs(name):
    ours, theirs, run = pair(name)
    plain = run(MODELS[name][0]())
    with torch.no_grad():
        assert close(run(ours), run(theirs))
        assert (run(ours) - plain).abs().max() > 1e-4  # the adapter does something


@pytest.mark.parametrize("name", MODELS)
def test_same_factors_same_gradients(name):
    ours, theirs, run = pair(name)
    for model in (ours, theirs):
        output = run(model)
        (output * generic(*output.shape)).sum().backward()  # a plain sum of squares is constant behind a LayerNorm
    for key, layer in peft_layers(theirs).items():
        mine = lora_layers(ours)[key]
        for a, b in ((mine.A, layer.lora_A["default"].weight), (mine.B, layer.lora_B["default"].weight)):
            assert a.grad.abs().max() > 0
            assert torch.allclose(a.grad, b.grad, rtol=1e-4, atol=1e-5 * float(b.grad.abs().max()))


@pytest.mark.parametrize("name", MODELS)
def test_same_factors_same_merged_weights(name):
    ours, theirs, run = pair(name)
    with torch.no_grad():
        adapted = run(ours)
        for key, layer in peft_layers(theirs).items():
            assert torch.allclose(lora_layers(ours)[key].delta_weight(), layer.get_delta_weight("default"), atol=1e-6)
        mine, other = merge_and_unload(ours), theirs.merge_and_unload()
        assert list(mine.state_dict()) == list(other.state_dict())
        for key, weight in other.state_dict().items():
            assert torch.allclose(mine.state_dict()[key], weight, atol=1e-6), key
        assert close(run(mine), adapted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_layer_is_equal_to_the_last_bit_when_merged(dtype):
    base = make(nn.Linear, dtype=dtype, in_features=9, out_features=7)
    ours = randomize(LoRALinear(copy.deepcopy(base), 3, 6))
    theirs = peft_layers(by_peft(nn.Sequential(base), ["0"], r=3, alpha=6))["0"]
    with torch.no_grad():
        theirs.lora_A["default"].weight.data = ours.A.detach().clone()
        theirs.lora_B["default"].weight.data = ours.B.detach().clone()
    ours.merge()
    theirs.merge()
    assert_same_bits(ours.base.weight, theirs.base_layer.weight)


@pytest.mark.parametrize("name", MODELS)
def test_same_counts_of_parameters(name):
    ours, theirs, _ = pair(name)
    trained, total = theirs.get_nb_trainable_parameters()
    assert (summary(ours).trained_parameters, summary(ours).total_parameters) == (trained, total)


@pytest.mark.parametrize("name", MODELS)
def test_a_step_of_training_moves_both_alike(name):
    ours, theirs, run = pair(name)
    for model, parameters in (
        (ours, adapter_parameters(ours)),
        (theirs, filter(lambda p: p.requires_grad, theirs.parameters())),
    ):
        optimizer = torch.optim.SGD(parameters, lr=1e-2)
        for _ in range(3):
            optimizer.zero_grad()
            run(model).square().mean().backward()
            optimizer.step()
    for key, layer in peft_layers(theirs).items():
        assert torch.allclose(lora_layers(ours)[key].B, layer.lora_B["default"].weight, rtol=1e-4, atol=1e-6)


def test_a_starts_with_the_same_distribution_as_in_peft():
    """Both are U(±1/√in): equal bounds and, by a two-sample Kolmogorov–Smirnov distance, equal distributions."""
    from scipy import stats

    torch.manual_seed(0)
    ours = LoRALinear(nn.Linear(300, 200), 64, 8)
    theirs = peft_layers(by_peft(nn.Sequential(nn.Linear(300, 200)), ["0"], r=64))["0"]
    bound = 1 / math.sqrt(300)
    values = [w.detach().flatten().numpy() for w in (ours.A, theirs.lora_A["default"].weight)]
    for sample in values:
        assert 0.999 * bound < abs(sample).max() <= bound
    assert stats.ks_2samp(*values).pvalue > 0.01
    assert torch.count_nonzero(ours.B) == torch.count_nonzero(theirs.lora_B["default"].weight) == 0


# --- files, from here to peft ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("merged", [False, True])
def test_what_is_saved_here_gives_the_same_output_in_peft(tmp_path, name, merged):
    fresh, targets, run = MODELS[name]
    ours = randomize(add_lora(fresh(), targets, r=2, alpha=6))
    with torch.no_grad():
        expected = run(ours)
        save_adapter(merge(ours) if merged else ours, tmp_path)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # peft warns of keys that are missing or left over
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            warnings.filterwarnings("ignore", category=FutureWarning)
            theirs = peft.PeftModel.from_pretrained(fresh(), tmp_path).eval()
        assert close(run(theirs), expected)
    config = theirs.peft_config["default"]
    assert (config.r, config.lora_alpha, config.inference_mode) == (2, 6, True)


def test_a_trained_head_goes_to_peft(tmp_path):
    fresh, targets, run = MODELS["classifier"]
    ours = randomize(add_lora(fresh(), targets, r=2, alpha=6, modules_to_save="classifier"))
    with torch.no_grad():
        ours.classifier.weight.add_(1)
        expected = run(ours)
        theirs = peft.PeftModel.from_pretrained(fresh(seed=0), save_adapter(ours, tmp_path)).eval()
        assert close(run(theirs), expected)


def test_names_that_end_alike_mean_the_same_in_peft(tmp_path):
    x = generic(3, 6)
    ours = add_lora(make(Nested), ["up", "block.up"], r=2, alpha=4, modules_to_save="classifier")
    ours.up = LoRALinear(ours.up.base, 4, 3)
    randomize(ours)
    theirs = peft.PeftModel.from_pretrained(make(Nested), save_adapter(ours, tmp_path / "ranks"))
    assert close(theirs(x), ours(x))
    assert {name: layer.r["default"] for name, layer in peft_layers(theirs).items()} == {"up": 4, "block.up": 2}
    alone = randomize(add_lora(make(Nested), "up|none", r=2, alpha=4))
    theirs = peft.PeftModel.from_pretrained(make(Nested), save_adapter(alone, tmp_path / "alone"))
    assert list(peft_layers(theirs)) == ["up"]
    assert close(theirs(x), alone(x))


def test_peft_saves_a_head_and_all_that_ends_alike_and_it_loads_here(tmp_path):
    """DistilBERT has a pre_classifier: peft's modules_to_save=["classifier"] takes it along, for want of a dot."""
    theirs = by_peft(make(Nested), ["block.up"], modules_to_save=["classifier"])
    randomize_peft(theirs).save_pretrained(tmp_path)
    ours = load_adapter(make(Nested), tmp_path)
    assert close(ours(generic(3, 6)), theirs(generic(3, 6)))
    again = peft.PeftModel.from_pretrained(make(Nested), save_adapter(ours, tmp_path / "again"))
    assert close(again(generic(3, 6)), theirs(generic(3, 6)))


# --- files, from peft to here ------------------------------------------------------------------------------------


def randomize_peft(model, seed=3):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad or "lora_" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


@pytest.mark.parametrize(
    ("name", "targets", "settings"),
    [
        ("towers", ["query", "up"], {}),
        ("towers", "all-linear", {}),
        ("towers", r".*\.(query|up)", {"rank_pattern": {"left.query": 4, r"right\..*": 1}}),
        ("towers", ["query", "up"], {"alpha_pattern": {"up": 16}, "rank_pattern": {"^left.up": 3}}),
        ("towers", ["query", "up"], {"exclude_modules": ["right.up"]}),
        ("towers", ["query"], {"modules_to_save": ["norm", "classifier"]}),
        ("towers", ["query"], {"init_lora_weights": "gaussian"}),
        ("bert", ["query", "value"], {}),
        ("bert", r"encoder\.layer\.1\..*dense", {}),
        ("bert", ["query", "key"], {"layers_to_transform": [1]}),
        ("bert", "all-linear", {"rank_pattern": {"intermediate.dense": 5}}),
        ("classifier", ["query", "dense"], {"modules_to_save": ["classifier"], "task_type": "SEQ_CLS"}),
        ("classifier", "all-linear", {"task_type": "SEQ_CLS"}),
        ("llama", ["q_proj", "v_proj"], {"task_type": "CAUSAL_LM"}),
        ("llama", "all-linear", {"alpha_pattern": {"q_proj": 1, "layers.1.mlp.*": 2}}),
    ],
)
def test_what_peft_saves_gives_the_same_output_here(tmp_path, name, targets, settings):
    fresh, _, run = MODELS[name]
    theirs = randomize_peft(by_peft(fresh(), targets, **settings))
    theirs.save_pretrained(tmp_path)
    ours = load_adapter(fresh(), tmp_path)
    with torch.no_grad():
        assert close(run(ours), run(theirs))
        assert (run(ours) - run(fresh())).abs().max() > 1e-4
    assert list(lora_layers(ours)) == list(peft_layers(theirs))
    assert summary(ours).trained_parameters == theirs.get_nb_trainable_parameters()[0]
    again = peft.PeftModel.from_pretrained(fresh(), save_adapter(ours, tmp_path / "again")).eval()
    with torch.no_grad():
        assert close(run(again), run(theirs))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bias": "all"}, "bias='all'"),
        ({"lora_bias": True}, "lora_bias=True"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights='pissa_niter_4'"),
    ],
)
def test_what_peft_can_and_we_cannot_is_refused_by_name(tmp_path, settings, message):
    by_peft(towers(), ["query"], **settings).save_pretrained(tmp_path)
    with pytest.raises(AdapterFileError, match=message):
        load_adapter(towers(), tmp_path)


def test_another_method_of_peft_is_refused_by_name(tmp_path):
    config = peft.IA3Config(target_modules=["query"], feedforward_modules=[])
    peft.get_peft_model(towers(), config).save_pretrained(tmp_path)
    with pytest.raises(AdapterFileError, match="peft_type is 'IA3'"):
        load_adapter(towers(), tmp_path)


def test_an_adapted_embedding_goes_both_ways(tmp_path):
    theirs = randomize_peft(by_peft(bert(), ["query", "word_embeddings"]))
    theirs.save_pretrained(tmp_path)
    ours = load_adapter(bert(), tmp_path)
    assert "embeddings.word_embeddings" in lora_layers(ours)
    again = peft.PeftModel.from_pretrained(bert(), save_adapter(ours, tmp_path / "again")).eval()
    with torch.no_grad():
        run = MODELS["bert"][2]
        assert close(run(ours), run(theirs)) and close(run(again), run(theirs))


def test_our_config_says_nothing_that_peft_does_not_know(tmp_path):
    save_adapter(add_lora(towers(), "query", r=2, alpha=4), tmp_path)
    known = peft.LoraConfig().to_dict()
    assert set(json.loads((tmp_path / "adapter_config.json").read_text())) <= set(known)


def test_training_through_peft_and_here_ends_in_the_same_place():
    """Twenty steps of Adam on a small task, from equal starts: the losses stay together."""
    ours, theirs, run = pair("classifier")
    labels, losses = torch.tensor([0, 2]), []
    for model in (ours, theirs):
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=3e-2)
        for _ in range(20):
            loss = F.cross_entropy(run(model), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-2) and losses[0] < 0.5
