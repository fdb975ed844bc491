"""The commands of `python -m lora_edu`: `fetch`, `train` and `apply`.

Whatever is wrong with a file or a setting ends in one sentence on standard error and the exit status 2, before
anything is written. Results go to standard output, all else to standard error.
"""

import argparse
import contextlib
import csv
import io
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

from . import assets
from .applying import load_tuned
from .fine_tuning import fine_tune
from .own_data import TABLES, DataError, read_examples, read_texts

PROGRAM = "python -m lora_edu"
INTERRUPTED, UNREAD = 130, 141  # as shells have it: 128 and the number of the signal, of Ctrl-C and of a closed pipe


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(arguments: list[str] | None = None) -> None:
    """Run the command in `arguments`, by default those of the shell. Exits with 2 for any fault of the input."""
    parser = _parser()
    given = parser.parse_args(arguments)
    with contextlib.suppress(AttributeError):  # a notebook's or a test's stand-in has no encoding to set
        sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    try:
        given.run(given)
    except KeyboardInterrupt:
        hint = "; the same command goes on from the last checkpoint" if given.run is _train else ""
        print(f"\n{PROGRAM}: stopped{hint}", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:  # whoever read our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(UNREAD) from None
    except (ValueError, OSError, FloatingPointError, RuntimeError) as error:
        print(f"{PROGRAM}: {_sentence(error)}", file=sys.stderr)
        raise SystemExit(2) from None


def report_text(report: dict[str, Any]) -> str:
    """The report of `fine_tune` as a few lines to read: what was trained on what, and how good it is beside what."""
    classes, test = report["data"]["classes"], report["test"]
    parts = ", ".join(f"{sum(sizes.values())} {name}" for name, sizes in classes.items())
    labels = ", ".join(f"{label!r}" for label in report["labels"])
    lines = [
        f"data        {parts}; labels {labels}",
        f"trained     {report['trained parameters']:,} of {report['total parameters']:,} parameters, rank "
        f"{report['settings']['r']}, on {report['settings']['model']}",
        f"validation  {'  '.join(f'{accuracy:.1%}' for accuracy in report['validation'])}  after each epoch",
        f"test        share of {test['n']} right, and the 95 % interval",
    ]
    width = max(len(method) for method in test["methods"])
    for method, found in test["methods"].items():
        low, high = found["interval"]
        lines.append(f"            {method:<{width}}  {found['accuracy']:>6.1%}   {low:.1%} to {high:.1%}")
    better, worse, chance = (
        test["only LoRA right"],
        test["only frozen encoder right"],
        test["chance of such a difference"],
    )
    verdict = "chance alone may do that" if chance > 0.05 else "chance alone rarely does that"
    lines.append(f"            only LoRA right {better}, only the frozen encoder {worse}: {verdict} (p = {chance:.2g})")
    lines.append("files       " + ", ".join(f"{name} {size / 1e3:,.1f} kB" for name, size in report["files"].items()))
    return "\n".join(lines)


def _parser() -> _Parser:
    parser = _Parser(prog=PROGRAM, description="Fetch what the chapters use; train LoRA on your own texts; apply it.")
    commands = parser.add_subparsers(required=True, dest="command", metavar="fetch|train|apply")
    fetch = commands.add_parser("fetch", help="download the pretrained model and the reviews, once")
    fetch.set_defaults(run=_fetch)

    train = commands.add_parser(
        "train",
        help="labelled texts in, an adapter and a report out",
        description="Check labelled texts, train LoRA on 70 % of them, and test it beside two baselines on others. "
        "Stopped in the middle, the same command goes on where it was.".replace("%", "%%"),
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    train.add_argument("data", help="a .csv or .tsv file with a header; else lines of label<TAB>text")
    train.add_argument(
        "--out", required=True, metavar="FOLDER", default=argparse.SUPPRESS, help="where the adapter goes"
    )
    train.add_argument("--test", metavar="FILE", default=None, help="test on these; by default on 15 %% of the data")
    train.add_argument(
        "--model", default="minilm", help="minilm, a folder with a transformers encoder, or a name at a hub"
    )
    _add_columns(train, text="text")
    train.add_argument("--label", default="label", metavar="COLUMN", help="the column with the labels")
    for name, kind, default, what in (
        ("epochs", int, 3, "passes over the training part"),
        ("lr", float, 2e-3, "the highest learning rate"),
        ("r", int, 8, "the rank of LoRA"),
        ("alpha", float, 16.0, "its scale: the update is alpha/r times BA"),
        ("batch-size", int, 16, "examples a step"),
        ("max-length", int, 128, "tokens of a text that are read"),
        ("seed", int, 0, "decides the head, the start of A and the order of batches, not the parts"),
        ("checkpoint-every", int, 20, "steps between two checkpoints"),
    ):
        train.add_argument(f"--{name}", type=kind, default=default, help=what)
    train.add_argument("--device", choices=("cpu", "cuda"), default=None, help="by default a GPU if there is one")
    train.set_defaults(run=_train)

    apply = commands.add_parser("apply", help="texts in, labels and probabilities out, as CSV")
    apply.add_argument("adapter", help="the folder that train wrote")
    apply.add_argument("data", nargs="?", default="-", help="a table, or a text a line; by default standard input")
    apply.add_argument("--out", metavar="FILE", default=None, help="by default standard output")
    apply.add_argument("--model", default=None, help="where the base model is, if it was moved")
    _add_columns(apply, text=None)
    apply.set_defaults(run=_apply)
    return parser


def _add_columns(command: argparse.ArgumentParser, text: str | None) -> None:
    command.add_argument("--text", default=text, metavar="COLUMN", help="the column with the texts")
    command.add_argument("--encoding", default="utf-8", help="of the files that are read")


def _fetch(given: argparse.Namespace) -> None:
    assets.fetch()
    print(f"model and data are in {assets.folder()}")


def _train(given: argparse.Namespace) -> None:
    columns = {"text": given.text, "label": given.label, "encoding": given.encoding}
    report = fine_tune(
        read_examples(given.data, **columns),
        given.out,
        test=None if given.test is None else read_examples(given.test, **columns),
        model=given.model,
        r=given.r,
        alpha=given.alpha,
        lr=given.lr,
        epochs=given.epochs,
        batch_size=given.batch_size,
        max_length=given.max_length,
        seed=given.seed,
        device=given.device,
        checkpoint_every=given.checkpoint_every,
        progress=sys.stderr.isatty(),
        say=lambda note: print(f"· {note}", file=sys.stderr),
    )
    print(report_text(report))


def _apply(given: argparse.Namespace) -> None:
    from_stdin = given.data == "-"
    content = sys.stdin.buffer.read() if from_stdin else Path(given.data).read_bytes()
    table = given.text is not None or Path(given.data).suffix.lower() in TABLES
    name = "standard input" if from_stdin else Path(given.data).name
    texts = read_texts(content, name, text=(given.text or "text") if table else None, encoding=given.encoding)
    tuned = load_tuned(given.adapter, given.model)
    if not texts:
        print(f"· {name} has no texts", file=sys.stderr)
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(("text", "label", "probability"))
    writer.writerows((text, label, f"{p:.4f}") for text, (label, p) in zip(texts, tuned.predict(texts), strict=True))
    if given.out is None:
        sys.stdout.write(written.getvalue())
        sys.stdout.flush()
    else:
        partial = Path(f"{given.out}.partial")
        partial.write_text(written.getvalue(), encoding="utf-8", newline="")
        os.replace(partial, given.out)


def _sentence(error: Exception) -> str:
    """The message in one line. What the system reports has the file's name beside it, not in it."""
    if isinstance(error, OSError) and error.filename is not None and not isinstance(error, DataError):
        return f"{error.filename}: {(error.strerror or 'cannot be read').lower()}"
    return " ".join(str(error).split())
