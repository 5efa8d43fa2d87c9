"""`firstfault up`: the servers, the deployments, and runs started from the Prefect UI, by a new file, and as a sweep.

Screenshots go to screenshots/ at the repository's root: look at them.
"""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from mlflow import MlflowClient
from sklearn.datasets import load_breast_cancer

SCREENSHOTS = Path(__file__).parents[2] / "screenshots"
CHROMIUM = next((place for place in ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome") if Path(place).exists()), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]


def firstfault(folder, *arguments):
    """Run the command line in a folder, without what other tests set."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "MLFLOW_", "FIRSTFAULT_"))}
    return subprocess.run(
        [sys.executable, "-m", "firstfault.cli", *map(str, arguments)], cwd=folder, env=kept, capture_output=True, text=True,
        timeout=300, check=False,
    )


def free_port():
    """A port that nobody listens on."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Up:
    """A project with its servers."""

    def __init__(self, folder):
        self.folder, self.port, self.mlflow_port = folder, free_port(), free_port()
        self.prefect, self.mlflow = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.mlflow_port}"
        self.arguments = ("up", "--port", self.port, "--mlflow-port", self.mlflow_port)

    def ask(self, path, body=None):
        """The JSON answer of Prefect's API; asked again while it is too busy, as its own client does."""
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"{self.prefect}/api/{path}", data, {"Content-Type": "application/json"})
        for _ in range(20):
            try:
                with urllib.request.urlopen(request, timeout=30) as response:
                    return json.load(response)
            except urllib.error.HTTPError as busy:
                if busy.code != 503:
                    raise
                time.sleep(1)
        raise TimeoutError(path)

    def launch(self, deployment, **parameters):
        """Create a run of a deployment; its id."""
        found = self.ask(f"deployments/name/{deployment}")
        return self.ask(f"deployments/{found['id']}/create_flow_run", {"parameters": parameters})["id"]

    def ended(self, run_id, seconds=240):
        """The flow run once it is in a final state."""
        return wait_for(lambda: (run := self.ask(f"flow_runs/{run_id}"))["state_type"] in FINAL and run, seconds)


FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def wait_for(found, seconds):
    """What `found` gives as soon as it gives something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := found():
            return result
        time.sleep(0.5)
    raise AssertionError("it did not happen in time")


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    """The starter target with `firstfault up`; `down` at the end."""
    project = Up(tmp_path_factory.mktemp("team"))
    firstfault(project.folder, "init", ".")
    (project.folder / "data" / "incoming").mkdir(parents=True)
    ended = firstfault(project.folder, *project.arguments)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    project.printed = ended.stdout
    yield project
    firstfault(project.folder, "down")


@pytest.fixture
def page():
    """A page in Chromium."""
    from playwright.sync_api import sync_playwright

    SCREENSHOTS.mkdir(exist_ok=True)
    with sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser.new_page(viewport={"width": 1440, "height": 1000})
        browser.close()


def shot(page, name, seconds=3.0):
    """Save a screenshot once the page has settled."""
    page.wait_for_timeout(int(seconds * 1000))
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


def test_up_says_where_everything_is(up):
    """Both URLs are printed; status finds all three healthy."""
    assert up.prefect in up.printed and up.mlflow in up.printed
    lines = firstfault(up.folder, "status").stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [["prefect", "healthy"], ["mlflow", "healthy"], ["worker", "healthy"]]


def test_a_second_up_is_refused_in_one_sentence(up):
    """It already runs."""
    ended = firstfault(up.folder, *up.arguments)
    assert ended.returncode == 2 and re.match(r"firstfault: firstfault is already up at .*\n$", ended.stderr)


def test_a_port_in_use_is_refused_in_one_sentence(up, tmp_path):
    """The port belongs to the server of another project."""
    ended = firstfault(tmp_path, "up", "--port", up.port, "--mlflow-port", free_port())
    assert ended.returncode == 2 and str(up.port) in ended.stderr and len(ended.stderr.strip().splitlines()) == 1


def test_four_deployments_are_registered_with_their_schedules(up):
    """Nightly by cron, the watch by interval, the sweep by hand, and the trigger on dataset.new."""
    found = {entry["name"]: entry for entry in up.ask("deployments/filter", {})}
    assert set(found) == {"nightly", "on-new-dataset", "ablation-sweep", "dataset-watch"}
    assert found["nightly"]["schedules"][0]["schedule"]["cron"] == "0 2 * * *"
    assert found["dataset-watch"]["schedules"][0]["schedule"]["interval"] == 60
    automation = next(entry for entry in up.ask("automations/filter", {}) if "on-new-dataset" in entry["name"])
    assert automation["trigger"]["expect"] == ["dataset.new"]
    wait_for(lambda: up.ask("flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}), 60)


@pytest.fixture(scope="module")
def debugged(up):
    """A run of the deployment `nightly`, started from the form in the Prefect UI, once it has ended."""
    from playwright.sync_api import sync_playwright

    SCREENSHOTS.mkdir(exist_ok=True)
    nightly = up.ask("deployments/name/debug/nightly")["id"]
    with sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1440, "height": 1000})
        page.goto(f"{up.prefect}/deployments/deployment/{nightly}/run")
        page.get_by_text("keep_going").wait_for(timeout=30_000)
        for parameter in ("target", "depth", "keep_going", "only"):
            assert page.get_by_text(parameter, exact=False).count() > 0
        shot(page, "prefect-form", 1.0)
        page.get_by_role("button", name="Submit").click()
        page.wait_for_timeout(2000)
        browser.close()
    runs = wait_for(lambda: up.ask("flow_runs/filter", {
        "deployments": {"id": {"any_": [nightly]}}, "flow_runs": {"state": {"name": {"not_any_": ["Scheduled", "Late"]}}}}), 60)
    return up.ended(runs[0]["id"])


def test_a_run_from_the_form_ends_in_its_named_state(debugged):
    """The starter is healthy."""
    assert debugged["state_name"] == "Healthy"


def test_the_flow_run_shows_its_artifacts(up, debugged, page):
    """A markdown summary, a table of findings and a progress for every layer, and links to MLflow."""
    found = up.ask("artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [debugged["id"]]}}})
    assert {"verdict", "mlflow-run", *(f"{layer}-{kind}" for layer in ("data", "model", "training", "deployment")
            for kind in ("summary", "findings", "mlflow", "progress"))} <= {entry["key"] for entry in found}
    page.goto(f"{up.prefect}/runs/flow-run/{debugged['id']}")
    shot(page, "prefect-flow-run", 4.0)
    page.get_by_role("tab", name="Artifacts").or_(page.get_by_text("Artifacts", exact=True)).first.click()
    shot(page, "prefect-artifacts", 3.0)
    assert page.get_by_text("verdict").count() > 0


def test_the_run_tree_is_in_mlflow(up, debugged, page):
    """A parent with one child per layer."""
    client = MlflowClient(up.mlflow)
    experiment = client.get_experiment_by_name("starter").experiment_id
    parent = next(run for run in client.search_runs([experiment])
                  if run.data.tags.get("firstfault.prefect_flow_run_id") == debugged["id"])
    assert parent.data.tags["firstfault.status"] == "healthy" and parent.inputs.dataset_inputs
    page.goto(f"{up.mlflow}/#/experiments/{experiment}/runs")
    page.locator(".ag-row button[data-component-id*=runnamecell]").first.click()
    page.get_by_text("preprocessing").first.wait_for(timeout=30_000)
    shot(page, "mlflow-runs")
    page.goto(f"{up.mlflow}/#/experiments/{experiment}/runs/{parent.info.run_id}")
    page.get_by_text("firstfault.status").first.wait_for(timeout=30_000)
    shot(page, "mlflow-run", 3.0)


def test_the_report_opens_offline(up, debugged, page):
    """The page asks for nothing over the network, and prints no error."""
    folder = sorted((up.folder / ".firstfault" / "runs").glob("*/report.html"))[-1]
    asked, errors = [], []
    page.on("request", lambda request: asked.append(request.url) if request.url.startswith("http") else None)
    page.on("pageerror", lambda error: errors.append(error))
    page.goto(folder.as_uri())
    shot(page, "report", 1.0)
    assert asked == [] and errors == []


def test_a_dropped_file_starts_a_debug_run_with_it(up):
    """dataset-watch finds it, emits dataset.new once, and the trigger hands its address on."""
    file = up.folder / "data" / "incoming" / "tuesday.csv"
    load_breast_cancer(as_frame=True).frame.sample(400, random_state=1).to_csv(file, index=False)
    up.ended(up.launch("dataset-watch/dataset-watch"), 120)
    deployment = up.ask("deployments/name/debug/on-new-dataset")["id"]
    query = {"deployments": {"id": {"any_": [deployment]}}}
    started = wait_for(lambda: up.ask("flow_runs/filter", query), 60)[0]
    assert started["parameters"]["dataset"] == str(file)
    assert up.ended(started["id"])["state_name"] == "Healthy"
    up.ended(up.launch("dataset-watch/dataset-watch"), 120)
    assert len(up.ask("flow_runs/filter", query)) == 1


def test_an_ablation_sweep_is_launched(up, page):
    """Its table is an artifact, and every trial a run in MLflow below the sweep's."""
    run = up.ended(up.launch("sweep/ablation-sweep", target="target.py", factors=["lower_rate", "longer"], seeds=2))
    assert run["state_type"] == "COMPLETED"
    found = {entry["key"] for entry in up.ask("artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}})}
    assert {"ablation-table", "ablation-plot", "sweep-progress"} <= found
    client = MlflowClient(up.mlflow)
    runs = client.search_runs([client.get_experiment_by_name("starter").experiment_id])
    sweep = next(entry for entry in runs if entry.info.run_name == "sweep")
    trials = [entry for entry in runs if entry.data.tags.get("mlflow.parentRunId") == sweep.info.run_id]
    assert len(trials) == 6 and {trial.data.params["change"] for trial in trials} >= {"unchanged", "4 × the epochs"}
    page.goto(f"{up.prefect}/runs/flow-run/{run['id']}")
    shot(page, "prefect-sweep", 4.0)


def test_down_stops_what_up_started_and_nothing_else(tmp_path):
    """A foreign listener survives, the servers are gone, and a second down says so."""
    project = Up(tmp_path)
    firstfault(tmp_path, "init", ".")
    with contextlib.closing(socket.socket()) as foreign:
        foreign.bind(("127.0.0.1", 0))
        foreign.listen()
        assert firstfault(tmp_path, *project.arguments).returncode == 0
        assert set(firstfault(tmp_path, "down").stdout.replace(",", "").split()[1:]) == {"worker", "mlflow", "prefect"}
        assert "nothing was running" in firstfault(tmp_path, "down").stdout
        with contextlib.closing(socket.create_connection(foreign.getsockname(), timeout=5)):
            pass
    for port in (project.port, project.mlflow_port):
        with pytest.raises(OSError), contextlib.closing(socket.create_connection(("127.0.0.1", port), timeout=2)):
            pass
