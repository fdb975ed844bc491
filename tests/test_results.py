"""Recorded results carry where they come from; the book's figures have one look."""

import datetime
import json
from pathlib import Path

import pytest
import torch

from lora_edu.plotting import COLORS, use_book_style
from lora_edu.results import PROVENANCE, load_results, record

ROWS = [{"method": "LoRA", "seed": 0, "accuracy": 0.81}, {"method": "LoRA", "seed": 1, "accuracy": 0.82}]


def test_what_is_recorded_is_loaded_with_its_provenance(tmp_path):
    path = tmp_path / "sweep.json"
    record(path, ROWS, command="make sweep", seeds=[0, 1], epochs=2, lr=1e-3)
    content = load_results(path)
    assert content["rows"] == ROWS and content["settings"] == {"seeds": [0, 1], "epochs": 2, "lr": 1e-3}
    provenance = content["provenance"]
    assert set(PROVENANCE) <= set(provenance) and all(provenance[key] for key in PROVENANCE)
    assert provenance["command"] == "make sweep"
    assert provenance["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert datetime.date.fromisoformat(provenance["date"]) <= datetime.date.today()
    assert path.read_text().endswith("}\n")


@pytest.mark.parametrize("missing", ["provenance", "settings", "rows", *(f"provenance.{key}" for key in PROVENANCE)])
def test_a_result_without_its_origin_is_not_shown(tmp_path, missing):
    path = tmp_path / "sweep.json"
    record(path, ROWS, command="make sweep", seeds=[0, 1], epochs=2)
    content = json.loads(path.read_text())
    where, _, key = missing.rpartition(".")
    del (content[where] if where else content)[key]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"sweep.json lacks .*{missing}.*: a result without its origin is not shown"):
        load_results(path)


def test_every_recorded_result_of_the_book_says_where_it_comes_from():
    paths = list((Path(__file__).parent.parent / "book" / "results").glob("*.json"))
    assert paths
    for path in paths:
        content = load_results(path)
        assert content["settings"]["seeds"] == sorted({row["seed"] for row in content["rows"]})


def test_there_must_be_something_to_record(tmp_path):
    for rows, seeds in (([], [0, 1]), (ROWS, [])):
        with pytest.raises(ValueError, match="there is nothing to record"):
            record(tmp_path / "sweep.json", rows, command="make sweep", seeds=seeds)
    assert not list(tmp_path.iterdir())


def test_a_gpu_is_named_with_its_driver(monkeypatch):
    from lora_edu import results

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr(results.subprocess, "run", lambda *a, **k: type("R", (), {"stdout": "550.1\n"}))
    provenance = results._provenance("make sweep")
    assert provenance["device"] == "a GPU" and provenance["driver"].startswith("550.1, CUDA")

    def no_tool(*arguments, **settings):
        raise FileNotFoundError("nvidia-smi")

    monkeypatch.setattr(results.subprocess, "run", no_tool)
    assert results._provenance("make sweep")["driver"].startswith("unknown")


def test_the_processor_is_named_where_linux_does_not_tell_it(monkeypatch):
    from lora_edu.results import _processor

    assert _processor()
    monkeypatch.setattr(Path, "read_text", lambda self: "flags: none")
    assert isinstance(_processor(), str)


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_every_method_has_a_colour_of_its_own_that_shows_on_white():
    methods = [
        COLORS[name] for name in ("LoRA", "full fine-tuning", "head only", "adapter", "prefix", "wrong", "highlight")
    ]
    assert len(set(methods)) == len(methods)
    assert all(1.05 / (luminance(colour) + 0.05) > 2 for colour in methods)


def test_the_style_is_the_same_however_often_it_is_set():
    import matplotlib as mpl

    with mpl.rc_context():
        use_book_style()
        first = dict(mpl.rcParams)
        use_book_style()
        assert dict(mpl.rcParams) == first
        assert mpl.rcParams["figure.facecolor"] == "white"
        assert mpl.rcParams["axes.prop_cycle"].by_key()["color"][0] == COLORS["LoRA"]
