"""Language models: labels of the answer alone, packing and accumulation that change nothing, costs that are counted."""

import math
import warnings

import pytest
import torch
from torch.nn import functional as F  # noqa: N812 (as in PyTorch's own documentation)
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

from lora_edu import add_lora, evaluate, lora_layers, quantize, train
from lora_edu.accumulation import backward_in_pieces
from lora_edu.chat import IGNORED, next_token, tokenize_chats
from lora_edu.gguf_model import unpack_gguf
from lora_edu.language_costs import language_model_bytes, language_model_flops
from lora_edu.language_model import load_language_model
from lora_edu.memory import TensorMemory
from lora_edu.packing import block_diagonal, pack_chats, packed_next_token
from lora_edu.precision import best_precision, loss_scaler

VOCABULARY = 211
CHATS = [("good film", "yes"), ("a rather longer question than the first one", "no"), ("bad", "yes indeed")]


def small(seed=0, lora=True, layers=3, **settings):
    """A Llama with sizes that are all different, grouped keys, and LoRA with a B that is not zero."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=48,
        intermediate_size=80,
        num_hidden_layers=layers,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=8,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config)
    if lora:
        add_lora(model, ["q_proj", "v_proj"], r=3, alpha=6, **settings)
        with torch.no_grad():
            for layer in lora_layers(model).values():
                layer.B.normal_(std=0.05)
    return model


def chats(lengths=(9, 5, 12, 7, 6), counted=(2, 3, 1, 4, 2), seed=0):
    """Rows as `tokenize_chats` gives them: padded with a token that the chats use as well."""
    generator = torch.Generator().manual_seed(seed)
    shape = len(lengths), max(lengths)
    ids = torch.randint(3, VOCABULARY, shape, generator=generator)
    places = torch.arange(shape[1])
    mask = places < torch.tensor(lengths)[:, None]
    ids = torch.where(mask & (places != torch.tensor(lengths)[:, None] - 1), ids, 2)
    labels = torch.where(
        mask & (places >= torch.tensor(lengths)[:, None] - torch.tensor(counted)[:, None]), ids, IGNORED
    )
    return {"input_ids": ids, "attention_mask": mask.long(), "labels": labels}


def gradients(model, batch, objective=next_token, micro_batch=None):
    model.zero_grad()
    loss = backward_in_pieces(model, batch, objective, micro_batch)
    return loss, torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    from lora_edu.assets import find

    return AutoTokenizer.from_pretrained(find("smollm2"), local_files_only=True)


# --- chats -------------------------------------------------------------------------------------------------------


def test_the_answer_and_its_end_mark_count_and_nothing_else(tokenizer):
    data = tokenize_chats(CHATS, tokenizer)
    for (question, answer), ids, mask, labels in zip(CHATS, *data.values(), strict=True):
        assert tokenizer.decode(labels[labels != IGNORED]) == answer + tokenizer.eos_token
        text = tokenizer.decode(ids[mask.bool()])
        assert question in text and text.endswith(answer + tokenizer.eos_token)
        assert (labels[labels != IGNORED] == ids[labels != IGNORED]).all()
        assert (labels[mask == 0] == IGNORED).all()


def test_padding_has_the_end_marks_id_so_that_masking_by_it_hides_the_end(tokenizer):
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    labels = tokenize_chats(CHATS, tokenizer)["labels"]
    assert ((labels == tokenizer.eos_token_id).sum(dim=1) == 1).all()


def test_a_long_chat_is_cut_and_a_question_that_fills_it_is_refused(tokenizer):
    whole = tokenize_chats(CHATS[1:2], tokenizer)
    length = whole["input_ids"].shape[1]
    cut = tokenize_chats(CHATS[1:2], tokenizer, max_length=length - 1)
    assert torch.equal(cut["input_ids"], whole["input_ids"][:, :-1])
    assert torch.equal(cut["labels"], whole["labels"][:, :-1])
    with pytest.raises(ValueError, match=rf"has {length - 2} tokens; max_length={length - 2} leaves none"):
        tokenize_chats(CHATS[1:2], tokenizer, max_length=length - 2)
    with pytest.raises(ValueError, match="there are no chats"):
        tokenize_chats([], tokenizer)
    with pytest.raises(ValueError, match="the answer to 'why' is empty"):
        tokenize_chats([("why", " ")], tokenizer)


def test_the_loss_is_the_mean_over_counted_tokens_each_predicted_from_those_before_it():
    model, data = small().eval(), chats()
    loss, hits = next_token(model, data)
    log_p = model(input_ids=data["input_ids"], attention_mask=data["attention_mask"]).logits.log_softmax(dim=-1)
    places = [(i, t) for i, row in enumerate(data["labels"]) for t in range(len(row)) if row[t] != IGNORED]
    by_hand = [-log_p[i, t - 1, data["labels"][i, t]] for i, t in places]
    assert torch.allclose(loss, torch.stack(by_hand).mean(), rtol=1e-5)
    assert hits.shape == (len(places),) and hits.dtype == torch.bool


def test_a_data_type_that_is_no_float_is_refused():
    with pytest.raises(TypeError, match=r"dtype=torch.int8 is no floating-point type"):
        load_language_model(torch.int8)


# --- packing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [12, 17, 40])
def test_packed_chats_have_the_loss_and_gradient_of_the_same_chats_apart(width):
    model, data = small().train(), chats()
    packed = pack_chats(data, width)
    assert packed["input_ids"].shape[1] <= width
    loss, g = gradients(model, data)
    packed_loss, packed_g = gradients(model, packed, packed_next_token)
    assert torch.allclose(packed_loss, loss, rtol=1e-5)
    assert (packed_g - g).norm() < 1e-4 * g.norm()


def test_without_the_mask_of_blocks_it_is_another_loss():
    model, packed = small().eval(), pack_chats(chats(), 40)
    loss, _ = packed_next_token(model, packed)
    causal = torch.ones(1, 1, *2 * packed["input_ids"].shape[1:], dtype=torch.bool).tril()
    inputs = {key: packed[key] for key in ("input_ids", "position_ids", "labels")}
    seen, _ = next_token(model, inputs | {"attention_mask": causal})
    assert abs(loss - seen) > 1e-3


def test_every_token_is_packed_once_with_its_label():
    data = chats()
    packed = pack_chats(data, 20)
    apart = sorted(
        tuple(ids[mask.bool()].tolist()) for ids, mask in zip(data["input_ids"], data["attention_mask"], strict=True)
    )
    together = []
    for ids, segments, positions in zip(packed["input_ids"], packed["segments"], packed["position_ids"], strict=True):
        for number in range(1, int(segments.max()) + 1):
            here = segments == number
            together.append(tuple(ids[here].tolist()))
            assert positions[here].tolist() == list(range(int(here.sum())))
    assert sorted(together) == apart
    assert (packed["labels"] != IGNORED).sum() == (data["labels"] != IGNORED).sum()
    assert len(packed["input_ids"]) < len(data["input_ids"])


def test_the_first_token_of_a_chat_is_never_predicted():
    data = chats()
    data["labels"] = data["input_ids"].masked_fill(data["attention_mask"] == 0, IGNORED)
    packed = pack_chats(data, 40)
    assert (packed["labels"][packed["position_ids"] == 0] == IGNORED).all()


def test_a_token_sees_its_own_chat_up_to_itself():
    sees = block_diagonal(torch.tensor([[1, 1, 2, 2, 0]]))[0, 0]
    expected = [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 1]]
    assert sees.int().tolist() == expected


def test_a_chat_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"a chat has 12 tokens; width=11 has no room for it"):
        pack_chats(chats(), 11)


# --- accumulation ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("micro_batch", [1, 2, 3, 5, 8])
def test_the_gradient_in_pieces_is_that_of_the_whole_batch(micro_batch):
    model, data = small().train(), chats()
    (loss, g), (pieces_loss, pieces_g) = gradients(model, data), gradients(model, data, micro_batch=micro_batch)
    assert torch.allclose(loss, pieces_loss, rtol=1e-5)
    assert (pieces_g - g).norm() < 1e-5 * g.norm()
    singles = torch.stack([gradients(model, {k: v[i : i + 1] for k, v in data.items()})[1] for i in range(5)])
    assert (singles.mean(dim=0) - g).norm() > 0.05 * g.norm()  # the mean of the means is another gradient


def test_training_in_pieces_is_training():
    runs = {}
    for micro_batch in (None, 2):
        model = small()
        report = train(
            model, chats(), objective=next_token, batch_size=5, micro_batch=micro_batch, lr=0.01, progress=False
        )
        runs[micro_batch] = report.losses
    assert runs[2] == pytest.approx(runs[None], rel=1e-4)


def test_a_piece_where_nothing_counts_adds_nothing_and_a_batch_where_nothing_counts_is_refused():
    model, data = small().train(), chats()
    data["labels"][1] = IGNORED
    (_, g), (_, pieces) = gradients(model, data), gradients(model, data, micro_batch=1)
    assert (pieces - g).norm() < 1e-5 * g.norm()
    assert evaluate(model, data, objective=next_token, batch_size=1).loss == pytest.approx(
        evaluate(model, data, objective=next_token).loss, rel=1e-5
    )
    data["labels"][:] = IGNORED
    for micro_batch in (None, 2):
        with pytest.raises(ValueError, match="no prediction of the batch counts"):
            gradients(model, data, micro_batch=micro_batch)
    with pytest.raises(ValueError, match="no prediction of the data counts"):
        evaluate(model, data, objective=next_token)


def test_evaluation_weighs_by_counted_tokens_whatever_the_batches():
    model, data = small().eval(), chats()
    loss, hits = next_token(model, data)
    for batch_size in (1, 2, 5):
        result = evaluate(model, data, objective=next_token, batch_size=batch_size)
        assert result.loss == pytest.approx(loss.item(), rel=1e-5)
        assert result.accuracy == pytest.approx(hits.double().mean().item())


@pytest.mark.parametrize("settings", [{"micro_batch": 2}, {"precision": "bfloat16"}, {"precision": "float16"}])
def test_a_run_goes_on_exactly_in_pieces_and_in_16_bits(tmp_path, settings):
    settings = {"batch_size": 3, "epochs": 2, "lr": 0.01, "progress": False, **settings}
    whole = train(small(), chats(), objective=next_token, **settings)
    for step in range(1, whole.steps):
        calls, path = [0], tmp_path / f"{step}.pt"

        def stopped(model, batch, calls=calls, step=step):
            calls[0] += len(batch["labels"])
            if calls[0] > {1: 3, 2: 5, 3: 8}[step]:
                raise KeyboardInterrupt
            return next_token(model, batch)

        with pytest.raises(KeyboardInterrupt):
            train(small(), chats(), objective=stopped, checkpoint=path, checkpoint_every=1, **settings)
        assert path.exists()
        again = train(small(), chats(), objective=next_token, checkpoint=path, checkpoint_every=1, **settings)
        assert again.losses == whole.losses
    with pytest.raises(ValueError, match="comes from another training"):
        train(small(), chats(), objective=next_token, checkpoint=path, **settings | {"micro_batch": 1})


def test_a_micro_batch_below_one_is_refused():
    with pytest.raises(ValueError, match="micro_batch=0 must be at least 1"):
        train(small(), chats(), objective=next_token, micro_batch=0, progress=False)


# --- 16 bits -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_products_in_16_bits_train_factors_in_32(precision):
    plain, model = small(), small()
    expected = train(plain, chats(), objective=next_token, lr=0.01, batch_size=5, epochs=4, progress=False)
    report = train(
        model, chats(), objective=next_token, lr=0.01, batch_size=5, epochs=4, precision=precision, progress=False
    )
    assert report.losses == pytest.approx(expected.losses, abs=0.05)
    assert report.losses != expected.losses
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}


def test_a_step_whose_gradients_overflow_in_float16_is_left_out(monkeypatch):
    import lora_edu.training as training

    scalers = []

    def huge(device, precision):
        scalers.append(torch.amp.GradScaler(device.type, init_scale=2.0**40, enabled=True))
        return scalers[-1]

    monkeypatch.setattr(training, "loss_scaler", huge)
    model = small()
    before = {n: p.clone() for n, p in model.named_parameters()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = train(
            model, chats(), objective=next_token, batch_size=5, epochs=2, precision="float16", progress=False
        )
    assert scalers[0].get_scale() == 2.0**38 and all(map(math.isfinite, report.losses))
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())


def test_the_precision_is_the_best_that_the_device_has(monkeypatch):
    assert best_precision("cpu") == "float32"
    for capability, expected in (((7, 5), "float16"), ((8, 0), "bfloat16"), ((9, 0), "bfloat16")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, c=capability: c)
        assert best_precision("cuda") == expected
    assert not loss_scaler(torch.device("cpu"), "bfloat16").is_enabled()
    with pytest.raises(ValueError, match="precision='half' is none of float32, bfloat16, float16"):
        train(small(), chats(), objective=next_token, precision="half", progress=False)


# --- checkpointing, memory, operations ---------------------------------------------------------------------------


def checkpointed(model, use_reentrant=False):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": use_reentrant})
    return model.train()


def test_checkpointing_gives_the_same_gradient_and_the_re_entrant_kind_is_refused():
    data = chats()
    _, g = gradients(small().train(), data)
    _, again = gradients(checkpointed(small()), data)
    assert torch.allclose(again, g, rtol=1e-5, atol=1e-8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(RuntimeError, match=r"depends on no parameter that trains.*re-entrant"):
            model = checkpointed(small(), True)
            model.disable_input_require_grads()  # transformers' own way round the trap
            train(model, data, objective=next_token, progress=False)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], ["q_proj", "o_proj", "up_proj", "down_proj"], None])
def test_the_memory_of_a_step_is_the_predicted_one(targets, masked, checkpointing):
    model, rows, length = small(lora=False, layers=9), 2, 40
    if targets is not None:
        add_lora(model, targets, r=3, alpha=6)
    elif checkpointing:
        pytest.skip("the gradients, which come one by one, are larger than the rest")
    model = checkpointed(model) if checkpointing else model.train()
    ids = torch.randint(3, VOCABULARY, (rows, length))
    mask = torch.ones_like(ids)
    mask[0, -4:] = 0 if masked else 1
    batch = {"input_ids": ids, "attention_mask": mask, "labels": ids.clone()}
    batch["labels"][:, :30] = IGNORED
    with TensorMemory() as memory:
        loss, hits = next_token(model, batch)
        loss.backward()
    expected = language_model_bytes(model, rows, length, hits.numel(), checkpointing=checkpointing, masked=masked)
    if not checkpointing:  # there the table's output has a gradient as well
        assert memory.bytes == pytest.approx(expected["gradients"], rel=0.01)
    assert memory.peak == pytest.approx(expected["layers"] + expected["logits"], rel=0.1)
    assert expected["Adam"] == 2 * sum(p.nbytes for p in model.parameters() if p.requires_grad)
    with pytest.raises(ValueError, match="counted=0 must be at least 1"):
        language_model_bytes(model, 1, 1, 0)


def test_tensor_memory_counts_what_lives_and_each_storage_once():
    before = torch.zeros(1000)
    with TensorMemory() as memory:
        a = torch.ones(100)
        b = a.view(10, 10)  # the same storage
        before.add_(1)
        assert memory.bytes == 400
        c = b + 1
        assert memory.bytes == 800
        del a, b
        assert memory.bytes == 400 and c.sum() == 200
    assert 800 <= memory.peak <= 900


@pytest.mark.parametrize("kind", ["LoRA", "full", "QLoRA"])
def test_operations_are_those_that_pytorch_counts(kind):
    model, length = small(lora=False, layers=9), 24
    if kind == "QLoRA":
        quantize(model, ["gate_proj", "up_proj", "down_proj"])
        model.requires_grad_(False)
    if kind != "full":
        add_lora(model, ["q_proj", "v_proj"], r=3, alpha=6)
    ids = torch.randint(3, VOCABULARY, (2, length))
    counter = FlopCounterMode(display=False)
    with counter:
        loss = F.cross_entropy(model(ids).logits.flatten(0, 1), ids.flatten())
        forward = counter.get_total_flops()
        loss.backward()
    attention = 4 * 9 * 48 * length  # PyTorch does not count it on a CPU
    expected = language_model_flops(model, length)
    assert forward / ids.numel() == pytest.approx(expected[0] - attention, rel=0.01)
    backward = counter.get_total_flops() - forward
    assert backward / ids.numel() == pytest.approx(expected[1] - 2 * attention, rel=0.03)


# --- a packed file -----------------------------------------------------------------------------------------------


def test_what_is_no_gguf_file_is_refused_and_nothing_is_written(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"no GGUF at all")
    with pytest.raises((OSError, ValueError)):
        unpack_gguf(tmp_path / "model.gguf", tmp_path / "target")
    assert not (tmp_path / "target").exists()


def tiny_gguf(path):
    """A Llama of one layer in a GGUF file, its feed-forward part in blocks of 8 bits, and a tokenizer of six tokens."""
    import gguf
    import numpy as np

    width, heads, keys, wide, tokens = 32, 4, 2, 64, ["<unk>", "<s>", "</s>", "a", "b", "ab"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(wide)
    writer.add_head_count(heads)
    writer.add_head_count_kv(keys)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // heads)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3, 1, 1, 1])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template("{{ messages[0]['content'] }}")
    rng, kv = np.random.default_rng(0), width // heads * keys
    shapes = {"token_embd": (len(tokens), width), "output_norm": (width,), "blk.0.attn_norm": (width,)}
    shapes |= {"blk.0.ffn_norm": (width,), "blk.0.attn_q": (width, width), "blk.0.attn_k": (kv, width)}
    shapes |= {"blk.0.attn_v": (kv, width), "blk.0.attn_output": (width, width), "blk.0.ffn_gate": (wide, width)}
    shapes |= {"blk.0.ffn_up": (wide, width), "blk.0.ffn_down": (width, wide)}
    weights = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    for name, weight in weights.items():
        if "ffn_" in name and weight.ndim == 2:
            packed = gguf.quants.quantize(weight, gguf.GGMLQuantizationType.Q8_0)
            weights[name] = gguf.quants.dequantize(packed, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(f"{name}.weight", packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(f"{name}.weight", weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return weights


def test_a_gguf_file_becomes_a_folder_with_its_unpacked_weights_in_float16(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    weights = tiny_gguf(tmp_path / "model.gguf")
    unpack_gguf(tmp_path / "model.gguf", tmp_path / "target")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "target", dtype=torch.float32)
    layer = model.model.layers[0]
    for parameter, name in (
        (layer.mlp.up_proj.weight, "blk.0.ffn_up"),
        (layer.mlp.down_proj.weight, "blk.0.ffn_down"),
        (layer.self_attn.v_proj.weight, "blk.0.attn_v"),
        (model.model.embed_tokens.weight, "token_embd"),
        (model.model.norm.weight, "output_norm"),
    ):
        assert torch.equal(parameter, torch.from_numpy(weights[name]).half().float()), name
    assert (model.config.num_key_value_heads, model.config.tie_word_embeddings) == (2, True)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "target")
    assert tokenizer.eos_token == "</s>" and tokenizer.chat_template == "{{ messages[0]['content'] }}"
