"""The login of firstfault's own servers: made once, and never shown to another server."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from firstfault.errors import FirstfaultError
from firstfault.runs.login import client_environment, log_in, login_of
from firstfault.runs.processes import Service, write
from firstfault.runs.state import State

OURS, OURS_MLFLOW = "http://127.0.0.1:45671", "http://127.0.0.1:45672"


@pytest.fixture
def state(tmp_path, monkeypatch):
    """A state whose servers seem to be up: this process stands for them; no server is named by the environment."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    for name in list(os.environ):
        if name.startswith(("PREFECT_", "MLFLOW_TRACKING_")):
            del os.environ[name]
    state = State(tmp_path / ".firstfault")
    state.services.mkdir(parents=True)
    created = psutil.Process().create_time()
    write(
        state,
        [Service("prefect", os.getpid(), created, OURS, ""), Service("mlflow", os.getpid(), created, OURS_MLFLOW, "")],
    )
    return state


def test_a_login_is_made_once(state):
    """Every later call, and every call at the same time, gives the same; nobody else can read it."""
    with ThreadPoolExecutor(8) as pool:
        logins = set(pool.map(login_of, [state] * 16))
    [login] = logins
    assert login_of(state) == login and len(login.partition(":")[2]) >= 32
    assert stat.S_IMODE(state.login.stat().st_mode) == 0o600 and sorted(path.name for path in state.home.iterdir()) == [
        "login",
        "services",
    ]


def test_an_open_login_is_closed(state):
    """One that was copied or restored with other rights is for this user alone again."""
    login_of(state)
    state.login.chmod(0o644)
    login_of(state)
    assert stat.S_IMODE(state.login.stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["", "secret\n", ":secret", "user:", "user:two words", "one:1\ntwo:2\n"])
def test_a_broken_login_is_one_sentence(state, text):
    """It says what must be there, and what helps, without quoting it."""
    state.login.write_text(text)
    with pytest.raises(
        FirstfaultError, match=r"login must hold one line, user:password, but does not; delete it"
    ) as told:
        login_of(state)
    assert "secret" not in str(told.value) and "two words" not in str(told.value)


@pytest.mark.parametrize("url", [None, f"{OURS}/api", f"{OURS.replace('127.0.0.1', 'localhost')}/api/"])
def test_our_own_servers_get_the_login(state, url):
    """Named by the environment in either way, or not at all; a string for another server is replaced."""
    os.environ.update({"PREFECT_API_AUTH_STRING": "their:string", "MLFLOW_TRACKING_URI": OURS_MLFLOW})
    if url:
        os.environ["PREFECT_API_URL"] = url
    log_in(state)
    assert os.environ["PREFECT_API_AUTH_STRING"] == login_of(state) and os.environ.get("PREFECT_API_URL") == url
    assert f"{os.environ['MLFLOW_TRACKING_USERNAME']}:{os.environ['MLFLOW_TRACKING_PASSWORD']}" == login_of(state)


def test_another_server_keeps_its_own_login(state):
    """The user's string and user are left as they are, and where there is none, ours isn't sent."""
    theirs = {"PREFECT_API_URL": "http://10.0.0.1:45671/api", "MLFLOW_TRACKING_URI": "https://mlflow.example:45672"}
    os.environ.update(theirs)
    log_in(state)
    assert not {"PREFECT_API_AUTH_STRING", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"} & set(os.environ)
    own = {
        "PREFECT_API_AUTH_STRING": "their:string",
        "MLFLOW_TRACKING_USERNAME": "me",
        "MLFLOW_TRACKING_PASSWORD": "mine",
    }
    os.environ.update(own)
    log_in(state)
    assert {name: os.environ[name] for name in (*theirs, *own)} == {**theirs, **own} and not state.login.exists()


def test_what_is_started_gets_all_of_it(state):
    """URLs and logins, for both servers."""
    user, _, password = login_of(state).partition(":")
    assert client_environment(state, OURS, OURS_MLFLOW) == {
        "PREFECT_API_URL": f"{OURS}/api",
        "PREFECT_API_AUTH_STRING": f"{user}:{password}",
        "MLFLOW_TRACKING_URI": OURS_MLFLOW,
        "MLFLOW_TRACKING_USERNAME": user,
        "MLFLOW_TRACKING_PASSWORD": password,
    }
