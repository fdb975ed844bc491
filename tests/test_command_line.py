"""`python -m lora_edu train` and `apply`: one sentence for each fault, a kill in the middle that changes nothing.

Most of it runs on an encoder with two layers of width 32, which takes part in everything that the real one does.
"""

import csv
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, BertConfig, BertModel, GPT2Config, GPT2Model, RobertaConfig, RobertaModel

from lora_edu import DataError, fine_tune, load_reviews, load_text_classifier, load_tuned, read_examples
from lora_edu.assets import find
from lora_edu.command_line import main, report_text
from lora_edu.encoders import ModelError, _hub_answers, load_base, longest_input
from lora_edu.peft_config import AdapterFileError

ROOT = Path(__file__).resolve().parent.parent


def tokenizer_into(folder):
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        shutil.copy(find("minilm") / name, folder / name)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A folder with an encoder as transformers writes it, a table of 160 real sentences, and a place to work."""
    folder = tmp_path_factory.mktemp("small")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    torch.manual_seed(0)
    BertModel(BertConfig(**sizes, vocab_size=30522)).save_pretrained(folder / "encoder")
    tokenizer_into(folder / "encoder")
    movies = load_reviews("movies")["train"].take(160)
    rows = [
        ("label", "text"),
        *(("pos" if s > 0 else "neg", t) for t, s in zip(movies.texts, movies.scores, strict=True)),
    ]
    write_table(folder / "movies.csv", rows)
    return folder


def write_table(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.fixture
def command(small, tmp_path):
    """The arguments of a short training into an empty place."""

    def build(out="out", *more, data=None):
        fixed = ["--model", str(small / "encoder"), "--epochs", "2", "--r", "2", "--lr", "0.01", "--device", "cpu"]
        return ["train", str(data or small / "movies.csv"), "--out", str(tmp_path / out), *fixed, *more]

    return build


def refused(arguments, capsys):
    """The one sentence with which a command is refused."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    said = capsys.readouterr()
    assert caught.value.code == 2 and said.out == ""
    *notes, sentence = said.err.splitlines()
    assert all(note.startswith("· ") for note in notes) and "Traceback" not in said.err
    assert sentence.startswith("python -m lora_edu")
    return sentence


@pytest.fixture(scope="module")
def finished(small):
    """A folder that a training has finished, and its report."""
    examples = read_examples(small / "movies.csv")
    settings = {"model": str(small / "encoder"), "epochs": 2, "r": 2, "lr": 0.01, "device": "cpu", "progress": False}
    return small / "finished", fine_tune(examples, small / "finished", **settings)


# --- training ----------------------------------------------------------------------------------------------------


def test_train_writes_an_adapter_and_a_report_and_nothing_else(command, tmp_path, capsys):
    main(command())
    said = capsys.readouterr()
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert said.out == report_text(report) + "\n" and "Traceback" not in said.err
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["adapter_config.json", "adapter_model.safetensors", "report.json"]
    assert report["labels"] == ["neg", "pos"] and report["test"]["n"] == 24
    assert sum(sum(sizes.values()) for sizes in report["data"]["classes"].values()) == 160
    assert report["files"]["adapter_model.safetensors"] == (tmp_path / "out" / names[1]).stat().st_size
    assert len(report["validation"]) == 2
    for found in report["test"]["methods"].values():
        low, high = found["interval"]
        assert low < found["accuracy"] < high and found["accuracy"] == found["right"] / 24


def test_the_order_of_the_rows_changes_nothing(finished, small, tmp_path, capsys, command):
    folder, report = finished
    header, *rows = csv.reader(io.StringIO((small / "movies.csv").read_text(encoding="utf-8")))
    random.Random(3).shuffle(rows)
    main(command("shuffled", data=write_table(tmp_path / "shuffled.csv", [header, *rows])))
    again = json.loads((tmp_path / "shuffled" / "report.json").read_text(encoding="utf-8"))
    assert same_result(tmp_path / "shuffled", folder) and without_run(again) == without_run(report)


def without_run(report):
    return {key: value for key, value in json.loads(json.dumps(report)).items() if key != "run"}


def same_result(left, right):
    return (left / "adapter_model.safetensors").read_bytes() == (right / "adapter_model.safetensors").read_bytes()


def test_another_seed_trains_another_adapter_and_tests_on_the_same_sentences(command, finished, tmp_path, capsys):
    main(command("seed", "--seed", "1"))
    again = json.loads((tmp_path / "seed" / "report.json").read_text(encoding="utf-8"))
    assert not same_result(tmp_path / "seed", finished[0])
    assert again["settings"]["data"] == finished[1]["settings"]["data"]


def test_a_finished_training_is_told_and_not_done_again(command, tmp_path, capsys):
    main(command())
    before, first = (tmp_path / "out" / "report.json").stat().st_mtime_ns, capsys.readouterr().out
    main(command())
    said = capsys.readouterr()
    assert said.out == first and "holds this very training already" in said.err
    assert (tmp_path / "out" / "report.json").stat().st_mtime_ns == before


def test_a_test_file_of_ones_own_is_the_test_part(command, tmp_path, capsys):
    others = load_reviews("movies")["test"].take(40)
    rows = [(t, "pos" if s > 0 else "neg") for t, s in zip(others.texts, others.scores, strict=True)]
    main(command("out", "--test", str(write_table(tmp_path / "test.csv", [("text", "label"), *rows]))))
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["test"]["n"] == 40
    sizes = {name: sum(found.values()) for name, found in report["data"]["classes"].items()}
    assert sizes["train"] + sizes["validation"] == 160 and 22 <= sizes["validation"] <= 26
    capsys.readouterr()
    leaking = write_table(tmp_path / "leaking.csv", [("text", "label"), *rows, (read_examples_first(command), "pos")])
    assert "1 text of the test file can be read in the training file too" in refused(
        command("other", "--test", str(leaking)), capsys
    )


def read_examples_first(command):
    return read_examples(command()[1]).texts[0].upper() + " !"


def test_texts_longer_than_the_model_reads_are_cut_and_told(command, tmp_path, capsys):
    main(command("out", "--max-length", "12"))
    assert "texts have more than 12 tokens, and are read up to there" in capsys.readouterr().err


def test_texts_in_german_and_chinese_are_trained_on_and_labelled(command, tmp_path, capsys):
    rows = [(f"schöner Film, Nummer {i}", "gut") for i in range(20)] + [(f"很差的电影 {i}", "坏") for i in range(20)]
    main(command(data=write_table(tmp_path / "two.csv", [("text", "label"), *rows])))
    capsys.readouterr()
    (tmp_path / "new.txt").write_text("schöner Film\n很差的电影\n", encoding="utf-8")
    main(["apply", str(tmp_path / "out"), str(tmp_path / "new.txt")])
    found = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["text"] for row in found] == ["schöner Film", "很差的电影"]
    assert {row["label"] for row in found} <= {"gut", "坏"}


# --- faults ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        ("text,label\nschön,a\n".encode("cp1252"), "is not in UTF-8: byte 0xf6 in line 2"),
        (b"text,label\na\0,b\n", "zero byte in line 2"),
        (b"review,stars\na,b\n", "has no column 'text'"),
        (b"text,label\na,\n", "line 2: there is no label"),
        (b"text,label\na,x\nb,x\n", "all examples have the label 'x'"),
        (b"text,label\na,x\nb,y\n", "class 'x' has 1 different text, but at least 10 are needed"),
    ],
)
def test_faulty_data_is_refused_before_anything_is_written(command, tmp_path, capsys, content, message):
    (tmp_path / "data.csv").write_bytes(content)
    assert message in refused(command(data=tmp_path / "data.csv"), capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--r", "0"], "rank r=0 must be at least 1"),
        (["--r", "33"], "rank r=33 exceeds min"),
        (["--alpha", "0"], "alpha=0.0 must be a finite number above 0"),
        (["--lr", "-1"], "lr=-1.0 must be a finite number above 0"),
        (["--lr", "nan"], "lr=nan must be a finite number above 0"),
        (["--epochs", "0"], "epochs=0 must be at least 1"),
        (["--batch-size", "0"], "batch_size=0 must be at least 1"),
        (["--checkpoint-every", "0"], "checkpoint_every=0 must be at least 1"),
        (["--max-length", "3"], "max_length=3 leaves no room"),
        (["--max-length", "1000"], "max_length=1000 exceeds the 512 tokens"),
        (["--epochs", "two"], "argument --epochs: invalid int value: 'two'; see python -m lora_edu train --help"),
        (["--encoding", "klingon"], "encoding 'klingon' is unknown"),
        *([] if torch.cuda.is_available() else [(["--device", "cuda"], "device='cuda', but torch sees no GPU here")]),
        (["--model", "./nowhere"], "model './nowhere' is no folder here, nor 'minilm', nor a name at a hub"),
        (["--test", "nowhere.csv"], "nowhere.csv: no such file or directory"),
    ],
)
def test_a_faulty_setting_is_refused_before_anything_is_written(command, tmp_path, capsys, more, message):
    assert message in refused(command("out", *more), capsys)
    assert not (tmp_path / "out").exists()


def test_what_is_missing_on_the_command_line_is_told_in_one_sentence(capsys, tmp_path):
    assert refused([], capsys).startswith("python -m lora_edu: the following arguments are required: fetch|train|apply")
    assert "--out" in refused(["train", "data.csv"], capsys)
    assert refused(["train", str(tmp_path), "--out", "x"], capsys).endswith("is a directory")
    with pytest.raises(SystemExit) as caught:
        main(["train", "--help"])
    said = capsys.readouterr().out
    assert caught.value.code == 0 and "--checkpoint-every" in said and "15 %" in said and "(default: 0.002)" in said


def test_a_folder_with_other_files_or_another_training_is_left_alone(command, finished, tmp_path, capsys):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    assert "is not empty and holds no training" in refused(command("thesis"), capsys)
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter.txt"]
    (tmp_path / "file").write_text("x")
    assert "file is a file: --out names a folder" in refused(command("file"), capsys)

    shutil.copytree(finished[0], tmp_path / "done")
    before = (tmp_path / "done" / "report.json").read_bytes()
    sentence = refused(command("done", "--seed", "7"), capsys)
    assert "belongs to another training (seed is 7 but was 0): give another --out" in sentence
    others = [("text", "label"), *((f"other text {i}", "ab"[i % 2]) for i in range(40))]
    sentence = refused(command("done", data=write_table(tmp_path / "other.csv", others)), capsys)
    assert "belongs to another training (data is " in sentence
    assert (tmp_path / "done" / "report.json").read_bytes() == before
    (tmp_path / "done" / "report.json").write_text("[1]")
    assert "report.json is damaged" in refused(command("done"), capsys)


def test_a_model_that_is_no_encoder_with_safe_weights_is_refused(tmp_path, small, capsys, command):
    folder = tmp_path / "model"
    folder.mkdir()
    assert "has no config.json" in refused(command("out", "--model", str(folder)), capsys)
    shutil.copy(small / "encoder" / "config.json", folder)
    torch.save({}, folder / "pytorch_model.bin")
    assert "has no weights as .safetensors" in refused(command("out", "--model", str(folder)), capsys)
    (folder / "model.safetensors").write_bytes(b"no weights")
    tokenizer_into(folder)
    assert "cannot be read from the folder" in refused(command("out", "--model", str(folder)), capsys)
    GPT2Model(GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=300)).save_pretrained(tmp_path / "gpt")
    tokenizer_into(tmp_path / "gpt")
    settings = json.loads((tmp_path / "gpt" / "tokenizer_config.json").read_text())
    settings["pad_token"] = None
    (tmp_path / "gpt" / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelError, match="no token for padding, as decoders often lack"):
        load_base(str(tmp_path / "gpt"), 2)


def test_a_hub_that_cannot_be_reached_is_told(monkeypatch):
    def unreachable(*arguments, **settings):
        raise OSError("We couldn't connect to\nthe hub")

    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", unreachable)
    with pytest.raises(
        ModelError, match=r"'someone/model' cannot be read from the hub: is the name right.*connect to the"
    ):
        load_base("someone/model", 2)


def test_a_hub_is_asked_once_and_not_for_minutes(monkeypatch):
    monkeypatch.setattr("lora_edu.encoders.getproxies", dict)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert not _hub_answers()
    with pytest.raises(ModelError, match=r"'someone/model' cannot be read from the hub"):
        load_base("someone/model", 2)
    monkeypatch.setattr("lora_edu.encoders.getproxies", lambda: {"https": "http://127.0.0.1:9"})
    assert _hub_answers()


# --- interrupted -------------------------------------------------------------------------------------------------


def hears_ctrl_c():
    """What a shell runs in the background, these tests perhaps, hands its deafness to Ctrl-C down to its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT], ids=["kill", "Ctrl-C"])
def test_a_training_that_was_stopped_goes_on_to_the_very_same_result(command, small, tmp_path, stop, capsys):
    long = ("--epochs", "40", "--checkpoint-every", "3", "--lr", "0.003")
    running = subprocess.Popen(
        [sys.executable, "-m", "lora_edu", *command("stopped", *long)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
        preexec_fn=hears_ctrl_c,
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "stopped" / "checkpoint.pt").exists():
        assert running.poll() is None and time.monotonic() < deadline, running.communicate()
        time.sleep(0.02)
    running.send_signal(stop)
    said = running.communicate(timeout=60)
    assert said[0] == "" and "Traceback" not in said[1]
    assert running.returncode == (130 if stop == signal.SIGINT else -signal.SIGKILL)
    if stop == signal.SIGINT:
        assert said[1].endswith("python -m lora_edu: stopped; the same command goes on from the last checkpoint\n")
    left = {path.name for path in (tmp_path / "stopped").iterdir()}
    assert {"run.json", "checkpoint.pt"} <= left and left.isdisjoint({"report.json", "adapter_config.json"})
    assert 0 < torch.load(tmp_path / "stopped" / "checkpoint.pt")["step"] < 280

    assert "its training is not finished" in refused(
        ["apply", str(tmp_path / "stopped"), str(small / "movies.csv")], capsys
    )
    assert "lr is 0.004 but was 0.003" in refused(command("stopped", *long[:-1], "0.004"), capsys)
    main(command("stopped", *long))
    assert "training goes on" in capsys.readouterr().err
    main(command("in one go", *long))
    assert same_result(tmp_path / "stopped", tmp_path / "in one go")
    reports = [json.loads((tmp_path / name / "report.json").read_text()) for name in ("stopped", "in one go")]
    assert without_run(reports[0]) == without_run(reports[1])


def test_a_kill_between_the_adapter_and_the_report_changes_nothing_either(command, finished, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("lora_edu.fine_tuning.finish", lambda folder, report: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(SystemExit) as caught:
            main(command())
    assert caught.value.code == 130 and not (tmp_path / "out" / "report.json").exists()
    (tmp_path / "out" / ".saving-x").mkdir()
    main(command())
    assert same_result(tmp_path / "out", finished[0])
    assert len(list((tmp_path / "out").iterdir())) == 3


# --- applying ----------------------------------------------------------------------------------------------------


def test_apply_labels_lines_and_tables_alike_and_as_the_report_says(finished, small, tmp_path, capsys):
    main(["apply", str(finished[0]), str(small / "movies.csv")])
    found = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    examples = read_examples(small / "movies.csv")
    assert tuple(row["text"] for row in found) == examples.texts
    assert all(0.5 <= float(row["probability"]) <= 1 for row in found)
    right = sum(row["label"] == label for row, label in zip(found, examples.labels, strict=True))
    assert right > 80

    (tmp_path / "lines.txt").write_text("\n\n".join(examples.texts[:3]), encoding="utf-8")
    main(["apply", str(finished[0]), str(tmp_path / "lines.txt"), "--out", str(tmp_path / "labels.csv")])
    written = (tmp_path / "labels.csv").read_text(encoding="utf-8")
    assert list(csv.DictReader(io.StringIO(written))) == found[:3] and capsys.readouterr().out == ""
    assert not (tmp_path / "labels.csv.partial").exists()


def test_apply_is_a_filter_in_the_shell(finished):
    def run(given):
        arguments = [sys.executable, "-m", "lora_edu", "apply", str(finished[0])]
        return subprocess.run(arguments, input=given, capture_output=True, cwd=ROOT, check=False)

    done = run("schön, gut\n很好\n".encode())
    assert done.returncode == 0 and done.stderr == b""
    assert [row[0] for row in csv.reader(io.StringIO(done.stdout.decode()))] == ["text", "schön, gut", "很好"]
    assert b"\r" not in done.stdout


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_apply_to_no_texts_gives_no_rows(finished, tmp_path, capsys, content):
    (tmp_path / "none.txt").write_bytes(content)
    main(["apply", str(finished[0]), str(tmp_path / "none.txt")])
    said = capsys.readouterr()
    assert said.out == "text,label,probability\n" and "none.txt has no texts" in said.err


def test_apply_refuses_what_it_cannot_read(finished, small, tmp_path, capsys, monkeypatch):
    (tmp_path / "latin.txt").write_bytes("schön\n".encode("latin-1"))
    assert "is not in UTF-8" in refused(["apply", str(finished[0]), str(tmp_path / "latin.txt")], capsys)
    (tmp_path / "ok.txt").write_text("fine\n")
    ok = str(tmp_path / "ok.txt")
    assert "no report.json in" in refused(["apply", str(tmp_path / "nowhere"), ok], capsys)
    assert "no such file" in refused(["apply", str(finished[0]), str(tmp_path / "nowhere.txt")], capsys)
    movies = str(small / "movies.csv")
    assert "has no column 'review'" in refused(["apply", str(finished[0]), movies, "--text", "review"], capsys)
    assert "another base model than 'minilm'" in refused(["apply", str(finished[0]), ok, "--model", "minilm"], capsys)


def test_a_damaged_folder_is_refused_by_apply(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "adapter")
    weights = (tmp_path / "adapter" / "adapter_model.safetensors").read_bytes()
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(weights[:-8] + bytes(8))
    with pytest.raises(AdapterFileError):
        load_tuned(tmp_path / "adapter")
    (tmp_path / "adapter" / "report.json").write_text('{"labels": ["a", "b"]}')
    with pytest.raises(AdapterFileError, match=r"report.json is damaged \(KeyError: 'settings'\)"):
        load_tuned(tmp_path / "adapter")


def test_a_base_that_moved_is_found_where_one_says_and_one_that_changed_is_refused(finished, small, tmp_path):
    shutil.copytree(small / "encoder", tmp_path / "moved")
    texts = ["a fine film", "dull"]
    expected = load_tuned(finished[0]).predict(texts)
    assert load_tuned(finished[0], model=str(tmp_path / "moved")).predict(texts) == expected
    changed = AutoModel.from_pretrained(tmp_path / "moved")
    with torch.no_grad():
        changed.encoder.layer[0].output.dense.bias.add_(1e-3)
    changed.save_pretrained(tmp_path / "moved")
    with pytest.raises(AdapterFileError, match="trained on another base model"):
        load_tuned(finished[0], model=str(tmp_path / "moved"))


def test_no_text_has_no_prediction(finished):
    assert load_tuned(finished[0]).predict([]) == []


# --- other models, other libraries -------------------------------------------------------------------------------


def test_the_adapter_loads_in_peft_with_the_same_logits(finished, small):
    from peft import PeftModel

    tuned = load_tuned(finished[0])
    base, tokenizer = load_base(str(small / "encoder"), 2, seed=99)
    theirs = PeftModel.from_pretrained(base, finished[0]).eval()
    batch = tokenizer(["a fine film", "dull"], padding=True, return_tensors="pt")
    batch = {key: batch[key] for key in ("input_ids", "attention_mask")}
    with torch.no_grad():
        torch.testing.assert_close(theirs(**batch), tuned.model(**batch))


def test_the_packaged_model_is_the_one_of_the_chapters():
    ours, tokenizer = load_base("minilm", 3, seed=5)
    theirs, _ = load_text_classifier(3, seed=5)
    assert longest_input(ours) == 512 and tokenizer.pad_token == "[PAD]"
    assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True))


def test_a_pooler_that_the_task_does_not_use_is_dropped_and_positions_are_counted(tmp_path):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    RobertaModel(RobertaConfig(**sizes, vocab_size=30522, max_position_embeddings=20)).half().save_pretrained(tmp_path)
    tokenizer_into(tmp_path)
    model, _ = load_base(str(tmp_path), 2)
    assert longest_input(model) == 18
    assert not any("pooler" in name for name, _ in model.named_parameters())
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_the_head_is_drawn_from_the_seed_and_the_callers_generator_is_left_alone(small):
    torch.manual_seed(4)
    before = torch.get_rng_state()
    heads = [load_base(str(small / "encoder"), 2, seed=seed)[0].classifier.weight for seed in (1, 1, 2)]
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])
    assert torch.equal(torch.get_rng_state(), before)


def test_fine_tune_says_what_it_refuses_as_the_command_does(small, tmp_path):
    with pytest.raises(DataError, match="there is nothing to tell apart"):
        fine_tune(read_examples(small / "movies.csv").take([0]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_that_cannot_be_written_is_told(command, tmp_path, capsys):
    tmp_path.chmod(0o500)
    assert "permission denied" in refused(command(), capsys)
