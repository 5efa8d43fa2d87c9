"""`firstfault up`: the servers, the deployments, and runs started from the Prefect UI, by a new file, and as a sweep.

Screenshots go to screenshots/ at the repository's root: look at them.
"""

import base64
import contextlib
import http.server
import json
import re
import socket
import stat
import threading
from functools import partial
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient
from sklearn.datasets import load_breast_cancer
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from firstfault.runs.prefect_events import emit

SCREENSHOTS = Path(__file__).parents[2] / "screenshots"


def shot(page, name, seconds=3.0):
    """Save a screenshot once the page has settled."""
    page.wait_for_timeout(int(seconds * 1000))
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


def client_of(up, monkeypatch):
    """MLflow's client, logged in."""
    user, _, password = up.login.partition(":")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", user)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
    return MlflowClient(up.mlflow)


def test_up_says_where_everything_is(up):
    """Both URLs are printed; status finds all three healthy."""
    assert up.prefect in up.printed and up.mlflow in up.printed
    state, *lines = up.run("status").stdout.splitlines()
    assert state.split() == ["state", str(up.home)]
    assert [line.split()[:2] for line in lines[:-1]] == [
        ["prefect", "healthy"],
        ["mlflow", "healthy"],
        ["worker", "healthy"],
    ]
    login = str(up.home / "login")
    assert lines[-1].startswith("log in") and login in lines[-1] and login in up.printed


EVIL = {"Origin": "http://evil.example"}
FOREIGN = {
    "a page of another site": EVIL,
    "a page of another port": {"Origin": "http://127.0.0.1:9"},
    "a file": {"Origin": "null"},
    "a name that is bound to this machine": {"Host": "evil.example"},
    "another port's name": {"Host": "127.0.0.1:9"},
}
"""Requests as a browser sends them for somebody else."""


def requests_of_an_attack(up):
    """Whatever lists or changes something, at each server: the URL, and the body to send."""
    nightly = up.ask("deployments/name/debug/nightly")["id"]
    return [
        (f"{up.prefect}/api/deployments/filter", {}),
        (
            f"{up.prefect}/api/deployments/{nightly}/create_flow_run",
            {"job_variables": {"command": f"touch {up.folder / 'pwned'}"}},
        ),
        (f"{up.prefect}/api/admin/settings", None),
        (f"{up.mlflow}/api/2.0/mlflow/experiments/search", {"max_results": 5}),
        (f"{up.mlflow}/ajax-api/2.0/mlflow/experiments/search?max_results=5", None),
        (f"{up.mlflow}/ajax-api/2.0/mlflow/experiments/create", {"name": "pwned"}),
    ]


@pytest.mark.parametrize("sender", FOREIGN)
def test_what_a_browser_sends_for_somebody_else_is_refused(up, sender):
    """By origin and by Host, for reading and for writing, and whether or not it carries the login."""
    login = {"Authorization": "Basic " + base64.b64encode(up.login.encode()).decode()}
    for url, body in requests_of_an_attack(up):
        assert up.request(url, body, **FOREIGN[sender])[0] == 403, url
        assert up.request(url, body, **FOREIGN[sender], **login)[0] == 403, url
    assert up.request(f"{up.prefect}/api/health", None, **FOREIGN[sender])[0] == 403


def test_without_the_login_nothing_is_told_or_changed(up):
    """Neither to nobody nor to somebody else's login, be it the one of this machine's Prefect profile."""
    other = {"Authorization": "Basic " + base64.b64encode(b"someone:else").decode()}
    for url, body in requests_of_an_attack(up):
        assert up.request(url, body)[0] == up.request(url, body, **other)[0] == 401, url


def test_a_run_cannot_name_what_the_worker_executes(up):
    """With the login too: command, environment and folder of a run are no variables of the work pool."""
    nightly = up.ask("deployments/name/debug/nightly")["id"]
    login = {"Authorization": "Basic " + base64.b64encode(up.login.encode()).decode()}
    for variables in (
        {"command": f"touch {up.folder / 'pwned'}"},
        {"env": {"PYTHONSTARTUP": "x.py"}},
        {"env.PATH": "/tmp"},
        {"working_dir": "/"},
    ):
        status, text = up.request(
            f"{up.prefect}/api/deployments/{nightly}/create_flow_run", {"job_variables": variables}, **login
        )
        assert status == 422, text
    template = up.ask("work_pools/firstfault")["base_job_template"]
    assert "{{" not in json.dumps(template) and not {"command", "env", "working_dir"} & set(
        template["job_configuration"]
    )
    assert not (up.folder / "pwned").exists()


@pytest.mark.parametrize("path", ["events/in", "events/out", "logs/out"])
def test_a_websocket_is_no_way_in(up, path):
    """A foreign origin is refused at the handshake, and a wrong login after it; the owner is let in."""
    address = f"ws://127.0.0.1:{up.port}/api/{path}"
    with pytest.raises(InvalidStatus, match="403"):
        connect(address, origin="http://evil.example", subprotocols=["prefect"])
    for token, answer in (("someone:else", None), (up.login, "auth_success")):
        with connect(address, subprotocols=["prefect"]) as socket_:
            socket_.send(json.dumps({"type": "auth", "token": token}))
            if answer is None:
                with pytest.raises(ConnectionClosed):
                    socket_.recv(30)
            else:
                assert json.loads(socket_.recv(30))["type"] == answer


ATTACK = """async ([url, body]) => {
    const json = {"Content-Type": "application/json"};
    const how = [{method: "POST", body, headers: json}, {method: "POST", body, mode: "no-cors"}, {}];
    const told = [];
    for (const settings of how)
        try {
            const answer = await fetch(url, settings);
            told.push(answer.type === "opaque" ? "opaque" : await answer.text());
        } catch (error) { told.push(String(error)); }
    return told;
}"""


def test_a_page_of_another_origin_learns_and_changes_nothing(up, browser, tmp_path):
    """In Chromium, with the owner logged in beside it: neither by fetch nor by a name bound to this machine."""
    runs = up.ask("flow_runs/count", {"flow_runs": {"tags": {"all_": ["pwned"]}}})
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as evil:
        threading.Thread(target=evil.serve_forever, daemon=True).start()
        user, _, password = up.login.partition(":")
        context = browser.new_context(http_credentials={"username": user, "password": password})
        context.new_page().goto(up.mlflow)
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{evil.server_port}/")
        for url, body in requests_of_an_attack(up):
            body = json.dumps({**(body or {}), "tags": ["pwned"]})
            assert page.evaluate(ATTACK, [url, body]) == [
                "TypeError: Failed to fetch",
                "opaque",
                "TypeError: Failed to fetch",
            ], url
        for server in (up.prefect, up.mlflow):
            assert page.goto(server.replace("127.0.0.1", "evil.example")).status == 403
        evil.shutdown()
    assert (
        up.ask("flow_runs/count", {"flow_runs": {"tags": {"all_": ["pwned"]}}}) == runs == 0
        and not (up.folder / "pwned").exists()
    )
    login = {"Authorization": "Basic " + base64.b64encode(up.login.encode()).decode()}
    assert (
        "pwned"
        not in up.request(f"{up.mlflow}/ajax-api/2.0/mlflow/experiments/search?max_results=50", None, **login)[1]
    )


def test_the_owner_logs_in_at_prefects_form_and_at_mlflows_question(up, page):
    """With the line in the state folder: the deployments are shown there, and the experiments here."""
    page.goto(f"{up.prefect}/deployments")
    page.get_by_text("nightly").first.wait_for(timeout=60_000)
    names = ("nightly", "on-new-dataset", "ablation-sweep", "dataset-watch", "monitor-window", "rollout", "behaviour")
    for name in names:
        assert page.get_by_text(name, exact=True).count() > 0
    shot(page, "prefect-logged-in", 2.0)
    page.goto(f"{up.prefect.replace('127.0.0.1', 'localhost')}/deployments")
    page.locator("input[type=password]").wait_for(timeout=30_000)
    page.goto(f"{up.mlflow}/#/experiments")
    page.get_by_text("Default", exact=True).first.wait_for(timeout=60_000)


def test_a_link_to_a_page_of_prefect_leads_through_its_form(up, browser):
    """A browser that doesn't know the login is asked for it, accused of nothing, and then shows what the link named."""
    page = browser.new_context().new_page()
    with page.expect_response(lambda response: response.status == 401):
        page.goto(f"{up.prefect}/work-pools")
    page.locator("input[type=password]").fill("nobody:nothing")
    page.get_by_role("button", name="Login").click()
    page.get_by_text("Authentication failed").first.wait_for(timeout=30_000)
    page.locator("input[type=password]").fill(up.login)
    page.get_by_role("button", name="Login").click()
    page.wait_for_url(f"{up.prefect}/work-pools", timeout=30_000)
    page.get_by_text("firstfault").first.wait_for(timeout=30_000)
    from playwright.sync_api import expect

    expect(page.get_by_text("Something went wrong")).to_have_count(0, timeout=15_000)


def test_the_login_is_told_to_nobody(up):
    """Its file is for this user alone, and neither a command line nor a log nor what `up` prints holds the password."""
    password = up.login.partition(":")[2]
    assert stat.S_IMODE((up.home / "login").stat().st_mode) == 0o600 and len(password) >= 32
    assert password not in up.printed + up.run("status").stdout
    assert not [
        process.cmdline()
        for process in psutil.process_iter(["cmdline"])
        if password in " ".join(process.info["cmdline"] or [])
    ]
    logs = list((up.home / "services").iterdir())
    assert len(logs) >= 4 and not [log for log in logs if password in log.read_text(errors="replace")]


def test_a_second_up_is_refused_in_one_sentence(up):
    """It already runs."""
    ended = up.run(*up.arguments)
    assert ended.returncode == 2 and re.match(r"firstfault: firstfault is already up at .*\n$", ended.stderr)


def test_a_port_in_use_is_refused_in_one_sentence(up, new_project):
    """The port belongs to the server of another project."""
    other = new_project()
    ended = other.run("up", "--port", up.port, "--mlflow-port", other.mlflow_port)
    assert ended.returncode == 2 and str(up.port) in ended.stderr and len(ended.stderr.strip().splitlines()) == 1


def test_the_deployments_are_registered_with_their_schedules(up, await_that):
    """Nightly by cron, the watch by interval, the sweep by hand, and the trigger on dataset.new."""
    found = {entry["name"]: entry for entry in up.ask("deployments/filter", {})}
    by_hand, looking = {"ablation-sweep", "rollout", "behaviour"}, {"dataset-watch", "monitor-window", "model-watch"}
    assert set(found) == {"nightly", "on-new-dataset", "on-new-model", "on-incident", *by_hand, *looking}
    assert found["nightly"]["schedules"][0]["schedule"]["cron"] == "0 2 * * *"
    assert found["dataset-watch"]["schedules"][0]["schedule"]["interval"] == 60
    automation = next(entry for entry in up.ask("automations/filter", {}) if "on-new-dataset" in entry["name"])
    assert automation["trigger"]["expect"] == ["dataset.new"]
    await_that(lambda: up.ask("flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}), 60)


@pytest.fixture(scope="module")
def runs_of_the_form():
    """What has been started from the form in the Prefect UI."""
    return []


@pytest.fixture
def debugged(up, page, await_that, runs_of_the_form):
    """A run of the deployment `nightly` once it has ended, started from the form in the Prefect UI."""
    if not runs_of_the_form:
        nightly = up.ask("deployments/name/debug/nightly")["id"]
        page.goto(f"{up.prefect}/deployments/deployment/{nightly}/run")
        page.get_by_text("keep_going").wait_for(timeout=30_000)
        for parameter in ("target", "depth", "keep_going", "only"):
            assert page.get_by_text(parameter, exact=False).count() > 0
        shot(page, "prefect-form", 1.0)
        page.get_by_role("button", name="Submit").click()
        page.wait_for_timeout(2000)
        runs = await_that(
            lambda: up.ask(
                "flow_runs/filter",
                {
                    "deployments": {"id": {"any_": [nightly]}},
                    "flow_runs": {"state": {"name": {"not_any_": ["Scheduled", "Late"]}}},
                },
            ),
            60,
        )
        runs_of_the_form.append(up.ended(runs[0]["id"]))
    return runs_of_the_form[0]


def test_a_run_from_the_form_ends_in_its_named_state(up, debugged):
    """The form needs nothing but a click: its target is the one that `init` wrote, which is healthy."""
    assert debugged["state_name"] == "Healthy"
    assert debugged["parameters"]["target"] == f"{up.folder / 'target.py'}:target"


def test_all_commands_and_flows_share_one_state(up, debugged):
    """After `init`, `up` and a run by the worker, `report` finds its report, and there is one state folder."""
    assert str(up.home / "runs") in up.run("report").stdout
    assert list(up.folder.rglob(".firstfault")) == [up.home]


def test_the_flow_run_shows_its_artifacts(up, debugged, page, await_that):
    """One for each layer, one progress, and the verdict with links to report and MLflow run, which the log has too."""
    found = up.ask("artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [debugged["id"]]}}})
    layers = ["data", "preprocessing", "model", "training", "deployment", "safety"]
    assert sorted(entry["key"] for entry in found) == sorted([*layers, "progress", "verdict"])
    text = {entry["key"]: entry["data"] for entry in found}
    address = rf"{re.escape(up.mlflow)}/#/experiments/\d+/runs/\w+"
    assert re.match(
        rf"\[Report\]\({address}/artifacts/report.html\S*\) · \[Run in MLflow\]\({address}\S*\)", text["verdict"]
    )
    assert [layer for layer in layers if not re.search(address, text[layer])] == []
    asked = {"logs": {"flow_run_id": {"any_": [debugged["id"]]}}, "sort": "TIMESTAMP_DESC", "limit": 50}
    report = re.compile(rf"report {address}/artifacts/report.html")
    await_that(lambda: [entry for entry in up.ask("logs/filter", asked) if report.match(entry["message"])], 60)
    page.goto(f"{up.prefect}/runs/flow-run/{debugged['id']}")
    shot(page, "prefect-flow-run", 4.0)
    page.get_by_role("tab", name="Artifacts").or_(page.get_by_text("Artifacts", exact=True)).first.click()
    shot(page, "prefect-artifacts", 3.0)
    assert page.get_by_text("verdict").count() > 0


def test_the_run_tree_is_in_mlflow(up, debugged, page, monkeypatch):
    """A parent with one child per layer."""
    client = client_of(up, monkeypatch)
    experiment = client.get_experiment_by_name("starter").experiment_id
    parent = next(
        run
        for run in client.search_runs([experiment])
        if run.data.tags.get("firstfault.prefect_flow_run_id") == debugged["id"]
    )
    assert parent.data.tags["firstfault.status"] == "healthy" and parent.inputs.dataset_inputs
    page.goto(f"{up.mlflow}/#/experiments/{experiment}/runs")
    page.locator(".ag-row button[data-component-id*=runnamecell]").first.click()
    page.get_by_text("preprocessing").first.wait_for(timeout=30_000)
    shot(page, "mlflow-runs")
    page.goto(f"{up.mlflow}/#/experiments/{experiment}/runs/{parent.info.run_id}")
    page.get_by_text("firstfault.status").first.wait_for(timeout=30_000)
    shot(page, "mlflow-run", 3.0)


def test_the_mlflow_page_opens_as_a_training_run(up, debugged, page, monkeypatch):
    """In a new browser: the run's page, from it the table of verdicts, and its report among the artifacts."""
    client = client_of(up, monkeypatch)
    experiment = client.get_experiment_by_name("starter").experiment_id
    run = client.search_runs([experiment], "tags.verdict = 'healthy'")[0]
    page.goto(f"{up.mlflow}/#/experiments/{experiment}/runs/{run.info.run_id}")
    page.get_by_role("heading", name="✓ healthy").wait_for(timeout=60_000)
    assert page.get_by_text("Evaluation runs").count() == 0
    with page.expect_popup() as opened:
        page.get_by_role("link", name="all verdicts").click()
    table = opened.value
    for column in ("accuracy", "verdict", "faulty_layer", "fault"):
        table.get_by_text(column, exact=True).first.wait_for(timeout=60_000)
    shot(table, "mlflow-verdicts")
    with page.expect_popup() as opened:
        page.get_by_role("link", name="Report", exact=True).click()
    report = opened.value
    report.frame_locator("iframe").get_by_text("No fault found").first.wait_for(timeout=60_000)
    shot(report, "mlflow-artifacts")


def test_all_that_is_kept_is_for_this_user_alone(up, debugged):
    """After `up` and a run: folders 0700, and files 0600, databases, logs and the run's own among them."""
    kept = [up.home, *up.home.rglob("*")]
    assert {"login", "mlflow.db", "prefect.db", "worker.log", "verdict.json", "report.html"} <= {
        path.name for path in kept
    }
    modes = {path: (path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in kept if path.exists()}
    assert {path: mode for path, mode in modes.items() if mode not in ((True, 0o700), (False, 0o600))} == {}


def test_the_report_opens_offline(up, debugged, page):
    """The page asks for nothing over the network, and prints no error."""
    folder = sorted((up.folder / ".firstfault" / "runs").glob("*/report.html"))[-1]
    asked, errors = [], []
    page.on("request", lambda request: asked.append(request.url) if request.url.startswith("http") else None)
    page.on("pageerror", lambda error: errors.append(error))
    page.goto(folder.as_uri())
    shot(page, "report", 1.0)
    assert asked == [] and errors == []


def test_a_dropped_file_starts_a_debug_run_with_it(up, await_that):
    """dataset-watch finds it and emits dataset.new, and the trigger hands its address on."""
    file = up.folder / "data" / "incoming" / "tuesday.csv"
    load_breast_cancer(as_frame=True).frame.sample(400, random_state=1).to_csv(file, index=False)
    up.ended(up.launch("dataset-watch/dataset-watch"), 120)
    deployment = up.ask("deployments/name/debug/on-new-dataset")["id"]
    query = {"deployments": {"id": {"any_": [deployment]}}}
    started = await_that(lambda: up.ask("flow_runs/filter", query), 60)[0]
    assert started["parameters"]["dataset"] == str(file)
    assert up.ended(started["id"])["state_name"] == "Healthy"


def test_an_event_of_a_training_reaches_the_automations(up, monkeypatch, await_that):
    """It is posted to the server of `firstfault up`, with its login."""
    monkeypatch.chdir(up.folder)
    for name in ("PREFECT_API_URL", "FIRSTFAULT_HOME"):
        monkeypatch.delenv(name, raising=False)
    emit("toy.failed", "My training", {"step": 3, "layer": "training"})
    asked = {"filter": {"event": {"name": ["toy.failed"]}}}
    [event] = await_that(lambda: up.ask("events/filter", asked)["events"], 30)
    assert event["resource"]["firstfault.layer"] == "training" and event["payload"]["step"] == 3


def test_an_ablation_sweep_is_launched(up, page, monkeypatch):
    """Its table is an artifact, and every trial a run in MLflow below the sweep's."""
    run = up.ended(up.launch("sweep/ablation-sweep", target="target.py", factors=["lower_rate", "longer"], seeds=2))
    assert run["state_type"] == "COMPLETED"
    found = {
        entry["key"] for entry in up.ask("artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}})
    }
    assert {"ablation-table", "ablation-plot", "progress"} <= found
    client = client_of(up, monkeypatch)
    runs = client.search_runs([client.get_experiment_by_name("starter").experiment_id])
    sweep = next(entry for entry in runs if entry.info.run_name == "sweep")
    trials = [entry for entry in runs if entry.data.tags.get("mlflow.parentRunId") == sweep.info.run_id]
    assert len(trials) == 6 and {trial.data.params["change"] for trial in trials} >= {"unchanged", "4 × the epochs"}
    page.goto(f"{up.prefect}/runs/flow-run/{run['id']}")
    shot(page, "prefect-sweep", 4.0)


def test_down_stops_what_up_started_and_nothing_else(up):
    """A foreign listener survives, the servers are gone, a second down says so; the login stays. The last test here."""
    login = up.login
    with contextlib.closing(socket.socket()) as foreign:
        foreign.bind(("127.0.0.1", 0))
        foreign.listen()
        assert set(up.run("down").stdout.replace(",", "").split()[1:]) == {"worker", "mlflow", "prefect"}
        assert "nothing was running" in up.run("down").stdout
        with contextlib.closing(socket.create_connection(foreign.getsockname(), timeout=5)):
            pass
    assert up.login == login
    for port in (up.port, up.mlflow_port):
        with pytest.raises(OSError), contextlib.closing(socket.create_connection(("127.0.0.1", port), timeout=2)):
            pass
