"""A project with the servers of `firstfault up`, asked as its owner asks them, and as nobody should."""

import base64
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from firstfault.runs.processes import free_port

THEIRS = "someone:else"
PROFILE = f"""active = "theirs"
[profiles.theirs]
PREFECT_API_URL = "http://127.0.0.1:9/api"
PREFECT_API_KEY = "pnu_theirs"
PREFECT_API_AUTH_STRING = "{THEIRS}"
PREFECT_SERVER_API_AUTH_STRING = "{THEIRS}"
PREFECT_SERVER_CORS_ALLOWED_ORIGINS = "*"
"""
CHROMIUM = next(
    (
        place
        for place in ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")
        if Path(place).exists()
    ),
    None,
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def basic(login):
    """The header that carries a login."""
    return {"Authorization": "Basic " + base64.b64encode(login.encode()).decode()}


class Up:
    """A project with its servers; the machine's Prefect profile is somebody else's."""

    def __init__(self, folder):
        self.folder, self.home = folder, folder / ".firstfault"
        self.port, self.mlflow_port = free_port(), free_port()
        self.prefect, self.mlflow = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.mlflow_port}"
        self.arguments = ("up", "--port", self.port, "--mlflow-port", self.mlflow_port)
        (folder / "home" / ".prefect").mkdir(parents=True)
        (folder / "home" / ".prefect" / "profiles.toml").write_text(PROFILE)

    @property
    def login(self):
        """The login of the servers, `user:password`."""
        return (self.home / "login").read_text().strip()

    def run(self, *arguments, **variables):
        """Run the command line in the project, without what other tests set."""
        kept = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("PREFECT_", "MLFLOW_", "FIRSTFAULT_"))
        }
        return subprocess.run(
            [sys.executable, "-m", "firstfault.cli.app", *map(str, arguments)],
            cwd=self.folder,
            env={**kept, "HOME": str(self.folder / "home"), **variables},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def request(self, url, body=None, **headers):
        """The status and the text of an answer to a request that has these headers only."""
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read().decode()

    def ask(self, path, body=None):
        """The JSON answer of Prefect's API to its owner; asked again while it is too busy, as its own client does."""
        for _ in range(20):
            status, text = self.request(f"{self.prefect}/api/{path}", body, **basic(self.login))
            if status != 503:
                assert status < 300, (status, text)
                return json.loads(text)
            time.sleep(1)
        raise TimeoutError(path)

    def launch(self, deployment, **parameters):
        """Create a run of a deployment; its id."""
        found = self.ask(f"deployments/name/{deployment}")
        return self.ask(f"deployments/{found['id']}/create_flow_run", {"parameters": parameters})["id"]

    def ended(self, run_id, seconds=240):
        """The flow run once it is in a final state."""
        return wait_for(lambda: (run := self.ask(f"flow_runs/{run_id}"))["state_type"] in FINAL and run, seconds)


def wait_for(found, seconds):
    """What `found` gives as soon as it gives something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := found():
            return result
        time.sleep(0.5)
    raise AssertionError("it did not happen in time")


@pytest.fixture(scope="session")
def await_that():
    """`wait_for`, which test modules can't import from here."""
    return wait_for


@pytest.fixture(scope="module")
def new_project(tmp_path_factory):
    """Make a project with the starter target, whose servers are not up yet; whatever is up at the end is stopped."""
    made = []

    def make():
        project = Up(tmp_path_factory.mktemp("team"))
        project.run("init", ".")
        made.append(project)
        return project

    yield make
    for project in made:
        project.run("down")


@pytest.fixture(scope="module")
def up(new_project):
    """The starter target with `firstfault up`."""
    project = new_project()
    (project.folder / "data" / "incoming").mkdir(parents=True)
    ended = project.run(*project.arguments)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    project.printed = ended.stdout
    return project


@pytest.fixture(scope="module")
def browser():
    """Chromium, for which evil.example is this machine."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as browsers:
        browser = browsers.chromium.launch(
            executable_path=CHROMIUM, args=[*FLAGS, "--host-resolver-rules=MAP evil.example 127.0.0.1"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def desk(browser, up):
    """The browser of the servers' owner, logged in at Prefect's form, and with the answer to MLflow's question."""
    user, _, password = up.login.partition(":")
    context = browser.new_context(
        viewport={"width": 1440, "height": 1000},
        http_credentials={"username": user, "password": password, "origin": up.mlflow},
    )
    page = context.new_page()
    page.goto(f"{up.prefect}/deployments")
    page.locator("input[type=password]").fill(up.login)
    page.get_by_role("button", name="Login").click()
    page.get_by_text("nightly").first.wait_for(timeout=60_000)
    page.close()
    return context


@pytest.fixture
def page(desk):
    """A new page of theirs."""
    with desk.new_page() as page:
        yield page
