"""Personal data: what is recognised, what is left alone, and what masks and pseudonyms keep."""

import numpy as np
import pandas as pd
import pytest

from firstfault.data.privacy.known import Known
from firstfault.data.privacy.masking import kind_of, masked, masked_text, masked_tree, personal_columns, pseudonymised

NAMES = [
    f"{first} {last}"
    for first in ("Anna", "John", "Maria", "Xaver", "Peter")
    for last in ("Meier", "Smith", "Rossi", "Novak")
]


def rng():
    return np.random.default_rng(0)


PERSONAL = {
    "ada.lovelace@mail.example.org": "e-mail",
    "+44 20 7946 0958": "phone",
    "(415) 555-2671": "phone",
    "079 123 45 67": "phone",
    "DE89 3704 0044 0532 0130 00": "IBAN",
    "GB82WEST12345698765432": "IBAN",
    "4111 1111 1111 1111": "card",
    "378282246310005": "card",
    "536-22-8701": "national id",
    "756.1234.5678.97": "national id",
    "RSSMRA85T10A562S": "national id",
    "12345678Z": "national id",
    "83.12.45.171": "IP address",
    "2001:db8:85a3:0:0:8a2e:370:7334": "IP address",
    "10 Downing Street": "address",
    "Bahnhofstraße 12": "address",
    "12 rue de la Paix": "address",
    "Mr. Owen Harris": "name",
    "131052-308T": "national id",
    "880320-0016": "national id",
    "710319/2745": "national id",
    "971013-9019902": "national id",
    "2 95 10 99 126 111 93": "national id",
    "BOXW310820HNERXN09": "national id",
    "+290 22158": "phone",
    "+247 40123": "phone",
}


@pytest.mark.parametrize("piece", PERSONAL)
def test_a_personal_piece_is_masked_wherever_it_stands(piece):
    """Its kind is left, and nothing of its value; the text around it stays."""
    for text in (piece, f"please note {piece}, thanks", f"x ({piece}) y"):
        shown = masked_text(text)
        assert shown == text.replace(piece, f"{PERSONAL[piece]} •••")
        assert masked_text(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "2020-01-01 12:30:00",
        "01-02-2020 10:30",
        "0.1234567890123456",
        "1.23456789e+10",
        "[1 2 3 4 5 6 7 8 9 10 11 12]",
        "978-3-16-148410-0",
        "47.3769, 8.5417",
        "123-456",
        "torch==2.13.0.1",
        "version 10.0.0.1",
        "http://127.0.0.1:5000/a",
        "100 of 48,842 rows (2.5 %)",
        "run-20261121-104925-ab12",
        "4111 1111 1111 1112",
        "DE88 3704 0044 0532 0130 00",
        "a@b",
        "3.1415926535 2.7182818284",
        "12:30:45",
        "550e8400-e29b-41d4-a716-446655440000",
        "",
        "AB-12345-C",
        "1 500 000",
        "+1.2345678901",
        "column 12 of Street View",
        "Wirtschaft 2000",
        "RSSMRA85T10A562A",
        "XY23370400440532013000",
        "a gain of +210 000 000",
        "131052-308A",
        "991399-1234",
        "+999123456789",
    ],
)
def test_ordinary_text_is_left_alone(text):
    """Dates, numbers, versions, codes and numbers whose check digits don't hold are shown as they are."""
    assert masked_text(text) == text


COLUMNS = {
    "customer": (NAMES, "name"),
    "reach": ([f"a{row}@x.org" for row in range(20)], "e-mail"),
    "hotline": ([f"+41 79 {row:03d} {row:02d} {row:02d}" for row in range(20)], "phone"),
    "acct": (["DE89370400440532013000"] * 20, "IBAN"),
    "cc": ([4111111111111111] * 20, "card"),
    "tax": ([f"536-22-{row:04d}" for row in range(1, 20)], "national id"),
    "src": ([f"83.12.{row}.{row}" for row in range(1, 20)], "IP address"),
    "home": ([f"{row} Main Street" for row in range(1, 20)], "address"),
    "dob": (["1980-03-01"] * 20, "date of birth"),
    "Date of Birth": ([pd.Timestamp("1980-03-01")] * 20, "date of birth"),
    "mobile": ([791234567] * 20, "phone"),
    "lastName": (["L"], "name"),
    "name": (["Ada"], "name"),
    "Name": (["Braund, Mr. Owen Harris"] * 9, "name"),
    "Phone": ([1234567.0], "phone"),
    "full_name": ([f"Person {row}" for row in range(20)], "name"),
    "passport_no": (["X1234567"] * 9, "national id"),
    "Street": (["Bahnhofstr. 5"] * 9, "address"),
}


@pytest.mark.parametrize("column", COLUMNS)
def test_a_personal_column_is_recognised(column):
    """By the words of its name, or by its values whatever its name is."""
    values, kind = COLUMNS[column]
    assert kind_of(column, values) == kind


def ordinary(n=400):
    """Columns of everyday tables that resemble personal data."""
    draw = rng()
    return pd.DataFrame(
        {
            "price": draw.lognormal(2, 1, n),
            "id": [f"{a}-{b}" for a, b in draw.integers(100, 999, (n, 2))],
            "epoch_ms": draw.integers(15e11, 17e11, n),
            "event_date": pd.date_range("2001-01-01", periods=n).strftime("%Y-%m-%d"),
            "stamp": pd.date_range("2001-01-01", periods=n, freq="h").strftime("%d.%m.%Y %H:%M"),
            "product_code": [f"AB{a:06d}C" for a in draw.integers(0, 999_999, n)],
            "sku": [f"{a:08d}" for a in draw.integers(0, 99_999_999, n)],
            "order": [f"{a:03d}-{b:07d}-{b:07d}" for a, b in draw.integers(100, 999, (n, 2))],
            "big": draw.integers(0, 10**16, n),
            "version": [f"{a}.{b}.{c}.{d}" for a, b, c, d in draw.integers(0, 20, (n, 4))],
            "isbn": ["978-3-16-148410-0"] * n,
            "coordinates": [f"{a:.5f}, {b:.5f}" for a, b in draw.uniform(-90, 90, (n, 2))],
            "scientific": [f"{a:.6e}" for a in draw.normal(size=n)],
            "feature_0": draw.normal(size=n),
            "city": draw.choice(["San Francisco", "New York", "Oslo"], n),
            "native_country": draw.choice(["Peru", "United-States"], n),
            "movie": draw.choice(["The Return of Alice", "King Arthur", "Night in Rome"], n),
            "mac": ["00:1b:44:11:3a:b7"] * n,
            "file_name": ["a.png"] * n,
            "email_opt_in": draw.choice(["yes", "no"], n),
            "phone_type": draw.choice(["iPhone 12", "Pixel 5"], n),
            "mobile": draw.integers(0, 2, n),
            "pan": draw.normal(size=n),
            "name_length": draw.integers(0, 20, n),
            "birth_year": draw.integers(1940, 2010, n),
            "product name": draw.choice(["Grace Hammer", "Oscar Nail"], n),
            "name": draw.choice(["ford pinto", "vw golf"], n),
            "host_name": [f"srv{a}.example.org" for a in range(n)],
            "array": [str(draw.normal(size=4)) for _ in range(n)],
            "uuid": ["550e8400-e29b-41d4-a716-446655440000"] * n,
            "renamed": ["x"] * n,
            "number": ["1234567890"] * n,
            "cell": draw.integers(0, 9, n),
            "nothing": [None] * n,
        }
    )


def test_ordinary_columns_are_not_personal():
    """Prices, codes, dates, versions, coordinates, titles of things: none is taken for personal data, and none is
    changed.
    """
    frame = ordinary()
    assert personal_columns(frame) == []
    pd.testing.assert_frame_equal(masked(frame), frame)


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "diabetes"])
def test_public_tables_are_not_personal(name):
    """The columns of scikit-learn's tables are measurements."""
    import sklearn.datasets

    assert personal_columns(getattr(sklearn.datasets, f"load_{name}")(as_frame=True).frame) == []


def test_adult_is_not_personal():
    """UCI Adult names nobody, for all its `native-country` and `relationship`."""
    adult = pd.DataFrame(
        {
            "age": [39, 50],
            "workclass": ["State-gov", "Private"],
            "fnlwgt": [77516, 83311],
            "education": ["Bachelors", "HS-grad"],
            "education-num": [13, 9],
            "marital-status": ["Never-married", "Divorced"],
            "occupation": ["Adm-clerical", "Sales"],
            "relationship": ["Not-in-family", "Husband"],
            "race": ["White", "Black"],
            "sex": ["Male", "Female"],
            "capital-gain": [2174, 0],
            "hours-per-week": [40, 13],
            "native-country": ["United-States", "Cuba"],
        }
    )
    assert personal_columns(adult) == []


def people():
    return pd.DataFrame(
        {
            "full_name": ["Ada Lovelace", "Anna Müller", None, "Ada Lovelace"],
            "contact": ["ada@m.org", "x@y.com", "x@y.com", None],
            "phone": [41791234567.0, 41791234568.0, np.nan, 41791234567.0],
            "notes": ["Ada Lovelace called", "mail a.b@c.de please", "nothing", "fine"],
            "tags": [["a@b.org", 1], [2], None, [3]],
            "group": pd.Categorical(["x", "y", "x", "q@r.org"]),
            "age": [1, 2, 3, 4],
        },
        index=[7, 3, 5, 1],
    )


def test_masks_show_the_kind_and_keep_everything_else():
    """The rows, columns, missing values and ordinary cells stay; a row's own name is masked in its texts."""
    frame = people()
    shown = masked(frame)
    assert shown["full_name"].tolist() == ["name •••", "name •••", None, "name •••"]
    assert shown["notes"].tolist() == ["name ••• called", "mail e-mail ••• please", "nothing", "fine"]
    assert shown["tags"].tolist()[0] == ["e-mail •••", 1] and shown["group"].tolist() == ["x", "y", "x", "e-mail •••"]
    assert (
        shown["age"].equals(frame["age"])
        and list(shown.columns) == list(frame.columns)
        and shown.index.equals(frame.index)
    )
    assert frame["contact"].iloc[0] == "ada@m.org"


def test_pseudonyms_are_equal_where_values_are():
    """Counts, copies and missing values are those of the values, also between frames."""
    frame = people()
    shown = pseudonymised(frame)
    for name in ("full_name", "contact", "phone"):
        assert shown[name].isna().tolist() == frame[name].isna().tolist()
        assert pd.factorize(shown[name])[0].tolist() == pd.factorize(frame[name])[0].tolist()
    assert pseudonymised(frame.iloc[:1])["full_name"].iloc[0] == shown["full_name"].iloc[0]
    assert "Ada" not in shown.to_string() and "4179" not in shown.to_string() and "@" not in shown.to_string()


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame(),
        pd.DataFrame({"name": []}),
        pd.DataFrame([["a@b.org", 1]], columns=["x", "x"]),
        pd.DataFrame({0: ["a@b.org"], 1: [None]}),
        pd.DataFrame({"email": [None, np.nan]}),
        pd.DataFrame({"x": [{"a": "b@c.org"}, "\ud800"]}),
        pd.DataFrame({"t": pd.to_datetime(["2020-01-01"]), "b": [True]}),
    ],
    ids=["empty", "no rows", "same names", "numbered", "missing", "objects", "types"],
)
def test_odd_tables_are_masked_too(frame):
    """Their shape stays, and no address is left."""
    assert masked(frame).shape == frame.shape == pseudonymised(frame).shape
    assert "@" not in masked(frame).astype(str).to_csv(errors="replace")


def test_known_values_are_masked_where_a_text_quotes_them():
    """Names, parts of a name in quotes, and numbers of personal columns, as exceptions quote them."""
    known = Known([people()])
    assert (
        known.masked("could not convert string to float: 'Anna Müller'")
        == "could not convert string to float: 'name •••'"
    )
    assert known.masked("KeyError: 'Lovelace'") == "KeyError: 'name •••'"
    assert known.masked("41791234568 of Ada Lovelace is odd") == "phone ••• of name ••• is odd"
    assert known.masked("5 of 4 rows of train have age 3, Anna too") == "5 of 4 rows of train have age 3, Anna too"


def test_without_personal_columns_nothing_is_known():
    """Texts are masked by their own patterns alone."""
    assert Known([ordinary(), np.zeros((3, 3)), None]).masked("New York and a@b.org") == "New York and e-mail •••"


def test_a_tools_result_keeps_its_counts_and_settings():
    """Values of a personal column become pseudonyms; counts, positions, types and patterns stay."""
    entry = {
        "expectation_config": {
            "type": "expect_x",
            "kwargs": {"column": "full_name", "regex": "^A.*$", "mostly": 0.9, "value_set": ["Ada"]},
        },
        "result": {
            "unexpected_count": 2,
            "partial_unexpected_list": ["Bob", "Bob"],
            "unexpected_index_list": [3, 4],
            "observed_value": "object",
        },
    }
    shown = masked_tree([entry, {"kwargs": {"column": "age"}, "value": "Bob, b@c.org"}], {"full_name": "name"})
    assert "Ada" not in str(shown[0]) and "Bob" not in str(shown[0])
    assert (
        shown[0]["expectation_config"]["kwargs"]["regex"] == "^A.*$"
        and shown[0]["expectation_config"]["kwargs"]["mostly"] == 0.9
    )
    result = shown[0]["result"]
    assert (
        result["unexpected_count"] == 2
        and result["unexpected_index_list"] == [3, 4]
        and result["observed_value"] == "object"
    )
    assert len(set(result["partial_unexpected_list"])) == 1 and shown[1]["value"] == "Bob, e-mail •••"
