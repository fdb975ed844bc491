"""Recorded results carry where they come from; the book's figures have one look."""

import datetime
import json
import re
from pathlib import Path

import gpu_results
import jsonschema
import nbformat
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


RECORDS = sorted(gpu_results.RESULTS.glob("*.json"))
CHAPTERS = sorted((gpu_results.ROOT / "chapters").glob("*.ipynb"))


def test_every_recorded_result_of_the_book_says_where_it_comes_from():
    assert RECORDS
    for path in RECORDS:
        gpu_results.check_record(path)
        content = load_results(path)
        assert content["settings"]["seeds"] == sorted({row["seed"] for row in content["rows"]})


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content["provenance"].pop("driver"),
        lambda content: content["provenance"].update(date="yesterday"),
        lambda content: content["provenance"]["versions"].pop("torch"),
        lambda content: content["settings"].update(seeds=[]),
        lambda content: content["rows"][0].pop("seed"),
        lambda content: content["rows"][0].update(accuracy=float("nan")),
        lambda content: content.update(comment="by hand"),
    ],
)
def test_a_record_that_the_schema_does_not_allow_is_refused(tmp_path, damage):
    path = tmp_path / "sweep.json"
    record(path, ROWS, command="make sweep", seeds=[0, 1], epochs=2)
    gpu_results.check_record(path)
    content = json.loads(path.read_text())
    damage(content)
    path.write_text(json.dumps(content))
    with pytest.raises(jsonschema.ValidationError):
        gpu_results.check_record(path)


def test_every_chapter_with_a_record_of_its_own_is_run_on_a_gpu():
    commands = {load_results(path)["provenance"]["command"] for path in RECORDS}
    recorded = {int(number) for command in commands for number in re.findall(r"run chapter (\d+) with LARGE", command)}
    assert recorded
    assert {int(path.name[:2]) for path in CHAPTERS if gpu_results.has_larger_run(path)} == recorded


def test_without_a_gpu_no_record_is_touched(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(gpu_results, "run", lambda path: pytest.fail("a chapter was run"))
    assert gpu_results.main([str(path) for path in CHAPTERS]) == 2
    assert "no GPU here" in capsys.readouterr().out


def test_on_a_gpu_the_larger_runs_are_recorded_and_the_notebooks_left_alone(tmp_path, monkeypatch, capsys):
    """With a small chapter in place of a real one, and a GPU that is only said to be there."""
    results = tmp_path / "book" / "results"
    results.mkdir(parents=True)
    write = "record('book/results/99_small.json', [{'seed': 0, 'x': 1}], command='run chapter 99', seeds=[0])"
    sources = {
        "99_small": [gpu_results.SWITCH, f"from lora_edu.results import record\n{write}"],
        "98_other": ["raise RuntimeError"],
        "97_wrong": [gpu_results.SWITCH, "raise RuntimeError('out of memory')"],
    }
    for name, cells in sources.items():
        cells = [nbformat.v4.new_code_cell(source) for source in ("import torch", *cells)]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / f"{name}.ipynb")
    before = {path: path.read_bytes() for path in tmp_path.glob("*.ipynb")}
    monkeypatch.setattr(gpu_results, "ROOT", tmp_path)
    monkeypatch.setattr(gpu_results, "RESULTS", results)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    assert gpu_results.main([str(tmp_path / f"{name}.ipynb") for name in sources]) == 1
    shown = capsys.readouterr().out
    assert "98_other" not in shown and "97_wrong.ipynb: a cell failed" in shown and "out of memory" in shown
    assert f"recorded: {Path('book', 'results', '99_small.json')}" in shown and "1 of 2 larger runs done" in shown
    assert {path: path.read_bytes() for path in tmp_path.glob("*.ipynb")} == before


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
