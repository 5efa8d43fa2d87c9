"""Free text: planted defects and healthy twins, in several languages and on the prompts of XSTest."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from firstfault.checks.data._free_texts import free_texts
from firstfault.data.languages import language_of
from firstfault.finding import Status

OPENINGS = (
    pd.read_csv(Path(__file__).parents[2] / "safety" / "xstest" / "openings.csv")["opening"]
    .dropna()
    .astype(str)
    .tolist()
)
CHECKS = ("empty_texts", "text_lengths", "boilerplate_texts", "mixed_languages", "garbled_texts")
WORDS = {
    "English": ("the product", "my order", "this coat", "the small lamp", "our room"),
    "German": ("das Produkt", "die Bestellung", "der Mantel", "die kleine Lampe", "unser Zimmer"),
    "French": ("le produit", "la commande", "ce manteau", "la petite lampe", "notre chambre"),
    "Polish": ("ten produkt", "moja paczka", "ten płaszcz", "mała lampa", "nasz pokój"),
}
ENDS = {
    "English": (
        "was not what we had expected",
        "is very good and I like it",
        "came too late for her birthday",
        "has been on the way for a week",
    ),
    "German": (
        "war nicht das, was wir erwartet haben",
        "ist sehr gut und ich mag es",
        "kam zu spät für die Wirtschaft",
        "ist seit einer Woche auf dem Weg",
    ),
    "French": (
        "n'était pas du tout ce que nous avions demandé",
        "est très bon et je suis content",
        "est arrivé trop tard à l'école",
        "est en route depuis une semaine",
    ),
    "Polish": (
        "nie jest taki, jak się spodziewałem",
        "jest bardzo dobry i to jest ważne",
        "przyszedł za późno na te święta",
        "jest w drodze od tygodnia, ale nie ma go",
    ),
}


def sentences(language="English", n=400, seed=0):
    """Sentences of one language, all different."""
    rng = np.random.default_rng(seed)
    picks = zip(
        rng.choice(WORDS[language], n), rng.choice(ENDS[language], n), rng.choice(ENDS[language], n), strict=True
    )
    names = rng.permutation(
        [
            a + b + c
            for a in "klmnprst"
            for b in "aeiou"
            for c in ("nda", "rello", "vi", "tor", "sela", "min", "xa", "que", "ffo", "bari", "du", "gel")
        ]
    )
    return [
        f"{names[row % len(names)].title()}{'' if row < len(names) else names[row % 97]}: {a} {b}, {c}."
        for row, (a, b, c) in enumerate(picks)
    ]


def spoilt(texts, share, spoil, seed=1):
    """Texts of which a share is changed."""
    rows = np.random.default_rng(seed).random(len(texts)) < share
    return [spoil(text) if row else text for text, row in zip(texts, rows, strict=True)]


def misread(text):
    return (text + " déjà vu à l’école").encode().decode("cp1252", "replace")


def mashed(text):
    rng = np.random.default_rng(len(text))
    return " ".join("".join(rng.choice(list("asdfghjklqwrt"), rng.integers(4, 9))) for _ in range(8))


SOURCES = {
    **{language: lambda language=language: sentences(language) for language in WORDS},
    "XSTest": lambda: OPENINGS[:400],
}


def findings(run, subject, check):
    return [finding for finding in run(check, subject) if finding.status in (Status.WARN, Status.FAIL)]


def column(texts):
    """A subject's table: texts, a number and a label."""
    return pd.DataFrame({"text": texts, "size": np.arange(len(texts)) * 1.0, "kind": np.arange(len(texts)) % 2})


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("check", CHECKS)
def test_ordinary_texts_pass(make, run, check, source):
    """Sentences of one language, and a model's answers, have none of the defects."""
    assert findings(run, make(column(SOURCES[source]()), label="kind"), check) == []


@pytest.mark.parametrize("source", ["German", "XSTest"])
@pytest.mark.parametrize(
    ("check", "share", "spoil", "status", "faults"),
    [
        ("empty_texts", 0.05, lambda text: " ", Status.WARN, set()),
        ("empty_texts", 0.1, lambda text: "[deleted]", Status.WARN, set()),
        ("text_lengths", 0.05, lambda text: text * 60, Status.WARN, set()),
        (
            "boilerplate_texts",
            0.3,
            lambda text: f"Ticket {len(text)}{sum(map(ord, text))}: thank you for your message, we will answer soon",
            Status.WARN,
            set(),
        ),
        (
            "mixed_languages",
            0.15,
            lambda text: "Le produit est arrivé trop tard et il ne marche pas du tout",
            Status.WARN,
            set(),
        ),
        ("mixed_languages", 0.15, lambda text: "Товар пришёл поздно и не работает", Status.WARN, set()),
        ("garbled_texts", 0.08, misread, Status.WARN, set()),
        ("garbled_texts", 0.5, misread, Status.FAIL, {"noisy_features"}),
        ("garbled_texts", 0.5, mashed, Status.FAIL, {"noisy_features"}),
        ("garbled_texts", 0.1, lambda text: f"<p>{text}<br /> &nbsp;</p>", Status.WARN, set()),
    ],
    ids=[
        "blank",
        "placeholder",
        "long",
        "boilerplate",
        "French",
        "Russian",
        "misread few",
        "misread",
        "mashed",
        "HTML",
    ],
)
def test_a_planted_defect_is_found(make, run, source, check, share, spoil, status, faults):
    """With its column, and with a fault only where the evidence is strong."""
    found = findings(run, make(column(spoilt(SOURCES[source](), share, spoil)), label="kind"), check)
    assert (
        len(found) == 1
        and str(found[0].where) == "text"
        and found[0].status is status
        and set(found[0].faults) == faults
    )


def test_empty_texts_fail_where_they_are_all_there_is(make, only):
    """A third of the inputs empty, with nothing else to learn from."""
    X = np.array(spoilt(sentences(), 0.35, lambda text: ""), dtype=object)
    found = only("empty_texts", make((X, np.arange(400) % 2)))
    assert found.status is Status.FAIL and set(found.faults) == {"missing_values"}


def test_a_multilingual_corpus_is_no_mixture(make, only):
    """Four languages of equal shares are what the data are about."""
    texts = [text for language in WORDS for text in sentences(language, 100)]
    found = only("mixed_languages", make(column(texts), label="kind"))
    assert found.status is Status.PASS and "several languages" in found.message


def test_findings_show_no_text(make, run):
    """Rows are named by number: a text may name somebody."""
    texts = spoilt(sentences(), 0.5, lambda text: misread(f"Jürgen Vogelsang {text}"))
    for check in CHECKS:
        assert "Vogelsang" not in str([finding.to_json() for finding in run(check, make(column(texts), label="kind"))])


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"city": ["Bern", "San Francisco"] * 30}),
        pd.DataFrame({"code": [f"A {row} B {row}" for row in range(60)]}),
        pd.DataFrame({"x": range(60)}),
        pd.DataFrame({"date": ["2020-01-01 10:00 h"] * 60}),
        pd.DataFrame({"x": [None] * 60}),
        pd.DataFrame({"x": [[1], {"a": 2}] * 30}),
        pd.DataFrame({"x": []}),
    ],
    ids=["cities", "codes", "numbers", "dates", "missing", "objects", "no rows"],
)
def test_other_columns_are_no_free_text(frame):
    """Categories, codes, dates and objects are left to other checks."""
    assert dict(free_texts(frame)) == {}


@pytest.mark.parametrize("source", ["table", "wine", "images", "tokens"])
def test_without_texts_the_checks_are_skipped(make, only, source):
    """With their reason."""
    for check in CHECKS:
        assert only(check, make(source)).status is Status.SKIPPED


@pytest.mark.parametrize("language", WORDS)
def test_languages_are_told_apart(language):
    """Nine tenths of short sentences get their language, and none another's."""
    found = [language_of(text) for text in sentences(language)]
    assert found.count(language) > 0.9 * len(found) and set(found) <= {language, None}


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Toate ființele umane se nasc libere și egale în demnitate și în drepturi.", "Romanian"),
        ("Kaikki ihmiset syntyvät vapaina ja tasavertaisina arvoltaan ja oikeuksiltaan.", "Finnish"),
        ("Minden emberi lény szabadon születik és egyenlő méltósága és joga van.", "Hungarian"),
        ("Всі люди народжуються вільними і рівними у своїй гідності та правах.", "Ukrainian"),
        ("Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền.", "Vietnamese"),
        ("Room smelled of smoke, staff unhelpful.", "English"),
        ("Chambre sale, personnel désagréable.", "French"),
        ("人人生而自由,在尊严和权利上一律平等。", "Chinese"),
        ("すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。", "Japanese"),
    ],
)
def test_a_sentence_without_frequent_words_tells_its_language_too(text, language):
    """Some eighty languages are known by their letters, not by a dozen languages' commonest words."""
    assert language_of(text) == language


@pytest.mark.parametrize("text", ["", "hello", "XBOX 360 HDMI 2 m", "buy now", "12 34"])
def test_a_few_words_tell_no_language(text):
    """There is no guess without evidence."""
    assert language_of(text) is None
