"""The other methods on LoRA's mechanism: adapters, prefix, prompt, IA3, BitFit; on tiny models, MiniLM, beside peft."""

import copy
import json
import pickle

import pytest
import torch
from helpers import assert_same_bits, assert_same_state, assert_unchanged, generic, make, snapshot
from torch import nn
from torch.nn import functional as F  # noqa: N812 (as in PyTorch's own documentation)

from lora_edu import AdapterFileError, adapter_parameters, add_lora, load_text_classifier, save_adapter, summary, train
from lora_edu.added import added_layers
from lora_edu.added_files import load_added, save_added
from lora_edu.adding import merge_added, remove_added
from lora_edu.attention import list_attention
from lora_edu.bitfit import add_bitfit
from lora_edu.bottleneck import BottleneckAdapter, add_adapters
from lora_edu.ia3 import add_ia3
from lora_edu.prefix import add_prefix, drop_reparametrization
from lora_edu.prompt import add_prompt

transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore")

IDS = torch.tensor([[1, 5, 7, 22, 3], [2, 9, 11, 0, 0], [4, 4, 1, 8, 0]])
MASK = (IDS > 0).long()
QUERY = "encoder.encoder.layer.0.attention.self.query"
FFN = r".*layer\.\d+\.output\.dense"
METHODS = {
    "adapters": lambda model: add_adapters(model, "output.dense", bottleneck=3, modules_to_save="classifier"),
    "parallel": lambda model: add_adapters(model, "output.dense", 3, "relu", True, 4.0, "classifier"),
    "prefix": lambda model: add_prefix(model, "attention.self", length=4, modules_to_save="classifier"),
    "reparametrized": lambda model: add_prefix(model, ".*", length=4, hidden=7, modules_to_save="classifier"),
    "prompt": lambda model: add_prompt(model, length=4, modules_to_save="classifier"),
    "IA3": lambda model: add_ia3(model, ["key", "value"], FFN, modules_to_save="classifier"),
    "BitFit": lambda model: add_bitfit(model, modules_to_save="classifier"),
}
IDENTITIES = ["adapters", "parallel", "IA3", "BitFit"]  # a prefix or a prompt takes attention from the first step


class Tower(nn.Module):
    """A BERT and the mean of its tokens, as in the book: (batch, length) ↦ (batch, 3)."""

    def __init__(self, attention="sdpa") -> None:
        super().__init__()
        sizes = {"vocab_size": 23, "hidden_size": 12, "num_attention_heads": 3, "intermediate_size": 20}
        dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        config = transformers.BertConfig(
            num_hidden_layers=2, max_position_embeddings=10, initializer_range=0.4, **sizes, **dropout
        )
        config._attn_implementation = attention
        self.encoder = transformers.BertModel(config, add_pooling_layer=False)
        self.classifier = nn.Linear(12, 3)

    def forward(self, input_ids, attention_mask):
        tokens = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weights = attention_mask[..., None].to(tokens.dtype)
        return self.classifier((tokens * weights).sum(1) / weights.sum(1))


def tower(seed=0, **settings):
    return make(Tower, seed, **settings).eval()


def llama(attention="sdpa", key_heads=2):
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=23,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=key_heads,
        intermediate_size=20,
        initializer_range=0.3,
        pad_token_id=0,
        eos_token_id=None,
    )
    config._attn_implementation = attention
    return transformers.LlamaForCausalLM(config).eval()


def shaken(model, seed=3):
    """Every parameter that trains moved a little, so that nothing is at its start."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p += 0.3 * torch.randn(p.shape, generator=generator).to(p.dtype)
    return model


def trained(model):
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


# --- what holds for each method ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_the_start_is_the_identity_except_with_a_prefix_or_a_prompt(method):
    model = tower()
    plain = model(IDS, MASK)
    METHODS[method](model)
    assert torch.equal(model(IDS, MASK), plain) == (method in IDENTITIES)
    assert not torch.allclose(shaken(model)(IDS, MASK), plain, atol=1e-2)


@pytest.mark.parametrize("method", METHODS)
def test_only_what_is_new_gets_gradient_and_all_of_it_does(method):
    model = tower()
    frozen = set(dict(model.named_parameters()))
    METHODS[method](model)
    new = set(trained(model))
    shaken(model)(IDS, MASK).square().sum().backward()
    for name, p in model.named_parameters():
        assert (p.grad is not None) == p.requires_grad == (name in new), name
        if name in new and not (method == "BitFit" and name.endswith("key.bias")):  # softmax does not see it
            assert p.grad.abs().max() > 0, name
    if method == "BitFit":
        assert new == {n for n in frozen if n.endswith("bias")} | {"classifier.weight"}
    else:
        assert new.isdisjoint(frozen - {"classifier.weight", "classifier.bias"})
        assert {id(p) for p in adapter_parameters(model)} == {
            id(p) for n, p in trained(model).items() if not n.startswith("classifier")
        }


@pytest.mark.parametrize(
    ("method", "count"),
    [
        ("adapters", 4 * (2 * 3 * 12 + 12 + 3)),  # two a layer, each 2md + d + m
        ("parallel", 2 * (3 * (12 + 12) + 12 + 3) + 2 * (3 * (20 + 12) + 12 + 3)),
        ("prefix", 2 * 2 * 4 * 12),  # layers × (K and V) × length × width
        ("reparametrized", 4 * 12 + 7 * (12 + 1) + 2 * (7 + 1) * 2 * 12),  # P′, first layer, second layers
        ("prompt", 4 * 12),
        ("IA3", 2 * (12 + 12 + 20)),
        ("BitFit", 12 + 2 * (4 * 12 + 12 + 20 + 12 + 12)),  # norm; q, k, v, o, norm, up, down, norm
    ],
)
def test_the_number_of_new_parameters_is_the_formula(method, count):
    model = METHODS[method](tower())
    s = summary(model)
    head = 12 * 3 + 3
    assert s.trained_parameters == count + head
    if method != "BitFit":
        assert s.adapter_parameters == count == sum(group.parameters for group in s.added)
        assert f"of these, {count} in what was added and {head} in layers trained whole" in str(s)
        assert str(s).startswith("adapted modules")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_padding_in_a_batch_changes_nothing(method, attention):
    model = shaken(METHODS[method](tower(attention=attention)))
    together = model(IDS, MASK)
    for row, length in enumerate(MASK.sum(1)):
        alone = model(IDS[row : row + 1, :length], MASK[row : row + 1, :length])
        assert torch.allclose(together[row], alone[0], atol=1e-5)
    other = IDS.masked_fill(MASK == 0, 17)  # what stands in the padding is not looked at
    assert torch.allclose(model(other, MASK), together, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_eager_and_sdpa_attention_give_the_same(method):
    eager, sdpa = (shaken(METHODS[method](tower(attention=kind))) for kind in ("eager", "sdpa"))
    sdpa.load_state_dict(eager.state_dict())
    assert torch.allclose(eager(IDS, MASK), sdpa(IDS, MASK), atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_remove_restores_the_model_bit_for_bit(method):
    model = tower()
    model.encoder.embeddings.requires_grad_(False)
    model.encoder.encoder.layer[1].train()
    before, plain = snapshot(model), model(IDS, MASK)
    METHODS[method](model)
    for name, p in trained(model).items():
        if not name.startswith("classifier"):  # which keeps what it learns
            p.data += 1
    assert_unchanged(remove_added(model), before)
    assert torch.equal(model(IDS, MASK), plain)
    assert summary(METHODS[method](model)).trained_parameters  # and the same can follow


@pytest.mark.parametrize("method", METHODS)
def test_a_model_has_one_method_at_a_time(method):
    model = METHODS[method](tower())
    before = snapshot(model)
    for again in METHODS.values():
        with pytest.raises(ValueError, match=r"the model has a method already \(.*remove_added\(model\) first"):
            again(model)
    with pytest.raises(ValueError, match="the model has a method already"):
        add_lora(model, "query", r=2, alpha=4)
    assert_unchanged(model, before)
    model = add_lora(tower(), "query", r=2, alpha=4)
    with pytest.raises(ValueError, match=r"the model has LoRA layers already: remove_lora\(model\) first"):
        METHODS[method](model)


@pytest.mark.parametrize("method", METHODS)
def test_training_works_as_with_lora(method):
    model = METHODS[method](tower())
    before = copy.deepcopy(model.state_dict())
    data = {"input_ids": IDS, "attention_mask": MASK, "labels": torch.tensor([0, 1, 2])}
    report = train(model, data, epochs=20, batch_size=3, lr=3e-2, warmup=0, progress=False)
    assert report.losses[-1] < 0.7 * report.losses[0]
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved and moved <= {n for n, p in model.named_parameters(remove_duplicate=False) if p.requires_grad}


def test_training_refuses_what_was_added_where_nothing_passes():
    model = make()
    model.unused = nn.Linear(6, 6)
    add_adapters(model, ["unused", "up"], bottleneck=2)
    with pytest.raises(RuntimeError, match=r"4 added parameters receive no gradient, 'unused\.down\.weight' first"):
        train(model, {"x": generic(4, 6), "labels": torch.tensor([0, 1, 2, 0])}, epochs=1, progress=False)


def test_a_checkpoint_goes_on_with_the_same_method_alone(tmp_path):
    data = {"input_ids": IDS, "attention_mask": MASK, "labels": torch.tensor([0, 1, 2])}
    settings = {"batch_size": 3, "lr": 1e-2, "progress": False}
    whole = METHODS["adapters"](tower())
    expected = train(whole, data, epochs=4, checkpoint=tmp_path / "whole", **settings)
    again = METHODS["adapters"](tower())
    assert train(again, data, epochs=4, checkpoint=tmp_path / "whole", **settings).losses == expected.losses
    assert_same_state(again.state_dict(), whole.state_dict())
    other = add_adapters(tower(), "output.dense", 3, "relu", modules_to_save="classifier")
    with pytest.raises(ValueError, match="comes from another training"):
        train(other, data, epochs=4, checkpoint=tmp_path / "whole", **settings)


def test_a_module_inside_an_attention_with_a_prefix_can_be_trained_whole(tmp_path):
    model = shaken(add_prefix(tower(), "attention.self", length=2, modules_to_save="query"))
    names = [name for name in trained(model) if "query" in name]
    assert len(names) == 4 and all(".self.base.query." in name for name in names)
    other = load_added(tower(), save_added(model, tmp_path))
    assert_same_state(other.state_dict(), model.state_dict())
    assert set(trained(other)) == set(trained(model))


@pytest.mark.parametrize("method", METHODS)
def test_copies_are_whole_and_their_own(method):
    model = shaken(METHODS[method](tower()))
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(IDS, MASK), model(IDS, MASK))
        remove_added(twin)
        assert_same_state(
            {k: v for k, v in twin.state_dict().items() if not k.startswith("classifier")},
            {k: v for k, v in tower().state_dict().items() if not k.startswith("classifier")},
        )


@pytest.mark.parametrize("method", METHODS)
def test_beside_half_precision_it_trains_in_float32(method):
    model = METHODS[method](tower(dtype=torch.bfloat16))
    dtypes = {p.dtype for p in adapter_parameters(model)}
    assert dtypes == (set() if method == "BitFit" else {torch.float32})
    assert model(IDS, MASK).dtype == torch.bfloat16


# --- each method against its formula -----------------------------------------------------------------------------


@pytest.mark.parametrize("parallel", [False, True])
def test_an_adapter_is_its_formula(parallel):
    base, x = make(nn.Linear, in_features=6, out_features=5), generic(3, 4, 6)
    layer = shaken(BottleneckAdapter(base, 2, "tanh", parallel, scaling=3.0))
    h = base(x)
    low = torch.tanh((x if parallel else h) @ layer.down.weight.T + layer.down.bias)
    assert torch.allclose(layer(x), h + 3 * (low @ layer.up.weight.T + layer.up.bias), atol=1e-5)


def test_adapters_stand_before_the_residual_sum_and_the_norm():
    model = shaken(add_adapters(tower(), "output.dense", bottleneck=3))
    output, x, residual = model.encoder.encoder.layer[0].output, generic(2, 5, 20), generic(2, 5, 12, seed=4)
    adapter = output.dense
    h = adapter.base(x)
    inner = h + adapter.up(F.gelu(adapter.down(h))) + residual
    assert torch.allclose(output(x, residual), output.LayerNorm(inner), atol=1e-6)
    assert list(added_layers(model)) == [
        f"encoder.encoder.layer.{i}.{place}" for i in (0, 1) for place in ("attention.output.dense", "output.dense")
    ]


def by_hand(attention, x, mask, K, V):
    """Softmax attention over [P_K; k] and [P_V; v], head by head, in plain matrix products."""
    q, k, v = attention.query(x), attention.key(x), attention.value(x)
    size, rows = attention.attention_head_size, []
    for b in range(len(x)):
        heads = []
        for h in range(attention.num_attention_heads):
            part = slice(h * size, (h + 1) * size)
            keys, values = torch.cat([K[:, part], k[b][:, part]]), torch.cat([V[:, part], v[b][:, part]])
            scores = q[b][:, part] @ keys.T / size**0.5
            seen = torch.cat([torch.ones(len(K), dtype=torch.bool), mask[b].bool()])
            heads.append(scores.masked_fill(~seen, float("-inf")).softmax(-1) @ values)
        rows.append(torch.cat(heads, -1))
    return torch.stack(rows)


@pytest.mark.parametrize("method", ["prefix", "reparametrized"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_prefix_is_keys_and_values_in_front(method, attention):
    model = METHODS[method](tower(attention=attention))
    layer = model.encoder.encoder.layer[0].attention.self
    seen = {}
    layer.register_forward_hook(lambda m, args, kwargs, out: seen.update(x=args[0], out=out[0]), with_kwargs=True)
    model(IDS, MASK)
    expected = by_hand(layer.base, seen["x"], MASK, *layer.prefix())
    assert torch.allclose(seen["out"], expected, atol=1e-5)


def test_the_attention_weights_that_are_reported_have_the_columns_of_the_prefix():
    model = METHODS["prefix"](tower(attention="eager"))
    weights = model.encoder(IDS, MASK, output_attentions=True).attentions
    assert len(weights) == 2 and weights[0].shape == (3, 3, 5, 4 + 5)
    assert (weights[0][1, :, :, 4 + 3 :] == 0).all() and torch.allclose(weights[0].sum(-1), torch.ones(3, 3, 5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropping_the_reparametrization_changes_no_bit(dtype):
    model = shaken(METHODS["reparametrized"](tower(dtype=dtype)))
    before = model(IDS, MASK)
    drop_reparametrization(model)
    assert_same_bits(model(IDS, MASK), before)
    assert summary(model).adapter_parameters == 2 * 2 * 4 * 12
    assert not any("shared" in name or "second" in name for name in model.state_dict())
    with pytest.raises(ValueError, match="no reparametrized prefix"):
        drop_reparametrization(model)


def test_a_prompt_is_words_in_front_whose_outputs_are_cut_off():
    model = tower()
    words = torch.tensor([3, 8, 21])
    add_prompt(model, length=3)
    model.encoder.P.data.copy_(model.encoder.base.embeddings.word_embeddings.weight[words])
    longer = torch.cat([words.expand(3, -1), IDS], 1), torch.cat([torch.ones(3, 3).long(), MASK], 1)
    expected = tower().encoder(*longer).last_hidden_state[:, 3:]
    assert torch.allclose(model.encoder(IDS, MASK).last_hidden_state, expected, atol=1e-6)
    shifted = model.encoder(IDS, MASK, position_ids=torch.arange(5)[None], token_type_ids=torch.zeros_like(IDS))
    assert torch.allclose(shifted.last_hidden_state, expected, atol=1e-6)


def test_a_prompt_starts_as_words_of_the_vocabulary():
    model = add_prompt(tower(), length=4)
    words = model.encoder.base.embeddings.word_embeddings.weight
    assert all((words == row).all(1).any() for row in model.encoder.P)


def test_a_prompt_leaves_pooler_and_hidden_states_to_the_text():
    torch.manual_seed(0)
    config = tower().encoder.config
    model = transformers.BertForSequenceClassification(config).eval()
    add_prompt(model, length=2, modules_to_save="classifier")
    output = model.bert(IDS, MASK, output_hidden_states=True)
    assert torch.equal(output.pooler_output, model.bert.pooler(output.last_hidden_state))
    assert output.last_hidden_state.shape == (3, 5, 12) and {h.shape for h in output.hidden_states} == {(3, 5, 12)}
    assert model(IDS, MASK).logits.shape == (3, config.num_labels)


def test_a_prompt_that_leaves_no_positions_is_refused():
    model = add_prompt(tower(), length=6)
    with pytest.raises(ValueError, match="a prompt of 6 and a text of 5 tokens need 11 positions; the model has 10"):
        model(IDS, MASK)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_ia3_merged_computes_the_same(dtype):
    model = shaken(METHODS["IA3"](tower(dtype=dtype)))
    adapted = model(IDS, MASK)
    layers = copy.deepcopy(added_layers(model))
    merge_added(model)
    assert torch.allclose(model(IDS, MASK), adapted, atol=1e-12 if dtype == torch.float64 else 1e-5)
    assert not added_layers(model) and list(model.state_dict()) == list(tower().state_dict())
    for name, layer in layers.items():
        W, W0 = model.get_submodule(name).weight, layer.base.weight
        assert_same_bits(W, W0 * layer.l if layer.on_input else W0 * layer.l[:, None])
    assert all(p.requires_grad for p in model.parameters())


def test_ia3_rescales_rows_of_keys_and_values_and_columns_of_the_feed_forward():
    layers = added_layers(METHODS["IA3"](tower()))
    assert {name.rsplit(".", 1)[-1]: (layer.on_input, len(layer.l)) for name, layer in layers.items()} == {
        "key": (False, 12),
        "value": (False, 12),
        "dense": (True, 20),
    }


def test_ia3_in_the_feed_forward_alone(tmp_path):
    model = shaken(add_ia3(tower(), (), feedforward=FFN))
    assert summary(model).trained_parameters == 2 * 20
    assert torch.allclose(load_added(tower(), save_added(model, tmp_path))(IDS, MASK), model(IDS, MASK), atol=1e-6)
    with pytest.raises(ValueError, match="targets is empty"):
        add_ia3(tower(), ())


def test_ia3_in_a_layer_that_stores_its_weight_the_other_way_round():
    model = nn.ModuleList(transformers.pytorch_utils.Conv1D(5, 6) for _ in range(2))
    for layer in model:
        layer.weight.data, layer.bias.data = generic(6, 5), generic(5, seed=5)
    x = generic(4, 6, seed=6)
    shaken(add_ia3(model, "0", feedforward="1"))
    adapted = [layer(x) for layer in model]
    merge_added(model)
    assert all(torch.allclose(layer(x), y, atol=1e-5) for layer, y in zip(model, adapted, strict=True))


@pytest.mark.parametrize("targets", ["linear1", "linear2"])
def test_the_fast_path_of_a_transformer_layer_sees_ia3(targets):
    model = make(nn.TransformerEncoderLayer, d_model=8, nhead=2, dim_feedforward=12, dropout=0.0, batch_first=True)
    shaken(add_ia3(model.eval(), targets))
    x = generic(3, 5, 8)
    with torch.no_grad():
        assert torch.allclose(model(x), model.train()(x), atol=1e-5)


def test_bitfit_merged_keeps_what_the_biases_learned():
    model = shaken(METHODS["BitFit"](tower()))
    adapted = model(IDS, MASK)
    assert torch.equal(merge_added(model)(IDS, MASK), adapted)
    with pytest.raises(ValueError, match="the model has none of the other methods"):
        remove_added(model)


@pytest.mark.parametrize("method", ["adapters", "prefix", "prompt"])
def test_what_no_weight_can_do_is_not_merged(method):
    model = METHODS[method](tower())
    before = snapshot(model)
    with pytest.raises(ValueError, match=rf"{method[:-1]}.* has no weight that it could be merged into"):
        merge_added(model)
    assert_unchanged(model, before)


# --- causal models -----------------------------------------------------------------------------------------------

CAUSAL = {
    "prefix": lambda model: add_prefix(model, "self_attn", length=4),
    "reparametrized": lambda model: add_prefix(model, "self_attn", length=4, hidden=7),
    "prompt": lambda model: add_prompt(model, length=4),
}


@pytest.mark.parametrize("method", CAUSAL)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_in_a_causal_model_no_token_sees_the_future(method, attention):
    model = CAUSAL[method](llama(attention))
    ids = IDS[:1]
    plain = llama(attention)(ids).logits
    whole = model(ids).logits
    assert whole.shape == plain.shape and not torch.allclose(whole, plain, atol=1e-2)
    for end in range(1, 5):
        assert torch.allclose(model(ids[:, :end]).logits, whole[:, :end], atol=1e-5)
    assert torch.allclose(model(ids, torch.ones_like(ids)).logits, whole, atol=1e-5)


@pytest.mark.parametrize("method", CAUSAL)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_generation_with_a_cache_is_generation_without(method, attention):
    model = CAUSAL[method](llama(attention))
    ids = torch.tensor([[0, 0, 7, 22, 3], [4, 9, 1, 8, 2]])
    settings = {"attention_mask": (ids > 0).long(), "max_new_tokens": 5, "do_sample": False}
    cached, without = (model.generate(ids, use_cache=use, **settings) for use in (True, False))
    assert torch.equal(cached, without) and cached.shape == (2, 10)
    plain = llama(attention).generate(ids, **settings)
    assert not torch.equal(cached, plain)


@pytest.mark.parametrize("method", CAUSAL)
def test_a_causal_model_with_a_prefix_or_a_prompt_trains(method):
    model = CAUSAL[method](llama())
    loss = model(IDS[:1], labels=IDS[:1]).loss
    loss.backward()
    assert all(p.grad.abs().max() > 0 for p in trained(model).values())


# --- beside peft -------------------------------------------------------------------------------------------------


def test_ia3_computes_what_peft_computes():
    model = shaken(add_ia3(tower(), ["key", "value"], FFN))
    config = peft.IA3Config(
        target_modules=r".*(key|value|layer\.\d+\.output\.dense)", feedforward_modules=FFN.replace(".*", ".*encoder.")
    )
    theirs = peft.get_peft_model(tower(), config)
    for name, layer in added_layers(model).items():
        own = theirs.base_model.model.get_submodule(name).ia3_l["default"]
        assert own.numel() == layer.l.numel() and own.shape == ((1, 20) if layer.on_input else (12, 1))
        own.data.copy_(layer.l.detach().view_as(own))
    assert torch.allclose(theirs(IDS, MASK), model(IDS, MASK), atol=1e-6)
    assert summary(model).trained_parameters == sum(p.numel() for p in theirs.parameters() if p.requires_grad)


@pytest.mark.parametrize("hidden", [None, 7])
def test_a_prefix_computes_what_peft_computes(hidden):
    heads = 4 if hidden else 2  # peft makes P′ as wide as the keys, we as wide as the model
    model = add_prefix(llama(key_heads=heads), "self_attn", length=4, hidden=hidden)
    config = peft.PrefixTuningConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=4, prefix_projection=bool(hidden), encoder_hidden_size=hidden
    )
    theirs = peft.get_peft_model(llama(key_heads=heads), config).eval()
    encoder = theirs.prompt_encoder["default"]
    for i, layer in enumerate(added_layers(model).values()):
        if hidden is None:
            P = encoder.embedding.weight.detach()  # (length, layers · 2 · width of the keys)
            layer.K.data, layer.V.data = P[:, 16 * i : 16 * i + 8].clone(), P[:, 16 * i + 8 : 16 * i + 16].clone()
        else:
            layer.shared.P.data.copy_(encoder.embedding.weight)
            layer.shared.first.load_state_dict(encoder.transform[0].state_dict())
            rows = slice(32 * i, 32 * (i + 1))
            layer.second.load_state_dict({key: p[rows] for key, p in encoder.transform[2].state_dict().items()})
    ids = IDS[:1]
    ours = model(ids, position_ids=torch.arange(5)[None] + 4).logits  # peft counts the prefix as positions
    assert torch.allclose(ours, theirs(ids).logits, atol=1e-5)
    assert summary(model).trained_parameters == sum(p.numel() for p in encoder.parameters())


def test_a_prompt_computes_what_peft_computes():
    model = add_prompt(llama(), length=4)
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    theirs = peft.get_peft_model(llama(), config).eval()
    theirs.prompt_encoder["default"].embedding.weight.data.copy_(model.model.P)
    expected = theirs(IDS, attention_mask=MASK).logits[:, 4:]
    assert torch.allclose(model(IDS, attention_mask=MASK).logits, expected, atol=1e-5)


# --- files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_saved_and_loaded_is_the_same_bit_for_bit(method, tmp_path):
    model = shaken(METHODS[method](tower()))
    expected = model(IDS, MASK)
    folder = save_added(model, tmp_path / "adapter")
    assert sorted(p.name for p in folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    fresh, present = tower(), METHODS[method](tower())
    fresh.classifier.reset_parameters()
    for other in (fresh, present):
        load_added(other, folder)
        assert_same_bits(other(IDS, MASK), expected)
        assert_same_state(other.state_dict(), model.state_dict())
        assert set(trained(other)) == set(trained(model))
        assert (save_added(other, tmp_path / "again") / "adapter_model.safetensors").read_bytes() == (
            folder / "adapter_model.safetensors"
        ).read_bytes()
    remove_added(fresh)
    assert all(p.requires_grad for p in fresh.parameters())


def test_a_prefix_whose_reparametrization_was_dropped_is_loaded_as_one_without(tmp_path):
    model = drop_reparametrization(METHODS["reparametrized"](tower()))
    other = load_added(tower(), save_added(model, tmp_path))
    assert torch.equal(other(IDS, MASK)[0], model(IDS, MASK)[0])
    assert summary(other).trained_parameters == summary(model).trained_parameters


def test_a_name_in_a_file_means_that_layer_alone(tmp_path):
    from helpers import Nested

    model = add_adapters(make(Nested), "^up$", bottleneck=2)
    assert list(added_layers(model)) == ["up"]
    assert list(added_layers(load_added(make(Nested), save_added(model, tmp_path)))) == ["up"]


def test_buffers_of_a_module_that_is_trained_whole_come_along(tmp_path):
    def normed():
        return nn.ModuleDict({"up": nn.Linear(6, 5), "head": nn.BatchNorm1d(5)})

    model = add_adapters(normed(), "up", bottleneck=2, modules_to_save="head")
    model["head"](generic(7, 5))
    assert_same_state(
        load_added(normed(), save_added(model, tmp_path))["head"].state_dict(), model["head"].state_dict()
    )


def edit_config(folder, **changes):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "adapter_model.safetensors").write_bytes(b"short"), "is not a whole safetensors file"),
        (lambda f: edit_config(f, method="lora"), "method='lora' must be one of adapters, prefix, prompt, IA3, BitFit"),
        (lambda f: edit_config(f, settings=None), "with its settings"),
        (lambda f: edit_config(f, settings={"targets": [QUERY], "bottleneck": 3}), "has no 'encoder.*query.down"),
        (
            lambda f: edit_config(f, settings={"targets": ["up"], "bottleneck": 3}),
            "has module 'up', which the model has",
        ),
        (lambda f: edit_config(f, settings={"targets": ["encoder"], "bottleneck": 3}), "selects only BertModel"),
        (lambda f: edit_config(f, settings={"targets": [QUERY], "bottleneck": 0}), "bottleneck=0 must be at least 1"),
        (lambda f: edit_config(f, settings={"bottleneck": 3}), "missing 1 required positional argument"),
        (lambda f: edit_config(f, method="BitFit", settings={}), "has no 'encoder.*bias', which"),
        (lambda f: edit_config(f, peft_type="LORA"), "is in peft's format, which load_adapter reads"),
    ],
)
def test_a_damaged_folder_gives_one_clear_error_and_changes_nothing(tmp_path, damage, message):
    folder = save_added(METHODS["adapters"](tower()), tmp_path)
    damage(folder)
    model = tower()
    model.encoder.embeddings.requires_grad_(False)
    before = snapshot(model)
    with pytest.raises(AdapterFileError, match=message):
        load_added(model, folder)
    assert_unchanged(model, before)


def test_a_file_of_another_shape_or_another_method_is_refused(tmp_path):
    folder = save_added(add_adapters(tower(), "output.dense", bottleneck=3), tmp_path / "three")
    edit_config(
        folder, settings=json.loads((folder / "adapter_config.json").read_text())["settings"] | {"bottleneck": 2}
    )
    with pytest.raises(AdapterFileError, match=r"has shape \(3,\).*the model's has \(2,\)"):
        load_added(tower(), folder)
    model = METHODS["prompt"](tower())
    with pytest.raises(AdapterFileError, match=r"has adapters with .*the model has prompt with .*remove_added"):
        load_added(model, folder)
    with pytest.raises(AdapterFileError, match="LoRA layers already"):
        load_added(add_lora(tower(), "query", 2, 4), folder)
    with pytest.raises(AdapterFileError, match="peft's format"):
        load_added(tower(), save_adapter(add_lora(tower(), "query", 2, 4), tmp_path / "lora"))
    with pytest.raises(FileNotFoundError):
        load_added(tower(), tmp_path / "nothing")
    with pytest.raises(ValueError, match="none of the other methods"):
        save_added(tower(), tmp_path / "nothing")


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda m: add_adapters(m, "output.dense", 0), ValueError, "'encoder.*dense': bottleneck=0 must be at least 1"),
        (lambda m: add_adapters(m, "output.dense", 2.0), TypeError, "bottleneck=2.0 must be an integer, not float"),
        (lambda m: add_adapters(m, "output.dens", 2), ValueError, "target 'output.dens' matches none of the 13 layers"),
        (lambda m: add_adapters(m, "query", 2, "selu"), ValueError, "activation='selu' must be one of gelu, relu"),
        (lambda m: add_adapters(m, "query", 2, scaling=0), ValueError, "scaling=0 must be a finite number above 0"),
        (lambda m: add_adapters(m, "query", 2, scaling="1"), TypeError, "scaling='1' must be a number, not str"),
        (lambda m: add_adapters(m, "word_embeddings", 2, parallel=True), TypeError, "parallel adapter needs vectors"),
        (
            lambda m: add_adapters(m, "classifier", 2, modules_to_save="classifier"),
            ValueError,
            "one of modules_to_save",
        ),
        (lambda m: add_adapters(m, "query", 2, modules_to_save="head"), ValueError, "no module is called 'head'"),
        (lambda m: add_prefix(m, "attention.self", 0), ValueError, "length=0 must be at least 1"),
        (lambda m: add_prefix(m, "attention.self", True), TypeError, "length=True must be an integer"),
        (lambda m: add_prefix(m, "attention.self", 3, hidden=0), ValueError, "hidden=0 must be at least 1"),
        (
            lambda m: add_prefix(m, "query", 3),
            ValueError,
            "target 'query' matches none of the 2 attention layers, such",
        ),
        (lambda m: add_prefix(m, [], 3), ValueError, "targets is empty"),
        (lambda m: add_prompt(m, -1), ValueError, "length=-1 must be at least 1"),
        (lambda m: add_prompt(m, "3"), TypeError, "length='3' must be an integer"),
        (lambda m: add_ia3(m, "kye"), ValueError, "target 'kye' matches none"),
        (lambda m: add_ia3(m, "key", "key"), ValueError, "is selected by targets and by feedforward"),
        (lambda m: add_ia3(m, "word_embeddings"), TypeError, r"word_embeddings': IA3 rescales an nn\.Linear"),
        (lambda m: add_bitfit(m, "head"), ValueError, "no module is called 'head'"),
    ],
)
def test_a_call_that_is_refused_says_why_and_changes_nothing(call, kind, message):
    model = tower()
    model.classifier.requires_grad_(False)
    before = snapshot(model)
    with pytest.raises(kind, match=message):
        call(model)
    assert_unchanged(model, before)


@pytest.mark.parametrize("method", ["adapters", "prefix", "IA3"])
def test_a_weight_that_is_no_float_is_refused(method):
    model = tower()
    for layer in model.encoder.encoder.layer[1:]:
        for linear in (layer.attention.self.key, layer.output.dense):
            linear.weight = nn.Parameter(linear.weight.to(torch.int8), requires_grad=False)
    before = snapshot(model)
    with pytest.raises(TypeError, match=r"layer\.1\..*the base weight has dtype torch\.int8"):
        METHODS[method](model)
    assert_unchanged(model, before)


def test_models_without_what_a_method_needs_are_told_so():
    with pytest.raises(ValueError, match=r"no attention layer that takes a prefix.*past_key_values"):
        add_prefix(make(), ".*", length=2)
    with pytest.raises(ValueError, match="TwoTowers has no transformer inside that takes inputs_embeds"):
        add_prompt(make(), length=2)
    with pytest.raises(ValueError, match="BertModel has no transformer inside"):
        add_prompt(tower().encoder, length=2)
    with pytest.raises(ValueError, match="no biases, so BitFit would train nothing"):
        add_bitfit(llama())
    with pytest.raises(ValueError, match="the model is itself a Linear, with no layer inside"):
        add_adapters(nn.Linear(3, 3), "weight", 2)
    decoder = transformers.BertModel(
        transformers.BertConfig(**tower().encoder.config.to_dict() | {"is_decoder": True, "add_cross_attention": True})
    )
    assert all(name.endswith("attention.self") for name in list_attention(nn.ModuleList([decoder])))
    assert not any("cross" in name for name in list_attention(decoder)) and len(list_attention(decoder)) == 2
    model = tower()
    model.encoder.config._attn_implementation = "flex_attention"
    with pytest.raises(ValueError, match="uses flex_attention attention; a prefix needs the mask of eager or sdpa"):
        add_prefix(model, ".*", length=2)
    model = add_prefix(tower(), ".*", length=2)
    with pytest.raises(TypeError, match=r"a prefix needs an attention mask .*given was \(3, 5\)"):
        model.encoder.encoder.layer[0].attention.self(generic(3, 5, 12), attention_mask=MASK)
    with pytest.raises(TypeError, match="an adapter needs vectors along the last axis; it does not fit a Conv2d"):
        add_adapters(nn.Sequential(nn.Conv2d(3, 4, 3)), "0", 2)


# --- the model of the book ---------------------------------------------------------------------------------------

SIZES = {
    "adapters": 12 * (2 * 3 * 384 + 384 + 3),
    "prefix": 6 * 2 * 4 * 384,
    "prompt": 4 * 384,
    "IA3": 6 * (2 * 384 + 1536),
    "BitFit": 384 + 6 * (4 * 384 + 384 + 1536 + 384 + 384),
}


@pytest.fixture(scope="module")
def minilm():
    return load_text_classifier()[0]


@pytest.mark.parametrize("method", SIZES)
def test_minilm_takes_each_method_and_is_itself_again(minilm, method):
    ids = torch.tensor([[101, 1037, 2204, 2143, 102, 0, 0], [101, 6659, 1010, 2146, 1998, 11771, 102]])
    mask = (ids > 0).long()
    before = snapshot(minilm)
    with torch.no_grad():
        plain = minilm(ids, mask)
        METHODS[method](minilm)
        assert summary(minilm).trained_parameters == SIZES[method] + 2 * 384 + 2
        start = minilm(ids, mask)
        assert torch.equal(start, plain) == (method in IDENTITIES)
        assert torch.allclose(minilm(ids[:1, :5], mask[:1, :5]), start[:1], atol=1e-5)
    assert_unchanged(remove_added(minilm), before)
