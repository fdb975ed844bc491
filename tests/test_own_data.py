"""A reader's own texts: every fault of a file or of the examples is one sentence, and the parts share no text."""

import csv
import math
import random
from collections import Counter
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest
from torch import nn

from lora_edu import DataError, Examples, clean_examples, overlap, read_examples, split_examples, wilson_interval
from lora_edu.baseline import chance_of_difference, commonest, judge, logits_of
from lora_edu.own_checks import LEAST, SHARES, check_test_part, same_words
from lora_edu.own_data import read_texts


def write(tmp_path, content, name="data.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def many(n=20, labels=("neg", "pos"), text="sentence number {}"):
    texts = tuple(text.format(i) for i in range(n))
    return Examples(texts, tuple(labels[i % len(labels)] for i in range(n)), tuple(range(2, n + 2)))


def join(*parts):
    return Examples(*(sum((getattr(part, field) for part in parts), ()) for field in ("texts", "labels", "lines")))


# --- reading -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("name", ["data.csv", "data.tsv"])
def test_a_table_is_read_with_the_delimiter_that_its_header_has(tmp_path, delimiter, name):
    lines = [["id", "text", "label"], ["1", "well, well; well", "yes"], ["2", 'she said "no"', "no"]]
    with (tmp_path / name).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows(lines)
    read = read_examples(tmp_path / name)
    assert read == Examples(("well, well; well", 'she said "no"'), ("yes", "no"), (2, 3))


def test_a_line_is_the_one_on_which_the_row_begins(tmp_path):
    read = read_examples(write(tmp_path, 'text,label\r\n"one\r\ntwo",a\r\n\r\nthree,b\r\n'))
    assert read.lines == (2, 5) and read.texts == ("one\r\ntwo", "three")


def test_other_columns_are_chosen_by_name_and_order_is_free(tmp_path):
    path = write(tmp_path, "stars,note,review\n5,x,good\n1,y,bad\n")
    assert read_examples(path, text="review", label="stars") == Examples(("good", "bad"), ("5", "1"), (2, 3))


def test_plain_text_has_a_label_a_tab_and_the_rest_of_the_line(tmp_path):
    read = read_examples(write(tmp_path, "pos\tgood\tindeed\n\nneg\tso so\r\n", "data.txt"))
    assert read == Examples(("good\tindeed", "so so"), ("pos", "neg"), (1, 3))


@pytest.mark.parametrize("text", ["Schöne Grüße, Straße", "这部电影很好看", "фильм", "🎬 bon"])
def test_texts_of_any_script_are_read_from_utf8_with_a_mark_or_without(tmp_path, text):
    for mark in ("", "\ufeff"):
        assert read_examples(write(tmp_path, f'{mark}text,label\n"{text}",好\n')) == Examples((text,), ("好",), (2,))


@pytest.mark.parametrize(
    ("encoding", "text"), [("cp1252", "Schöne Grüße"), ("gb18030", "很好看"), ("utf-16", "很好看")]
)
def test_another_encoding_is_read_when_it_is_named_and_refused_when_not(tmp_path, encoding, text):
    path = write(tmp_path, f"text,label\nfine,a\n{text},b\n".encode(encoding))
    assert read_examples(path, encoding=encoding).texts == ("fine", text)
    expected = "is in UTF-16" if encoding == "utf-16" else r"is not in UTF-8: byte 0x\w\w in line 3"
    with pytest.raises(DataError, match=expected):
        read_examples(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"data.csv is empty"),
        (" \n\n", r"data.csv is empty"),
        ("\ufeff", r"data.csv is empty"),
        ("text,label\n", r"data.csv has no examples, only a header"),
        ("text,label\na\0b,x\n", r"zero byte in line 2"),
        ("text|label\na|b\n", r"no column 'text', only 'text\|label'; columns are separated by a comma, a semicolon"),
        ("text,lable\na,b\n", r"no column 'label', only 'text', 'lable'; did you mean 'lable'"),
        ("text;lable\na;b\n", r"no column 'label', only 'text', 'lable'; did you mean 'lable'"),
        ("text,label,label\na,b,c\n", r"2 columns named 'label'"),
        ("text,label\na,x\nb,\nc, \n", r"line 3: there is no label \(and one more\)"),
        ("text,label\n,x\n", r"line 2: there is no text$"),
        ("text,label\na,x\nwell, well,x\n", r"line 3: 3 columns where the header has 2; a text with a comma in it"),
        ("text,label\na,x\nb\nc\nd\n", r"line 3: 1 columns where .* \(and 2 more such lines\)"),
        ('text,label\na,x\n"b,x\nc,x\n', r"line 3: .*; is a quotation mark left open"),
        ('text,label\na,x\n"b" c,x\n', r"line 3: .*quotation mark"),
    ],
)
def test_a_faulty_table_is_refused_in_one_sentence(tmp_path, content, message):
    with pytest.raises(DataError, match=message) as caught:
        read_examples(write(tmp_path, content))
    assert "\n" not in str(caught.value) and str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "pos\tgood\nneg bad\n",
            r"line 2: there is no tab between label and text; a table with a header must be named",
        ),
        ("\tgood\n", "line 1: there is no label"),
        ("pos\t \n", "line 1: there is no text"),
    ],
)
def test_faulty_plain_text_is_refused_in_one_sentence(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read_examples(write(tmp_path, content, "data.txt"))


def test_an_unknown_encoding_and_a_missing_file_are_told(tmp_path):
    with pytest.raises(DataError, match="encoding 'utf-9' is unknown"):
        read_examples(write(tmp_path, "text,label\na,b\n"), encoding="utf-9")
    with pytest.raises(FileNotFoundError):
        read_examples(tmp_path / "none.csv")


def test_texts_to_label_are_lines_or_a_column_and_none_is_no_error(tmp_path):
    assert read_texts(b"one\n\n two \r\n", "x") == ["one", "two"]
    assert read_texts(b"id,text\n1,one\n2,two\n", "x.csv", text="text") == ["one", "two"]
    assert read_texts(b"", "x") == read_texts(b" \n", "x", text="text") == []
    with pytest.raises(DataError, match="x, line 3: there is no text"):
        read_texts(b"id,text\n1,one\n2,\n", "x", text="text")


@settings(max_examples=200)
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_in_one_sentence(tmp_path_factory, content):
    folder = tmp_path_factory.getbasetemp()
    for name in ("any.csv", "any.txt"):
        try:
            read = read_examples(write(folder, content, name))
        except DataError as error:
            assert "\n" not in str(error)
        else:
            assert len(read) > 0 and all(read.texts) and all(label.strip() for label in read.labels)


# --- checking ----------------------------------------------------------------------------------------------------


def test_clean_examples_come_back_as_they_are_with_nothing_to_tell():
    assert clean_examples(many()) == (many(), [])


def test_a_repeated_text_stays_once_and_is_told():
    cleaned, notes = clean_examples(join(many(), many(3)))
    assert cleaned == many() and notes == ["3 repetitions of a text left out"]


def test_a_text_with_two_labels_is_left_out_and_told_with_its_lines():
    torn = Examples(("torn", "torn", "torn"), ("neg", "pos", "neg"), (31, 32, 33))
    cleaned, notes = clean_examples(join(many(), torn))
    assert cleaned == many()
    told = "1 text with several labels left out, the first in line 31 as 'neg' and in line 32 as 'pos'"
    assert notes == [told]


def test_texts_that_differ_in_capitals_and_punctuation_stay_and_are_told():
    alike = Examples(("Sentence NUMBER 4!!",), ("neg",), (99,))
    cleaned, notes = clean_examples(join(many(), alike))
    assert len(cleaned) == 21
    assert notes == ["1 text that differs from another only in capitals or punctuation kept beside it"]


def test_labels_that_differ_by_space_are_one_and_by_capitals_an_error():
    cleaned, notes = clean_examples(many(40, ("neg", "pos", " neg", "pos ")))
    assert set(cleaned.labels) == {"neg", "pos"}
    assert notes == ["labels that differ only by space are taken as one, such as ' neg' and 'neg'"]
    with pytest.raises(DataError, match=r"'Pos' \(10 examples\) and 'pos' \(10\) differ only in capitals"):
        clean_examples(many(40, ("neg", "pos", "neg2", "Pos")))


def test_one_class_or_too_few_of_one_is_refused():
    with pytest.raises(DataError, match="all examples have the label 'pos'"):
        clean_examples(many(labels=("pos",)))
    with pytest.raises(DataError, match=f"class 'rare' has 2 different texts, but at least {LEAST} are needed"):
        clean_examples(join(many(), many(2, ("rare",), "other {}")))
    with pytest.raises(DataError, match="20 labels look like no classes at all"):
        clean_examples(many(labels=[str(i) for i in range(20)]))


def test_copies_do_not_make_a_class_large_enough():
    copies = Examples(tuple("good" + "!" * i for i in range(30)), ("pos",) * 30, tuple(range(30)))
    with pytest.raises(DataError, match="class 'pos' has 1 different text,"):
        clean_examples(join(many(labels=("neg",)), copies))


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("A good film!", "a GOOD  film", True),
        ("Straße", "STRASSE", True),
        ("café", "cafe\u0301", True),
        ("这部电影很好。", "这部电影很好", True),
        ("这部电影很好", "这部电影不好", False),
        ("कि", "का", False),
        (":-)", ":-(", False),
        ("not good", "good", False),
        ("10 of 10", "1 of 10", False),
    ],
)
def test_same_words_sees_words_in_any_script(left, right, same):
    assert (same_words(left) == same_words(right)) == same


# --- splitting ---------------------------------------------------------------------------------------------------

words = st.text(alphabet="abcAB .!", min_size=1, max_size=6)


@settings(max_examples=60)
@given(st.lists(words, min_size=1, max_size=60, unique=True), st.integers(0, 2**16))
def test_parts_share_no_words_lose_nothing_and_do_not_depend_on_the_order(texts, seed):
    base = join(
        many(40), Examples(tuple(texts), tuple("neg" if len(t) % 2 else "pos" for t in texts), (0,) * len(texts))
    )
    parts = split_examples(base)
    assert list(parts) == list(SHARES)
    assert Counter(t for part in parts.values() for t in part.texts) == Counter(base.texts)
    for a in parts:
        for b in parts:
            assert a == b or overlap(parts[a], parts[b]) == []
    order = list(range(len(base)))
    random.Random(seed).shuffle(order)
    again = split_examples(base.take(order))
    assert {name: (p.texts, p.labels) for name, p in again.items()} == {
        n: (p.texts, p.labels) for n, p in parts.items()
    }


@pytest.mark.parametrize("n", [20, 100, 333])
def test_every_class_has_its_share_in_every_part(n):
    examples = many(2 * n, ("rare", "common", "common", "common"))
    parts = split_examples(examples)
    for label in ("rare", "common"):
        size = examples.labels.count(label)
        for name, share in SHARES.items():
            assert abs(parts[name].labels.count(label) - share * size) <= 1.01


def test_a_class_too_small_for_the_parts_is_refused():
    with pytest.raises(DataError, match="class 'neg' has 2 texts, too few for 3 parts"):
        split_examples(many(4))


def test_a_test_file_that_repeats_the_training_file_is_refused_with_both_lines():
    shared = Examples(("SENTENCE, number 7.",), ("pos",), (5,))
    assert overlap(many(), shared) == [(7, 0)] and overlap(many(), many(3, text="other {}")) == []
    with pytest.raises(DataError, match=r"1 text of the test file .* \(the first: line 5 is line 9\)"):
        check_test_part(many(), shared)
    with pytest.raises(DataError, match="the test file has the label 'new'"):
        check_test_part(many(), Examples(("else",), ("new",), (2,)))


# --- intervals and baselines ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("right", "n"), [(0, 1), (1, 1), (0, 45), (45, 45), (33, 45), (1200, 1585)])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
def test_wilson_interval_is_that_of_scipy(right, n, level):
    theirs = binomtest(right, n).proportion_ci(level, method="wilson")
    assert wilson_interval(right, n, level) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_wilson_interval_holds_the_truth_about_as_often_as_it_says():
    n, covered = 45, []
    for p in [i / 100 for i in range(2, 99)]:
        inside = [low <= p <= high for low, high in (wilson_interval(k, n) for k in range(n + 1))]
        covered.append(sum(binom.pmf(k, n, p) for k in range(n + 1) if inside[k]))
    assert min(covered) > 0.88 and abs(sum(covered) / len(covered) - 0.95) < 0.01


@pytest.mark.parametrize("n", range(1, 60))
def test_wilson_interval_holds_the_share_itself_and_ends_in_0_or_1_exactly(n):
    assert wilson_interval(0, n)[0] == 0 and wilson_interval(n, n)[1] == 1
    for right in range(n + 1):
        low, high = wilson_interval(right, n)
        assert 0 <= low <= right / n <= high <= 1 and low < high


@pytest.mark.parametrize("arguments", [(-1, 4), (5, 4), (0, 0), (1, 2, 1.0), (1, 2, 0.0)])
def test_wilson_interval_refuses_what_is_no_share(arguments):
    with pytest.raises(ValueError, match="is no share"):
        wilson_interval(*arguments)


@pytest.mark.parametrize(("better", "worse"), [(7, 3), (0, 5), (4, 4), (0, 0), (60, 31)])
def test_the_chance_of_a_difference_is_that_of_the_sign_test(better, worse):
    theirs = binomtest(better, better + worse).pvalue if better + worse else 1.0
    assert math.isclose(chance_of_difference(better, worse), theirs, rel_tol=1e-9)


def test_the_chance_of_a_difference_is_computed_for_thousands_of_sentences():
    assert Fraction(chance_of_difference(1500, 1500)) == 1 and 0 < chance_of_difference(1500, 1400) < 0.1
    with pytest.raises(ValueError, match="must be counts"):
        chance_of_difference(-1, 2)


def test_the_commonest_label_is_one_that_no_other_beats():
    assert commonest([1, 0, 2, 2, 1]) == 1 and commonest([3]) == 3


def test_logits_come_in_the_order_of_the_rows():
    class Length(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, input_ids, attention_mask):
            assert not self.training
            return (input_ids * attention_mask).sum(dim=1, keepdim=True) * self.scale

    ids = torch.arange(1, 31).reshape(10, 3)
    mask = (torch.arange(3) < torch.tensor([3, 1, 2, 3, 1, 1, 2, 3, 2, 1])[:, None]).long()
    assert torch.equal(
        logits_of(Length().train(), {"input_ids": ids, "attention_mask": mask}, batch_size=4)[:, 0],
        (ids * mask).sum(dim=1).float(),
    )


def test_a_verdict_compares_on_the_same_sentences():
    truth = torch.tensor([0, 0, 1, 1, 1])
    found = judge(
        torch.tensor([1, 1, 0]), truth, torch.tensor([0, 0, 0, 0, 1]), torch.tensor([0, 1, 1, 1, 1]), ("a", "b")
    )
    assert [m["right"] for m in found["methods"].values()] == [3, 3, 4]
    assert list(found["methods"]) == ["always 'b'", "frozen encoder", "LoRA"]
    assert (found["only LoRA right"], found["only frozen encoder right"]) == (2, 1)
    assert found["right of each class"] == {"a": [1, 2], "b": [3, 3]}
    assert found["methods"]["LoRA"]["interval"] == wilson_interval(4, 5)
