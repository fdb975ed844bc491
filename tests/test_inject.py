"""LoRA in a whole model: which layers are chosen, what trains, what is shared or tied, and how it comes out again."""

import copy
import pickle
import warnings

import pytest
import torch
from helpers import TwoTowers, assert_same_bits, assert_same_state, assert_unchanged, generic, make, randomize, snapshot
from torch import nn
from torch.nn import functional as F  # noqa: N812 (as in PyTorch's own documentation)
from torch.utils.checkpoint import checkpoint

from lora_edu import (
    LoRALinear,
    adapter_parameters,
    add_lora,
    list_targets,
    lora_layers,
    merge,
    merge_and_unload,
    remove_lora,
    summary,
    unmerge,
)

ALL = ["left.query", "left.up", "right.query", "right.up", "classifier"]


class TiedLanguageModel(nn.Module):
    """Token ids (batch, length) ↦ logits: the head's weight is the embedding's, as in many language models."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.body = nn.Linear(6, 6)
        self.lm_head = nn.Linear(6, 11, bias=False)
        self.lm_head.weight = self.embedding.weight

    def forward(self, ids):
        return self.lm_head(torch.tanh(self.body(self.embedding(ids))))


class Shared(nn.Module):
    """One layer under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.second = nn.ModuleList([self.first, nn.Linear(6, 3)])

    def forward(self, x):
        return self.second[1](self.second[0](torch.tanh(self.first(x))))


# --- targets -----------------------------------------------------------------------------------------------------


def test_list_targets_names_the_linear_layers_in_order_with_lora_or_without():
    model = make()
    assert list_targets(model) == ALL
    add_lora(model, "query", r=2, alpha=4)
    assert list_targets(model) == ["left.up", "right.up", "classifier"]
    assert list_targets(LoRALinear(nn.Linear(3, 3), 1, 1)) == []


@pytest.mark.parametrize(
    ("targets", "selected"),
    [
        ("query", ["left.query", "right.query"]),
        ("left.query", ["left.query"]),
        (["up", "left.query"], ["left.query", "left.up", "right.up"]),
        (("classifier",), ["classifier"]),
        ({"query", "right.query"}, ["left.query", "right.query"]),
        (r"left\..*", ["left.query", "left.up"]),
        (r".*\.(query|up)", ALL[:4]),
        (".*", ALL),
        (iter(["up"]), ["left.up", "right.up"]),
    ],
)
def test_a_target_is_a_name_the_end_of_one_or_a_regular_expression(targets, selected):
    assert list(lora_layers(add_lora(make(), targets, r=2, alpha=4))) == selected


def test_the_end_of_a_name_begins_at_a_dot():
    model = nn.ModuleDict({"prequery": nn.Linear(3, 3), "query": nn.Linear(3, 3)})
    assert list(lora_layers(add_lora(model, "query", r=1, alpha=1))) == ["query"]


@pytest.mark.parametrize(
    ("targets", "kind", "message"),
    [
        (
            "qurey",
            ValueError,
            r"target 'qurey' matches none of the 5 layers .*close to it: .*query.*list_targets\(model\)",
        ),
        (["query", "value"], ValueError, "target 'value' matches none of the 5 layers"),
        ("norm", ValueError, "target 'norm' selects only LayerNorm; LoRA here adapts Linear"),
        ("left", ValueError, "target 'left' selects only ModuleDict"),
        (
            "[0-3",
            ValueError,
            r"target '\[0-3' matches none .*nor is it a regular expression \(unterminated character set",
        ),
        ("", ValueError, "target '' matches none"),
        ([], ValueError, "targets is empty: name at least one layer"),
        ((), ValueError, "targets is empty"),
        ([3], TypeError, "3 is not the name of a layer"),
        (nn.Linear, TypeError, "not iterable"),
    ],
)
def test_targets_that_select_nothing_are_refused_with_a_suggestion(targets, kind, message):
    model = make()
    before = snapshot(model)
    with pytest.raises(kind, match=message):
        add_lora(model, targets, r=2, alpha=4)
    assert_unchanged(model, before)


def test_a_model_that_is_one_layer_is_told_to_use_the_layer():
    with pytest.raises(ValueError, match=r"the model is itself a layer.*use LoRALinear\(model, r, alpha\)"):
        add_lora(nn.Linear(4, 4), "weight", r=2, alpha=4)


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"r": 0}, ValueError, "'left.query': rank r=0 must be at least 1"),
        ({"r": 5}, ValueError, r"'right.query': rank r=5 exceeds min\(in_features, out_features\)=4"),
        ({"r": True}, TypeError, "'left.query': rank r=True must be an integer"),
        ({"r": "8"}, TypeError, "'left.query': rank r='8' must be an integer"),
        ({"alpha": -1}, ValueError, "'left.query': alpha=-1 must be"),
        ({"alpha": float("nan")}, ValueError, "'left.query': alpha=nan must be"),
        ({"dropout": 1.0}, ValueError, r"'left.query': dropout=1\.0 must be"),
        ({"modules_to_save": "clasifier"}, ValueError, "no module is called 'clasifier'; close to it: classifier"),
        ({"modules_to_save": ["classifier", "head"]}, ValueError, "modules_to_save: no module is called 'head'"),
        ({"targets": "classifier", "modules_to_save": "classifier"}, ValueError, "is one of modules_to_save"),
        ({"modules_to_save": [None]}, TypeError, "None is not the name"),
    ],
)
def test_add_lora_that_fails_leaves_the_model_as_it_was(settings, kind, message):
    model = make()
    model.left["query"].requires_grad_(False)
    model.right.eval()
    before = snapshot(model)
    with pytest.raises(kind, match=message):
        add_lora(model, **{"targets": ".*", "r": 2, "alpha": 4} | settings)
    assert_unchanged(model, before)


def test_an_integer_layer_late_in_the_model_changes_nothing_before_it():
    model = make()
    model.right["up"].weight = nn.Parameter(model.right["up"].weight.to(torch.int8), requires_grad=False)
    before = snapshot(model)
    with pytest.raises(TypeError, match=r"'right.up': the base weight has dtype torch\.int8"):
        add_lora(model, ".*", r=2, alpha=4)
    assert_unchanged(model, before)


def test_running_out_of_memory_halfway_changes_nothing(monkeypatch):
    model = make()
    before = snapshot(model)
    made = []

    def fail(layer):
        made.append(layer)
        if len(made) == 3:
            raise torch.OutOfMemoryError("no memory for the third layer")

    monkeypatch.setattr(LoRALinear, "reset_parameters", fail)
    with pytest.raises(torch.OutOfMemoryError):
        add_lora(model, ".*", r=2, alpha=4)
    assert_unchanged(model, before)


def test_a_second_injection_is_refused():
    model = add_lora(make(), "query", r=2, alpha=4)
    before = snapshot(model)
    with pytest.raises(ValueError, match=r"has LoRA layers already: remove_lora\(model\) first"):
        add_lora(model, "up", r=2, alpha=4)
    assert_unchanged(model, before)


@pytest.mark.parametrize("function", [merge, unmerge, remove_lora, merge_and_unload])
def test_a_model_without_lora_has_nothing_to_merge_or_remove(function):
    with pytest.raises(ValueError, match="the model has no LoRA layers: call add_lora or load_adapter first"):
        function(make())


@pytest.mark.parametrize("function", [remove_lora, merge_and_unload])
def test_a_single_layer_cannot_be_taken_out_of_itself(function):
    layer = LoRALinear(nn.Linear(4, 4), 2, 4)
    with pytest.raises(ValueError, match="the model is itself a LoRALinear"):
        function(layer)
    assert not layer.merged
    assert merge(layer).merged and not unmerge(layer).merged


# --- what trains -------------------------------------------------------------------------------------------------


def test_a_new_adapter_does_not_change_a_single_bit_of_the_output():
    model, x = make(), generic(4, 6)
    before = model(x)
    assert torch.equal(add_lora(model, ".*", r=2, alpha=16, dropout=0.5)(x), before)


def test_only_adapters_and_the_modules_to_save_train():
    model = add_lora(make(), "query", r=2, alpha=4, modules_to_save="classifier")
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {
        *(f"{side}.query.{factor}" for side in ("left", "right") for factor in "AB"),
        "classifier.weight",
        "classifier.bias",
    }
    assert [id(p) for p in adapter_parameters(model)] == [
        id(p) for side in (model.left, model.right) for p in (side["query"].A, side["query"].B)
    ]


def test_every_adapter_gets_gradient_and_nothing_else_does():
    model = add_lora(make(), ".*", r=2, alpha=4)
    for step in range(2):
        F.cross_entropy(model(generic(9, 6)), torch.arange(9) % 3).backward()
        for name, parameter in model.named_parameters():
            if name.endswith(".B") or (name.endswith(".A") and step):
                assert parameter.grad.abs().max() > 0, name
            elif name.endswith(".A"):
                assert torch.count_nonzero(parameter.grad) == 0, name
            else:
                assert parameter.grad is None, name
        with torch.no_grad():
            for parameter in adapter_parameters(model):
                parameter -= 0.1 * parameter.grad


def test_a_module_that_is_saved_whole_is_not_adapted_as_well():
    model = add_lora(make(), ".*", r=2, alpha=4, modules_to_save=["right", "classifier"])
    assert list(lora_layers(model)) == ["left.query", "left.up"]
    assert all(p.requires_grad for p in model.right.parameters())


def test_new_layers_have_the_mode_of_the_layers_that_they_replace():
    model = make()
    model.left.eval()
    add_lora(model, "query", r=2, alpha=4, dropout=0.1)
    assert not model.left["query"].dropout.training and model.right["query"].dropout.training


def test_gradient_checkpointing_without_reentry_trains_the_same():
    def gradients(run):
        model = randomize(add_lora(make(), "query", r=2, alpha=4))
        run(model, generic(5, 6)).square().sum().backward()
        return [p.grad for p in adapter_parameters(model)]

    plain = gradients(lambda model, x: model(x))
    saving = gradients(lambda model, x: checkpoint(model, x, use_reentrant=False))
    assert all(torch.equal(a, b) and a.abs().max() > 0 for a, b in zip(plain, saving, strict=True))


# --- in and out --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_merge_and_unmerge_the_whole_model(dtype):
    model = randomize(add_lora(make(dtype=dtype), ".*", r=2, alpha=4))
    x = generic(4, 6, dtype=dtype)
    before, adapted = copy.deepcopy(model.state_dict()), model(x)
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 0.1}[dtype]
    assert torch.allclose(merge(model)(x), adapted, rtol=tolerance, atol=tolerance)
    assert all(layer.merged for layer in lora_layers(model).values())
    assert torch.equal(unmerge(model)(x), adapted)
    assert_same_state(model.state_dict(), before)


@pytest.mark.parametrize("merged", [False, True])
def test_remove_lora_gives_the_model_back_bit_for_bit(merged):
    model = make()
    model.norm.requires_grad_(False)
    before = snapshot(model)
    randomize(add_lora(model, ".*", r=2, alpha=4, modules_to_save="norm"))
    if merged:
        merge(model)
    assert_unchanged(remove_lora(model), before)  # also: what was frozen before is frozen, what trained trains
    assert lora_layers(add_lora(model, "query", r=1, alpha=1))  # and a new adapter can follow


def test_remove_lora_keeps_what_whole_modules_learned():
    model = add_lora(make(), "query", r=2, alpha=4, modules_to_save="classifier")
    with torch.no_grad():
        model.classifier.weight.fill_(3)
    assert (remove_lora(model).classifier.weight == 3).all()


@pytest.mark.parametrize("merged", [False, True])
def test_merge_and_unload_gives_a_plain_model_that_computes_the_same(merged):
    model = randomize(add_lora(make(dtype=torch.float64), ".*", r=2, alpha=4))
    x = generic(4, 6, dtype=torch.float64)
    adapted = model(x)
    if merged:
        merge(model)
    plain = merge_and_unload(model)
    assert torch.allclose(plain(x), adapted, atol=1e-12)
    assert not lora_layers(plain) and list(plain.state_dict()) == list(make().state_dict())
    assert all(p.requires_grad for p in plain.parameters())


@pytest.mark.parametrize("merged", [False, True])
def test_copies_of_a_model_are_whole_and_their_own(merged):
    model = randomize(add_lora(make(), "query", r=2, alpha=4))
    base = copy.deepcopy(make().state_dict())
    if merged:
        merge(model)
    x = generic(4, 6)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(x), model(x))
        with torch.no_grad():
            twin.left["query"].B.zero_()
        assert_same_state(remove_lora(twin).state_dict(), base)
        assert all(p.requires_grad for p in twin.parameters())
    assert lora_layers(model)["left.query"].merged is merged


def test_a_merged_model_is_loaded_into_another_without_counting_twice():
    model = randomize(add_lora(make(), "query", r=2, alpha=4))
    other = randomize(add_lora(make(seed=9), "query", r=2, alpha=4), seed=9)
    x = generic(4, 6)
    expected = model(x)
    other.load_state_dict(merge(model).state_dict())
    assert torch.equal(other(x), expected)


def test_wrapping_failure_names_the_kind_of_layer():
    from lora_edu.inject import wrap_layers

    with pytest.raises(TypeError, match="'norm': LoRA cannot adapt a LayerNorm"):
        wrap_layers(make(), {"norm": (1, 1, 0.0)})


# --- tied and shared ---------------------------------------------------------------------------------------------


def test_a_head_tied_to_the_embedding_is_merged_without_changing_the_embedding():
    model = make(TiedLanguageModel)
    add_lora(model, "lm_head", r=3, alpha=6)
    randomize(model)
    ids = torch.tensor([[1, 4, 10], [0, 2, 7]])
    embedding, adapted = model.embedding.weight.clone(), model(ids)
    merge(model)
    assert_same_bits(model.embedding.weight, embedding)
    assert torch.allclose(model(ids), adapted, atol=1e-5)
    twin = copy.deepcopy(model)
    for each in (model, twin):
        unmerge(each)
        assert each.lm_head.base.weight is each.embedding.weight  # tied as before
    remove_lora(model)
    assert model.lm_head.weight is model.embedding.weight and model.embedding.weight.requires_grad


def test_a_tied_head_that_is_unloaded_is_a_parameter_of_its_own_and_trains_as_before():
    model = randomize(add_lora(make(TiedLanguageModel), "lm_head", r=3, alpha=6))
    plain = merge_and_unload(model)
    assert plain.lm_head.weight is not plain.embedding.weight
    assert plain.lm_head.weight.requires_grad and plain.embedding.weight.requires_grad


def test_a_layer_under_two_names_stays_one_layer():
    model, x = make(Shared), generic(4, 6)
    before = model(x)
    add_lora(model, ["first", "second.1"], r=2, alpha=4)
    assert model.first is model.second[0] and isinstance(model.first, LoRALinear)
    assert list(lora_layers(model)) == ["first", "second.1"]
    assert torch.equal(model(x), before)
    remove_lora(randomize(model))
    assert model.first is model.second[0] and torch.equal(model(x), before)


# --- code that reads layer.weight --------------------------------------------------------------------------------


def test_attention_sees_the_adapter_on_its_output_projection():
    model = make(nn.MultiheadAttention, embed_dim=8, num_heads=2, batch_first=True)
    x = generic(3, 5, 8)
    plain = model.requires_grad_(False)(x, x, x)[
        0
    ]  # frozen, because PyTorch rounds otherwise when it will need gradients
    add_lora(model, "out_proj", r=2, alpha=4)
    assert torch.equal(model(x, x, x)[0], plain)
    randomize(model)
    adapted = model(x, x, x)[0]
    assert not torch.allclose(adapted, plain, atol=1e-3)
    adapted.square().sum().backward()
    assert model.out_proj.A.grad.abs().max() > 0 and model.out_proj.B.grad.abs().max() > 0
    with torch.no_grad():
        assert torch.allclose(model.eval()(x, x, x)[0], adapted, atol=1e-5)
        assert torch.allclose(merge(model)(x, x, x)[0], adapted, atol=1e-5)


@pytest.mark.parametrize("targets", ["linear1", "linear2", "self_attn.out_proj", ".*"])
def test_the_fast_path_of_a_transformer_layer_sees_the_adapter(targets):
    model = make(
        nn.TransformerEncoderLayer, d_model=8, nhead=2, dim_feedforward=12, dropout=0.0, batch_first=True
    ).eval()
    x = generic(3, 5, 8)
    with torch.no_grad():
        plain = model(x)
        add_lora(model, targets, r=2, alpha=4)
        assert torch.allclose(model(x), plain, atol=1e-6)
        fast = randomize(model)(x)
    assert not torch.allclose(fast, plain, atol=1e-3)
    slow = model.train()(x)  # in training there is no fast path
    assert torch.allclose(fast, slow, atol=1e-5)
    merge(model.eval())
    with torch.no_grad():
        assert torch.allclose(model(x), fast, atol=1e-5)


def test_a_stack_of_transformer_layers_keeps_its_padding_mask_and_its_adapter():
    layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True)
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own, on its prototype of nested tensors
        model = nn.TransformerEncoder(layer, 2).eval()
        randomize(add_lora(model, "linear1", r=2, alpha=4))
        x, padding = generic(3, 5, 8), torch.arange(5) >= torch.tensor([[5], [3], [4]])
        with torch.no_grad():
            fast = model(x, src_key_padding_mask=padding)
        slow = model.train()(x, src_key_padding_mask=padding)
    assert torch.allclose(fast[~padding], slow[~padding], atol=1e-5)


def test_a_compiled_model_trains_its_adapter():
    model = randomize(add_lora(make(), "query", r=2, alpha=4))
    x = generic(4, 6)
    compiled = torch.compile(model, backend="eager")
    assert torch.allclose(compiled(x), model(x))
    compiled(x).sum().backward()
    assert all(p.grad is not None for p in adapter_parameters(model))


# --- the report --------------------------------------------------------------------------------------------------


def test_summary_counts_parameters_bytes_and_groups():
    model = add_lora(make(), ["query", "left.up"], r=2, alpha=3, modules_to_save="classifier")
    s = summary(model)
    factors = 2 * (6 + 5) + 2 * (6 + 4) + 2 * (5 + 8)
    head, rest = 8 * 3 + 3, (6 * 5 + 5) + (6 * 4 + 4) + 5 * 8 + (4 * 8 + 8) + 16
    assert s.adapter_parameters == factors and s.trained_parameters == factors + head
    assert s.total_parameters == factors + head + rest
    assert s.trained_bytes == 4 * s.trained_parameters and s.total_bytes == 4 * s.total_parameters
    assert s.trained_share == s.trained_parameters / s.total_parameters
    assert [(g.name, g.count, g.out_features, g.in_features) for g in s.groups] == [
        ("left.query", 1, 5, 6),
        ("left.up", 1, 8, 5),
        ("right.query", 1, 4, 6),
    ]
    assert all((g.r, g.alpha, g.scaling) == (2, 3, 1.5) for g in s.groups)
    assert sum(g.parameters for g in s.groups) == factors
    lines = str(s).splitlines()
    assert lines[0].split() == ["adapted", "layers", "count", "out", "×", "in", "r", "alpha", "scaling", "parameters"]
    assert lines[2].split() == ["left.query", "1", "5", "×", "6", "2", "3", "1.5", "22"]
    assert f"trained {s.trained_parameters:,} of {s.total_parameters:,} parameters ({s.trained_share:.3%})" in str(s)
    assert f"of these, {factors} in A and B and {head} in layers trained whole" in lines[-1]
    assert repr(s) == str(s)


def test_summary_puts_layers_that_differ_in_their_number_into_one_row():
    model = nn.ModuleList(nn.ModuleDict({"query": nn.Linear(6, 4), "up2": nn.Linear(4, 4)}) for _ in range(12))
    groups = summary(add_lora(model, ".*", r=1, alpha=2)).groups
    assert [(g.name, g.count) for g in groups] == [("*.query", 12), ("*.up2", 12)]


def test_summary_counts_tied_weights_once_and_half_precision_as_two_bytes():
    plain = summary(make(TiedLanguageModel, dtype=torch.bfloat16))
    assert plain.total_parameters == 11 * 6 + 6 * 6 + 6 and plain.total_bytes == 2 * plain.total_parameters
    assert plain.trained_share == 1 and plain.groups == () and "\n" not in str(plain)
    adapted = summary(add_lora(make(TiedLanguageModel, dtype=torch.bfloat16), "body", r=1, alpha=1))
    assert adapted.trained_bytes == 4 * 12  # factors in float32


@pytest.mark.parametrize(
    ("size", "text"), [(999, "999 B"), (25_000, "25.00 kB"), (90_400_000, "90.40 MB"), (3e9, "3.00 GB")]
)
def test_bytes_are_shown_in_decimal_units(size, text):
    from lora_edu.report import _readable

    assert _readable(int(size)) == text
    assert summary(nn.Identity()).trained_share == 0


def test_the_test_model_is_generic():
    assert all(m.weight.shape[0] != m.weight.shape[1] for m in TwoTowers().modules() if isinstance(m, nn.Linear))
