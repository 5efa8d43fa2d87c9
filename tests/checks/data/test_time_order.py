"""Time: values that are none or can't be, order, gaps, spacing, and splits that overlap."""

import datetime

import numpy as np
import pandas as pd
import pytest

from firstfault.checks.data.time_order import _late
from firstfault.data.times import times_of
from firstfault.finding import Layer, Status

CHECKS = (
    "malformed_times",
    "mixed_time_formats",
    "times_out_of_range",
    "dates_out_of_range",
    "late_records",
    "time_gaps",
    "repeated_times",
    "time_overlap",
)


def series(n=400, freq="D", start="2020-01-01", form="%Y-%m-%d %H:%M:%S"):
    """A table with a regular time column as text in some format, or as dates where `form` is None."""
    when = pd.date_range(start, periods=n, freq=freq)
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "when": when.strftime(form) if form else when,
            "x": rng.normal(size=n),
            "unit": np.arange(n) % 4,
            "kind": rng.integers(0, 2, n),
        }
    )


def poisson(n=600, seed=0):
    """A table whose times are the arrivals of a Poisson process."""
    gaps = np.random.default_rng(seed).exponential(3600, n).cumsum()
    return series(n, form=None).assign(when=pd.Timestamp("2021-05-01") + pd.to_timedelta(gaps, "s"))


def business(n=900):
    """Hours of work on weekdays."""
    hours = pd.date_range("2019-01-01", periods=6 * n, freq="h")
    return series(n, form=None).assign(when=hours[(hours.dayofweek < 5) & (hours.hour >= 9) & (hours.hour < 17)][:n])


def halves(frame, at=0.6, to=0.8):
    """Declared splits in the order of the file."""
    a, b = int(len(frame) * at), int(len(frame) * to)
    return frame.iloc[:a], {"validation": frame.iloc[a:b], "test": frame.iloc[b:]}


def put(frame, value, every):
    """The table with every n-th time replaced."""
    return frame.assign(when=frame["when"].astype(object).where(np.arange(len(frame)) % every != 1, value))


def subject_of(make, frame, split=False, **data):
    train, declared = halves(frame) if split else (frame, {})
    return make(train, label="kind", data={"time": "when", **declared, **data})


HEALTHY = {
    "days": series(),
    "German days": series(form="%d.%m.%Y"),
    "American days": series(form="%m/%d/%Y"),
    "dates": series(form=None),
    "hours": series(freq="h"),
    "months": series(60, "MS"),
    "zones": series(form="%Y-%m-%dT%H:%M:%S+02:00"),
    "poisson": poisson(),
    "business": business(),
    "seconds": series().assign(when=np.arange(400) * 60 + 1_600_000_000),
    "steps": series().assign(when=np.arange(400)),
    "years": series().assign(when=np.arange(400) // 10 + 1980),
    "aware": series(form=None).assign(when=lambda f: f["when"].dt.tz_localize("Europe/Oslo")),
    "panel": series().assign(when=lambda f: f["when"].iloc[np.arange(400) // 4].to_numpy()),
    "objects": series(form=None).assign(when=lambda f: f["when"].dt.date),
    "quarters": series().assign(when=[f"{2000 + row // 4} Q{row % 4 + 1}" for row in range(400)]),
}


@pytest.mark.parametrize("split", [False, True], ids=["drawn", "declared"])
@pytest.mark.parametrize("source", HEALTHY)
def test_sound_times_pass(make, run, source, split):
    """Days, hours, arrivals, office hours, steps and panels: no check finds anything."""
    subject = subject_of(make, HEALTHY[source], split, group="unit" if split else None)
    found = [finding for check in CHECKS for finding in run(check, subject)]
    assert [finding for finding in found if finding.status not in (Status.PASS, Status.SKIPPED)] == []


@pytest.mark.parametrize("form", ["%Y-%m-%d %H:%M:%S", "%d.%m.%Y"])
@pytest.mark.parametrize(
    ("check", "value", "fault"),
    [
        ("malformed_times", "soon", "type_change"),
        ("malformed_times", "2020-13-45", "type_change"),
        ("times_out_of_range", "2190-01-01", "out_of_range"),
        ("times_out_of_range", "9999-12-31", "out_of_range"),
        ("times_out_of_range", "0001-01-01 00:00:00", "out_of_range"),
        ("times_out_of_range", "1812-05-05", "out_of_range"),
    ],
)
def test_values_that_are_no_time_fail(make, only, form, check, value, fault):
    """One in fifty fails with its fault and an example; one in four hundred warns."""
    found = only(check, subject_of(make, put(series(form=form), value, 50)))
    assert (
        found.status is Status.FAIL
        and set(found.faults) == {fault}
        and value in found.message
        and str(found.where) == "when"
    )
    few = only(check, subject_of(make, put(series(form=form), value, 400)))
    assert few.status is Status.WARN and few.faults == {}


def test_years_beyond_pandas_are_found_among_objects(make, only):
    """Python's dates reach further than pandas' nanoseconds."""
    frame = put(series(form=None).assign(when=lambda f: f["when"].dt.date), datetime.date(9999, 12, 31), 40)
    assert only("times_out_of_range", subject_of(make, frame)).status is Status.FAIL


def test_missing_times_do_not_end_the_run(make, run):
    """Texts with gaps can't be sorted as they are; the data are read all the same."""
    subject = subject_of(make, put(put(series(), None, 30), "soon", 45))
    found = {check: [finding.status for finding in run(check, subject)] for check in CHECKS}
    assert found["malformed_times"] == [Status.FAIL] and not any(
        Status.ERROR in statuses for statuses in found.values()
    )


def test_a_simulated_calendar_warns_only(make, only):
    """All times in the future are a choice."""
    assert only("times_out_of_range", subject_of(make, series(start="2150-01-01", form=None))).status is Status.WARN


def test_mixed_formats_and_zones_are_named(make, only):
    """German days among ISO days; a zone in every third text."""
    frame = series(form="%Y-%m-%d")
    mixed = frame.assign(when=frame["when"].where(frame.index % 5 != 0, series(form="%d.%m.%Y")["when"]))
    assert "%d.%m.%Y (80)" in only("mixed_time_formats", subject_of(make, mixed)).message
    zoned = series().assign(when=series()["when"].where(np.arange(400) % 3 != 0, series()["when"] + "+02:00"))
    assert "say their time zone" in only("mixed_time_formats", subject_of(make, zoned)).message


def test_late_records_are_counted(make, only):
    """Three of a hundred training rows come ten rows too late; shuffled rows are in no order."""
    frame = series()
    order = np.argsort(np.arange(400) + np.where(np.arange(400) % 33 == 5, 10.5, 0), kind="stable")
    found = only("late_records", subject_of(make, frame.iloc[order], True))
    assert found.status is Status.WARN and found.faults == {} and found.value == pytest.approx(0.03, abs=0.01)
    shuffled = frame.sample(frac=1, random_state=0)
    assert only("late_records", subject_of(make, shuffled, True)).status is Status.PASS


def test_late_rows_equal_a_slow_reference():
    """A row is late when any row before it is later."""
    values = np.random.default_rng(0).integers(0, 50, 80).astype(float)
    slow = [any(values[before] > values[row] for before in range(row)) for row in range(80)]
    assert _late(times_of(pd.Series(values))).tolist() == slow


@pytest.mark.parametrize("source", ["days", "hours", "poisson", "business"])
def test_a_gap_is_found(make, only, source):
    """A third of the rows is cut out of the middle."""
    frame = HEALTHY[source]
    found = only(
        "time_gaps", subject_of(make, frame[(frame.index < len(frame) // 3) | (frame.index > 2 * len(frame) // 3)])
    )
    assert found.status is Status.WARN and "gap" in found.message and found.faults == {}


def test_a_change_of_spacing_is_found(make, only):
    """From days to hours, with the two spacings named."""
    frame = pd.concat([series(200), series(200, "h", "2020-07-19")])
    found = only("time_gaps", subject_of(make, frame))
    assert found.status is Status.WARN and "1 days apart at first" in found.message and "1 hours later" in found.message


def test_repeated_times_of_a_group_are_counted(make, only):
    """A unit has two rows at one time, ten times in a hundred."""
    frame = series()
    frame = pd.concat([frame, frame.iloc[::10]])
    found = only("repeated_times", subject_of(make, frame, group="unit"))
    assert found.status is Status.WARN and found.value == pytest.approx(0.09, abs=0.02)
    assert only("repeated_times", subject_of(make, series(), group="unit")).status is Status.PASS


def test_splits_dealt_out_at_random_fail_where_time_is_declared(make, only):
    """Rows of validation lie before the end of train; a few that do are a warning."""
    frame = series()
    found = only("time_overlap", subject_of(make, frame.sample(frac=1, random_state=0), True))
    assert found.status is Status.FAIL and found.faults == {"split_overlap": 0.6} and found.value > 0.9
    assert only("time_overlap", subject_of(make, frame, True), share=0.0, at_random=0.0).status is Status.PASS
    assert only("time_overlap", subject_of(make, frame, True)).status is Status.PASS


def seasons(form):
    """Two and a half years in which `x` grows, and the share of a class follows the season."""
    frame = series(900, form=form)
    share = np.sin(np.arange(900) / 58) + np.random.default_rng(1).normal(0, 0.3, 900)
    return frame.assign(x=frame.x + np.arange(900) / 150, kind=(share > 0).astype(int))


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("form", [None, "%Y-%m-%d"], ids=["moments", "texts"])
def test_splits_that_follow_train_in_time_may_differ(make, only, form, declared):
    """Declared or not: that inputs and labels move with the season is a warning, where all rows are later."""
    train, later = halves(seasons(form), at=0.7, to=0.85)
    subject = make(train, label="kind", data=later | ({"time": "when"} if declared else {}))
    for name in ("covariate_drift", "label_drift"):
        assert only(name, subject).status is Status.WARN


def test_splits_cut_from_sorted_rows_fail_though_there_are_times(make, only):
    """Times that train and the splits share excuse nothing."""
    train, rest = halves(seasons(None).sort_values(["kind", "x"]), at=0.45, to=0.75)
    assert only("label_drift", make(train, label="kind", data=rest)).status is Status.FAIL


def test_placeholder_dates_of_other_columns_warn(make, run):
    """A due date in the year 9999, and a birth date in 1802; what is personal is not shown."""
    frame = series().assign(due="2031-05-05", date_of_birth="1970-02-03")
    frame.loc[3, "due"], frame.loc[5, "date_of_birth"] = "9999-12-31", "1802-01-01"
    found = run(
        "dates_out_of_range", make(frame, label="kind", data={"test": frame.iloc[:50], "validation": frame.iloc[:50]})
    )
    assert {str(finding.where): finding.status for finding in found} == {
        "due": Status.WARN,
        "date_of_birth": Status.WARN,
    }
    assert "1802" not in str([finding.message for finding in found])


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([], dtype=object),
        pd.Series([None, None], dtype=object),
        pd.Series([np.nan, np.nan]),
        pd.Series([True, False]),
        pd.Series([[1], [2]]),
        pd.Series(["a", "b"]),
        pd.Series(pd.Categorical(["2020-01-01", "x"])),
        pd.Series([np.inf, 1.0]),
        pd.Series(pd.period_range("2020-01", periods=3, freq="M")),
    ],
    ids=["empty", "none", "nan", "bool", "lists", "words", "category", "infinite", "periods"],
)
def test_odd_columns_are_read_or_refused(column):
    """Without an exception, and with one entry per row."""
    times = times_of(column)
    assert times is None or len(times) == len(times.missing) == len(times.malformed) == len(column)


@pytest.mark.parametrize("source", ["wine", "table", "images"])
def test_without_times_the_checks_are_skipped(make, only, source):
    """With their reason."""
    for check in CHECKS:
        assert only(check, make(source)).status is Status.SKIPPED


def test_the_checks_belong_to_the_data_layer():
    """All of them are found by the registry."""
    from firstfault.check import checks_of

    assert set(CHECKS) <= {entry.name for entry in checks_of(Layer.DATA)}


def test_the_first_year_that_a_time_may_have_can_be_set(make, run):
    """Times of 1850 are out of range, unless the target says that its records begin before."""
    frame = series(form=None)
    old = frame.assign(when=frame["when"].where(np.arange(len(frame)) % 20 != 0, pd.Timestamp("1850-06-01")))
    subject = make(old, label="kind", data={"time": "when"})
    [finding] = run("times_out_of_range", subject)
    assert finding.status is Status.FAIL and "before 1900" in finding.message
    [finding] = run("times_out_of_range", subject, first_year=1800)
    assert finding.status is Status.PASS


def load(**columns):
    """A series of hourly numbers, rounded, and columns made of it."""
    rng = np.random.default_rng(0)
    y = pd.Series(10 * np.sin(np.arange(420) / 4) + rng.normal(0, 2, 420).cumsum()).round(2)
    frame = pd.DataFrame({"when": pd.date_range("2024-01-01", periods=420, freq="h"), "x": rng.normal(size=420)})
    return frame.assign(**{name: make(y) for name, make in columns.items()}, y=y).dropna()


LOADS = {
    "the next value": (lambda y: y.shift(-1), Status.FAIL),
    "a centred mean": (lambda y: y.rolling(5, center=True).mean().round(3), Status.FAIL),
    "a mean that takes in its own row": (lambda y: y.rolling(7).mean().round(3), Status.WARN),
    "a lag": (lambda y: y.shift(1), Status.PASS),
    "a mean of earlier rows": (lambda y: y.shift(1).rolling(7).mean(), Status.PASS),
    "a noisy twin of the label": (lambda y: y + np.random.default_rng(1).normal(0, 0.5, len(y)), Status.PASS),
}


@pytest.mark.parametrize("name", LOADS)
def test_columns_that_are_sums_of_later_labels_leak(make, only, name):
    """What is known in time is a sum of earlier labels alone; rows come in any order."""
    column, status = LOADS[name]
    frame = load(made=column).sample(frac=1, random_state=0)
    for data in ({"time": "when"}, {}):
        found = only("later_labels", make(frame, label="y", task="regression", data=data))
        assert found.status is status and (status is Status.PASS or str(found.where) == "made")
