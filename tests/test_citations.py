"""Every cited number stands twice: in the sentence, and in the bibliography or among the figures quoted from it."""

import re
from pathlib import Path

import pytest
from verified_math.citations import UnknownWork, as_printed, load_works

BOOK = Path(__file__).parent.parent / "book"
BIB, QUOTED = BOOK / "references.bib", BOOK / "quoted.yml"
WORKS = load_works(BIB, QUOTED)
ENTRY = "@article{ada1843notes,\n  title = {Notes},\n  author = {Lovelace, Ada},\n  year = {1843}\n}\n"
RECORD = "ada1843notes:\n  - {where: Note G, what: a table, values: [8], read: yes}\n"

SENTENCES = {
    "author, year and id": ("That is a hypothesis (Hu et al. 2021, arXiv:2106.09685, §4.1).", [], ["hu2021lora"]),
    "et al. and a year in brackets": ("Hu et al. (2021) freeze the weights.", [], ["hu2021lora"]),
    "two authors": ("The best one is the truncation (Eckart and Young 1936).", [], ["eckart1936approximation"]),
    "a line break between": ("As in Hutto and\nGilbert 2014.", [], ["hutto2014vader"]),
    "three authors and a comma": ("Hayou, Ghosh and Yu 2024: two learning rates.", [], ["hayou2024loraplus"]),
    "an author of two words": ("Ben Zaken et al. 2021 train biases.", [], ["benzaken2021bitfit"]),
    "an author with an accent": ("OLoRA (Büyükakyüz 2024) starts from QR.", [], ["buyukakyuz2024olora"]),
    "an organization beside the author": ("(Schulman and Thinking Machines Lab 2025)", [], ["schulman2025lora"]),
    "the id alone": ("See arXiv:0909.4061.", [], ["halko2009finding"]),
    "the id with its version": ("See arXiv 2106.09685v2, which adds baselines.", [], ["hu2021lora"]),
    "the id of a work from a journal": ("Rank as a surface: arXiv:1209.3834.", [], ["vandereycken2013lowrank"]),
    "a link to the abstract": ("Edward J. Hu et al., LoRA.", ["https://arxiv.org/abs/2106.09685"], ["hu2021lora"]),
    "a link to the file": ("The paper.", ["http://www.arxiv.org/pdf/2106.09685v2.pdf"], ["hu2021lora"]),
    "arXiv's own DOI": ("The paper.", ["https://doi.org/10.48550/arXiv.2106.09685"], ["hu2021lora"]),
    "a DOI in words": ("Stewart, doi:10.1137/1035134.", [], ["stewart1993early"]),
    "a DOI in a link": ("The book.", ["https://doi.org/10.1137/1.9780898719574"], ["trefethen1997numerical"]),
    "a DOI as a publisher links it": ("X.", ["https://epubs.siam.org/doi/10.1137/0702016"], ["golub1965calculating"]),
    "a page, by http and without its slash": ("X.", ["http://thinkingmachines.ai/blog/lora"], ["schulman2025lora"]),
    "a part of a page": ("loralib.", ["https://github.com/microsoft/LoRA#readme"], ["loralib"]),
    "author and title, the year far off": (
        "Roger A. Horn and Charles R. Johnson, *Matrix Analysis*, 2nd edition, Cambridge University Press 2013: Weyl.",
        [],
        ["horn2013matrix"],
    ),
    "two works": (
        "Mirsky 1960 goes beyond Eckart and Young 1936.",
        [],
        ["eckart1936approximation", "mirsky1960symmetric"],
    ),
    "one of two with the same name and year": ("Zhang et al. 2023, arXiv:2303.10512.", [], ["zhang2023adalora"]),
    "a name without a year": ("Hu is also a surname, and 30,030 is a product.", [], []),
    "a year without a name": ("Set in a 1936 Harlem.", [], []),
    "a name inside another word": ("Huge models were trained in 2021.", [], []),
    "another year first": ("Hu wrote in 2019 and again in 2021.", [], []),
    "a year that goes on": ("Hu et al. counted 20215 and 2021.5 of them.", [], []),
    "another page": ("The source.", ["https://example.org/abs/2106.09685", "07_svd.ipynb"], []),
}


@pytest.mark.parametrize(("text", "links", "keys"), SENTENCES.values(), ids=SENTENCES)
def test_a_sentence_cites_the_works_that_it_names(text, links, keys):
    assert sorted(WORKS.cited_in(text, links)) == keys


@pytest.mark.parametrize(
    ("key", "numerals"),
    {
        "hu2021lora": [
            "2021",
            "2106.09685",
            "4.1",
            "70.4",
            "70.0",
            "73.7",
            "5",
            "7.1",
            "18",
            "12,288",
            "1,449.4",
            "12{,}288",
        ],
        "hutto2014vader": ["20", "−4", "4", "2014", "8", "10,605"],
        "choi1983tricks": ["90", "1983", "301", "312", "10.1080/00029890.1983.11971218"],
        "strang2010linear": ["18.06", "2010"],
        "golub2013matrix": ["4", "2013"],
        "trefethen1997numerical": ["4", "5", "31", "1997", "10.1137/1.9780898719574"],
        "vandereycken2013lowrank": ["1209.3834", "23", "1214", "1236"],
        "halko2009finding": ["0909.4061", "2011", "217", "10.5", "10.6"],
        "lester2021power": ["20,480", "20480"],
        "bitsandbytes": ["-0.6961928009986877", "64"],
    }.items(),
)
def test_numbers_of_the_work_are_allowed(key, numerals):
    assert [numeral for numeral in numerals if WORKS.allows([key], numeral) is None] == []


@pytest.mark.parametrize(
    ("key", "numeral"),
    [
        ("hu2021lora", "2022"),  # a wrong year
        ("hu2021lora", "2106.09686"),  # a wrong digit in the id
        ("hu2021lora", "73.70"),  # another precision
        ("hu2021lora", "74.7"),  # a wrong figure
        ("hu2021lora", "4.3"),  # a section that nobody quoted
        ("hu2021lora", "-70.4"),
        ("hu2021lora", "10000.0"),
        ("choi1983tricks", "313"),
        ("golub1965calculating", "10.1137"),  # a DOI is one number
        ("stewart1993early", "35.4"),
        ("hutto2014vader", "14550"),
        ("strang2010linear", "6"),  # from its address
    ],
)
def test_any_other_number_is_not(key, numeral):
    assert WORKS.allows([key], numeral) is None


def test_a_number_is_found_in_any_of_the_works_cited_and_said_where():
    keys = ["eckart1936approximation", "hu2021lora"]
    assert WORKS.allows(keys, "1936") == ("eckart1936approximation", "year", "1936")
    quote = WORKS.allows(keys, "70.0")
    assert quote is not None and quote.key == "hu2021lora" and "Table 5" in quote.where and "keys alone" in quote.what
    assert WORKS.allows([], "1936") is None


@pytest.mark.parametrize(
    ("printed", "same"),
    [
        ("1{,}449.4", "1449.4"),
        ("10 605", "10605"),
        (r"99.6\,\%", "99.6"),
        ("+2.2 %", "2.2"),
        ("−4", "-4"),
        ("1,2", "1,2"),
    ],
)
def test_only_the_print_of_a_number_is_normalized(printed, same):
    assert as_printed(printed.replace(r"\,", " ")) == same


@pytest.mark.parametrize(
    ("text", "links"),
    [
        ("Hu et al. 2021, arXiv:2106.09658.", []),
        ("arXiv:2106.0968", []),
        ("A paper.", ["https://arxiv.org/abs/1706.03762"]),
        ("A paper.", ["https://doi.org/10.1137/1035135"]),
        ("doi:10.1000/182", []),
        ("Zhang et al. 2023 freeze A.", []),
    ],
)
def test_a_citation_of_no_entry_or_of_several_is_an_error(text, links):
    with pytest.raises(UnknownWork, match=r"in no entry of the bibliography|add an arXiv id or a link"):
        WORKS.cited_in(text, links)


def load(tmp_path, bib, quoted):
    (tmp_path / "references.bib").write_text(bib, encoding="utf-8")
    (tmp_path / "quoted.yml").write_text(quoted, encoding="utf-8")
    return load_works(tmp_path / "references.bib", tmp_path / "quoted.yml")


def test_a_small_bibliography_loads(tmp_path):
    works = load(tmp_path, ENTRY, RECORD)
    assert works.cited_in("Lovelace (1843) has a table.", []) == ["ada1843notes"]
    assert works.allows(["ada1843notes"], "8") == ("ada1843notes", "Note G", "a table")


@pytest.mark.parametrize(
    ("bib", "quoted", "message"),
    {
        "a key not in the bibliography": (ENTRY, RECORD.replace("ada", "eva"), "eva1843notes"),
        "a key twice": (ENTRY, RECORD + RECORD, "ada1843notes stands twice"),
        "a field twice": (ENTRY, RECORD.replace("read: yes", "what: b, read: yes"), "what stands twice"),
        "an entry twice": (ENTRY + ENTRY, RECORD, "ada1843notes"),
        "two entries with one address": (
            ENTRY.replace("}\n}", "},\n  url = {https://a.b/c}\n}")
            + "@misc{b, title={T}, author={B, B}, url={http://a.b/c/}}",
            RECORD,
            "a.b/c",
        ),
        "an entry that cannot be cited": (ENTRY.replace("year", "month"), RECORD, "ada1843notes"),
        "an entry without a title": (ENTRY.replace("title", "titel"), RECORD, "ada1843notes"),
        "a bibliography that does not parse": (ENTRY.replace("{Notes}", "{Notes"), RECORD, "references.bib"),
        "a record without values": (ENTRY, RECORD.replace("values: [8], ", ""), "ada1843notes"),
        "a record with an unknown field": (ENTRY, RECORD.replace("read", "page: 1, read"), "ada1843notes"),
        "a record that is a sentence": (ENTRY, "ada1843notes:\n  - Note G has 8\n", "ada1843notes"),
        "a key without records": (ENTRY, "ada1843notes:\n", "ada1843notes"),
        "values that are no list": (ENTRY, RECORD.replace("[8]", "8"), "ada1843notes, Note G"),
        "a value that is no number": (ENTRY, RECORD.replace("[8]", "[eight]"), "eight"),
        "read neither yes nor no": (ENTRY, RECORD.replace("yes", "maybe"), "read is yes or no"),
        "a wrong via": (ENTRY, RECORD.replace("yes", "no, via: hearsay"), "via can only be secondary"),
        "a list for a mapping": (ENTRY, "- 8\n", "quoted.yml must map"),
        "an empty file": (ENTRY, "", "quoted.yml must map"),
        "YAML that does not parse": (ENTRY, RECORD.replace("]", ""), "quoted.yml cannot be read"),
    }.values(),
)
def test_what_is_wrong_in_the_files_is_named(tmp_path, bib, quoted, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        load(tmp_path, bib, quoted)


def test_every_work_can_be_cited_by_a_sentence():
    for key, work in WORKS.items():
        links = ["https://" + name.removeprefix("url:") for name in work.identifiers if name.startswith("url:")]
        text = " and ".join(name for name in work.identifiers if name.startswith(("arxiv:", "doi:")))
        assert WORKS.cited_in(text or f"{work.surname}, {work.title}", links) == [key]
