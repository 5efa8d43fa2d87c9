"""The model that is served over HTTP for a check: it answers to the check, and to nobody else."""

import json
import stat
import urllib.error
import urllib.request

import psutil
from torch import nn

from firstfault import Deployment, Training
from firstfault.depth import Depth
from firstfault.runs.login import header
from firstfault.subject.http_service import Endpoint, beginning_to_serve, requests_for, scoring_server_of, serving
from firstfault.subject.serving import served_of


def words_of(process):
    """The command line of a process; nothing of one that has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def asked(endpoint, body, **headers):
    """The status code of the answer to a request with these headers."""
    request = urllib.request.Request(
        endpoint.url, json.dumps(body).encode(), {"Content-Type": "application/json", **headers}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        return refused.code


def test_the_served_model_answers_to_nobody_else(make):
    """It wants its login, which is on no command line, and refuses foreign hosts and origins; its log is private."""
    subject = make("wine", model=lambda: nn.Linear(13, 3), training=Training(epochs=1))
    good, _ = requests_for(subject)
    with serving(subject) as endpoint:
        login = {"Authorization": header(endpoint.login)}
        assert asked(endpoint, good, **login) == 200
        assert asked(endpoint, good) == asked(endpoint, good, Authorization=header("a:b")) == 401
        assert (
            asked(endpoint, good, **login, Origin="http://evil.example")
            == asked(endpoint, good, **login, Host="evil.example")
            == 403
        )
        children = psutil.Process().children(recursive=True)
        assert children and endpoint.login.partition(":")[2] not in " ".join(map(words_of, children))
        assert stat.S_IMODE((subject.folder / "serve.log").stat().st_mode) == 0o600


def test_a_deployment_of_the_users_own_gets_no_login_of_ours(make):
    """It is asked as any client would."""
    url = "http://127.0.0.1:9/score"
    with serving(make("wine", model=lambda: nn.Linear(13, 3), deployment=Deployment(url=url))) as endpoint:
        assert endpoint == Endpoint(url, None)


def test_a_server_that_nobody_asked_ends_with_its_layer(make):
    """It is begun beside the checks of a layer, and outlives none of them."""
    subject = make("wine", model=lambda: nn.Linear(13, 3), training=Training(epochs=1), deployment=Deployment())
    assert subject.trained.crash is None
    with beginning_to_serve(subject):
        process = subject.made(scoring_server_of).process
        assert process.poll() is None
    assert process.poll() is not None


def test_depth_quick_builds_no_package(make):
    """The trained model itself is what is looked at; packaging belongs to depth standard."""
    subject = make("wine", model=lambda: nn.Linear(13, 3), training=Training(epochs=1), deployment=Deployment())
    subject.depth = Depth.QUICK
    assert served_of(subject).kind == "the trained model" and not (subject.folder / "package").exists()
