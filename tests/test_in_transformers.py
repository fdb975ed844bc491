"""The package in models of transformers, tiny ones: fused q, k, v in GPT-2, a bank on BERT, four bits in Llama."""

import pytest
import torch
from layers_and_variants import shaken
from torch import nn
from torch.nn import functional as F  # noqa: N812 (as in PyTorch's own documentation)

from lora_edu import (
    AdapterBank,
    LoRAMergedConv1D,
    QLoRALinear,
    adapter_parameters,
    add_lora,
    list_targets,
    load_adapter,
    lora_layers,
    merge,
    quantize,
    save_adapter,
    summary,
)

transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore")

IDS = torch.tensor([[1, 5, 7, 22, 3], [2, 9, 0, 11, 4], [4, 4, 1, 8, 9]])


def gpt2():
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=23, n_positions=16, n_embd=12, n_layer=2, n_head=3, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0
    )
    return transformers.GPT2LMHeadModel(config)


def bert():
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=23, hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=20, num_labels=3
    )
    return transformers.BertForSequenceClassification(config).eval()


def llama():
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=23,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=20,
        initializer_range=0.3,
    )
    return transformers.LlamaForCausalLM(config)


def test_q_and_v_of_gpt2_are_adapted_inside_its_fused_layer(tmp_path):
    model = gpt2()
    plain = model(IDS).logits
    assert [name for name in list_targets(model) if ".h.0." in name] == [
        f"transformer.h.0.{end}" for end in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    ]
    add_lora(model, "c_attn", r=2, alpha=4, parts=(True, False, True))
    assert all(isinstance(layer, LoRAMergedConv1D) for layer in lora_layers(model).values())
    assert summary(model).trained_parameters == 2 * 2 * 2 * (12 + 12)  # layers × parts × r × (in + out)
    assert torch.equal(model(IDS).logits, plain)
    F.cross_entropy(model(IDS).logits.flatten(0, 1), IDS.flatten()).backward()
    assert all(layer.B.grad.any() for layer in lora_layers(model).values())
    adapted = shaken(model)(IDS).logits
    folder = save_adapter(model, tmp_path)
    assert torch.allclose(load_adapter(gpt2(), folder)(IDS).logits, adapted, atol=1e-5)
    assert torch.allclose(peft.PeftModel.from_pretrained(gpt2(), folder)(IDS).logits, adapted, atol=1e-5)
    assert torch.allclose(merge(model)(IDS).logits, adapted, atol=1e-5)


def test_the_embedding_of_gpt2_is_adapted_and_its_tied_head_is_not():
    model = gpt2()
    add_lora(model, ["wte", "c_attn"], r=2, alpha=4)
    assert torch.equal(model.lm_head.weight, model.transformer.wte.base.weight)
    shaken(model)
    head, adapted = model.lm_head.weight.clone(), model(IDS).logits
    assert torch.allclose(merge(model)(IDS).logits, adapted, atol=1e-5)
    assert torch.equal(model.lm_head.weight, head)


@pytest.mark.parametrize("variant", ["lora", "dora"])
def test_each_sentence_of_a_batch_goes_through_its_own_adapter_and_head_in_bert(variant):
    bank = AdapterBank(bert())
    for seed, name in enumerate("abc"):
        shaken(bank.add(name, ["query", "value", "dense"], 2, 4, variant=variant, modules_to_save="classifier"), seed)
    bank.model.eval()
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 0, 0, 0]])
    names = ["c", None, "a"]
    with torch.no_grad():
        own = [bank.use(name)(IDS[i : i + 1], mask[i : i + 1]).logits[0] for i, name in enumerate(names)]
        with bank.rows(names) as model:
            assert torch.allclose(model(IDS, mask).logits, torch.stack(own), atol=1e-5)


def test_llama_in_four_bits_learns_through_its_adapter_with_gradient_checkpointing():
    model = quantize(llama(), ["q_proj", "v_proj", "down_proj"])
    add_lora(model, ["q_proj", "v_proj", "down_proj"], r=4, alpha=8, variant="rslora")
    assert all(isinstance(layer, QLoRALinear) for layer in lora_layers(model).values())
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    optimizer = torch.optim.Adam(adapter_parameters(model), lr=3e-2)
    losses = []
    for _ in range(25):
        loss = model(IDS, labels=IDS).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert isinstance(model.model.layers[0].self_attn.k_proj, nn.Linear)
