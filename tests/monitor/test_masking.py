"""Personal values: none of them is ever on a disk."""

import json

import pytest

from firstfault.data.privacy.keyed import key_of
from firstfault.monitor import MonitoredASGI, monitored
from firstfault.monitor.analysis import Analyst
from firstfault.monitor.hours import close_hours
from firstfault.monitor.masking import Mask
from firstfault.monitor.record import KEPT_HEADERS
from firstfault.monitor.settings import settings_of
from firstfault.monitor.store import Store

PLANTED = (
    "Ada Lovelace",
    "Lovelace",
    "ada.lovelace@mail.example.org",
    "+41 44 668 18 00",
    "4111 1111 1111 1111",
    "4111111111111111",
    "CH9300762011623852957",
    "756.9217.0769.85",
    "1980-01-31",
    "12 Mill Street",
    "10.20.30.40",
    "hunter2-secret",
    "sk-abcdef0123456789abcdef",
    "c2Vzc2lvbi1jb29raWU",
)
ROW = {
    "name": "Ada Lovelace",
    "email": "ada.lovelace@mail.example.org",
    "phone": "+41 44 668 18 00",
    "credit_card": 4111111111111111,
    "iban": "CH9300762011623852957",
    "date_of_birth": "1980-01-31",
    "password": "hunter2-secret",
    "note": "call Mr Lovelace at +41 44 668 18 00, card 4111 1111 1111 1111, AHV 756.9217.0769.85, 12 Mill Street",
    "age": 44,
}
HEADERS = [
    (b"content-type", b"application/json"),
    (b"authorization", b"Bearer sk-abcdef0123456789abcdef"),
    (b"cookie", b"session=c2Vzc2lvbi1jb29raWU"),
    (b"x-forwarded-for", b"10.20.30.40"),
    (b"user-agent", b"client/1 (ada.lovelace@mail.example.org)"),
    (b"x-request-id", b"ada.lovelace@mail.example.org"),
]
COLUMNS = {"columns": list(ROW), "data": [list(ROW.values())]}
TENSORS = {"inputs": [{"name": name, "shape": [1], "datatype": "BYTES", "data": [ROW[name]]} for name in ROW]}


async def failing(scope, receive, send):
    """A server that quotes what it was given in its errors."""
    body = (await receive())["body"]
    raise KeyError(f"no model for 'Lovelace' of {ROW['name']} in {body.decode()} with api_key=hunter2-secret")


async def echoing(scope, receive, send):
    """A server that greets."""
    await receive()
    body = json.dumps({"greeting": "Hello Ada Lovelace", "to": ROW["email"]}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": body})


async def ask(app, body, path, query):
    """One request to an application."""

    async def receive():
        return {"type": "http.request", "body": body}

    async def send(message):
        """Nobody reads it."""

    scope = {"type": "http", "method": "POST", "path": path, "query_string": query, "headers": HEADERS}
    try:
        await app(scope, receive, send)
    except KeyError:
        return


BODIES = [
    json.dumps(ROW).encode(),
    json.dumps([ROW, ROW]).encode(),
    json.dumps({"deep": [{"customer": ROW}]}).encode(),
    json.dumps({"dataframe_split": COLUMNS}).encode(),
    json.dumps({"dataframe_records": [ROW]}).encode(),
    json.dumps(TENSORS).encode(),
    json.dumps(ROW).encode()[:-2],
    json.dumps({**ROW, "long": "x" * 100_000}).encode(),
    json.dumps({"messages": [{"role": "user", "content": ROW["note"]}], "model": "m"}).encode(),
]
PATHS = [
    ("/predict", b"email=ada.lovelace%40mail.example.org&name=Ada+Lovelace&token=hunter2-secret"),
    ("/users/ada.lovelace@mail.example.org/predict", b""),
    ("/invocations", b""),
    ("/v2/models/m/infer", b""),
    ("/v1/chat/completions", b""),
]


def on_disk(folder):
    """The planted strings that a folder holds, in whatever file."""
    data = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    return [data[max(0, data.index(p.encode()) - 200) :][:300] for p in PLANTED if p.encode() in data]


def test_no_planted_string_is_on_disk(options, recorder, settings):
    """1,000 requests with personal data in bodies, headers, paths, queries, errors and answers leave none of it."""
    import asyncio

    predict = monitored(**options)(lambda row, name: {"greeting": f"Hello {name}", "to": row["email"]})
    apps = [MonitoredASGI(app, **options) for app in (failing, echoing)]
    combinations = [(app, body, *place) for app in apps for body in BODIES for place in PATHS]

    async def serve():
        for number in range(1000 - 40):
            await ask(*combinations[number % len(combinations)])

    asyncio.run(serve())
    for _ in range(40):
        predict(ROW, ROW["name"])
    records = recorder.written()
    assert len(records) == 1000 and Store(settings).losses() == {}
    assert on_disk(settings.folder) == []
    lines = (settings.folder / "segments").rename(settings.folder / "lines")
    for hour in lines.iterdir():
        hour.rename(lines / "2020-01-01T00")
    lines.rename(settings.folder / "segments")
    close_hours(settings, records[0].time)
    written = b"".join(path.read_bytes() for path in settings.folder.rglob("*.parquet"))
    assert written and on_disk(settings.folder) == []
    read = repr(Store(settings).records())
    assert [planted for planted in PLANTED if planted in read] == []


def test_a_model_that_a_request_names_is_masked(tmp_path, captured):
    """What a path calls the model is written in every count: nothing personal of it, either."""
    analyst = Analyst(settings_of(store=tmp_path), b"k" * 32)
    seen = analyst.see(captured(path="/v2/models/ada.lovelace@mail.example.org/infer"))
    assert seen.captured.model.startswith("e-mail •")


def test_what_is_not_personal_stays(recorder, captured):
    """Numbers, categories and the shape of a request can still be looked at."""
    recorder.take(
        captured(
            request=json.dumps(ROW).encode(), request_bytes=len(json.dumps(ROW)), headers=HEADERS[:1], path="/predict"
        )
    )
    (record,) = recorder.written()
    request = json.loads(record.request)
    assert (
        request["age"] == 44 and list(request) == list(ROW) and record.headers == {"content-type": "application/json"}
    )
    assert request["name"].startswith("name •") and "Lovelace" not in record.request


def test_equal_values_have_equal_names_in_one_store(tmp_path):
    """A pseudonym is the same for the same value, in later processes too, and another in another store."""
    one, again, other = (Mask(key_of(tmp_path / name)) for name in ("a", "a", "b"))
    assert one.tree(ROW) == again.tree(ROW) != other.tree(ROW)
    assert (tmp_path / "a" / "key").stat().st_mode & 0o077 == 0
    assert one.identity("ada@mail.example.org") == again.identity("ada@mail.example.org") != "ada@mail.example.org"
    assert one.identity("4bf92f3577b34da6") == "4bf92f3577b34da6"


@pytest.mark.parametrize(
    "text",
    [
        "password: hunter2",
        "'api_key': 'hunter2x'",
        "Authorization=Bearer hunter2x",
        "token=hunter2",
        "Bearer hunter2xyz",
    ],
)
def test_secrets_are_masked_in_any_text(text):
    """What is assigned to the name of a secret is never written."""
    assert "hunter2" not in Mask(b"k" * 32).text(text)


def test_headers_with_secrets_are_not_even_taken_along():
    """What is queued in memory holds no credentials."""
    assert not {b"authorization", b"cookie", b"x-api-key", b"x-forwarded-for"} & KEPT_HEADERS
