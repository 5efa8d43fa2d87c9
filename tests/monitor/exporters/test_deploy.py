"""deploy/: dashboard, alert rules and compose file; what they ask, a real Prometheus answers that scrapes a store."""

import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path

import msgspec
import pytest
import yaml

from firstfault.monitor.database import Database
from firstfault.monitor.exporters.metrics_server import metrics_served
from firstfault.monitor.exporters.outbox import UNDELIVERED
from firstfault.monitor.incidents import Incident, Incidents
from firstfault.monitor.record import Captured
from firstfault.monitor.ring import Ring
from firstfault.monitor.settings import settings_of
from firstfault.monitor.writer import Writer
from firstfault.runs.processes import free_port

DEPLOY = Path(__file__).parents[3] / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana/dashboards/firstfault.json").read_text())
RULES = yaml.safe_load((DEPLOY / "grafana/provisioning/alerting/firstfault.yaml").read_text())["groups"][0]["rules"]
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SOURCE = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"][0]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = {
    **{
        f"{panel['title']} {panel['id']} {target['refId']}": target["expr"]
        for panel in PANELS
        for target in panel["targets"]
    },
    **{each["name"]: each["expr"] for each in DASHBOARD["annotations"]["list"]},
    **{rule["title"]: rule["data"][0]["model"]["expr"] for rule in RULES},
}
needs_prometheus = pytest.mark.skipif(shutil.which("prometheus") is None, reason="Prometheus is not installed")


def serve(settings, *requests, dropped=0):
    """Have a serving process of its own record requests."""
    ring = Ring.of(settings.queue)
    writer = Writer(settings, ring, 1)
    for request in requests:
        ring.put(msgspec.msgpack.encode(request))
    for _ in range(dropped):
        ring.lose(1)
    ring.begin_closing()
    writer.run()
    ring.close()


def requests(model, at, count, **more):
    """Requests of a model as their server hands them over."""
    stages = {"queue": 0.01, "validate": 0.01, "preprocess": 0.02, "model": 0.03}
    common = {"model": model, "version": "1", "confidence": 0.7, "stages": stages, **more}
    return [
        Captured("asgi", f"{at}-{number}", f"{number + 1:032x}", f"{number + 1:016x}", at, 0.1, 200, **common)
        for number in range(count)
    ]


def incident(name, now, **more):
    """An incident of a minute ago."""
    return Incident(name, "churn", "bad_events", now - 90, now - 60, 9.0, "seen", **more)


class Prometheus:
    """A real one, which scrapes one address every second."""

    def __init__(self, folder, target):
        self.port = free_port()
        config = (DEPLOY / "prometheus/prometheus.yml").read_text().replace("monitor:8800", target)
        config = config.replace("scrape_interval: 15s", "scrape_interval: 1s").replace("timeout: 10s", "timeout: 1s")
        (folder / "prometheus.yml").write_text(config)
        command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
        with (folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                [*command, f"--web.listen-address=127.0.0.1:{self.port}"], stdout=log, stderr=log
            )

    def ask(self, expression):
        """The labels and the value of each series that an expression gives."""
        words = urllib.parse.urlencode({"query": expression.replace("$model", ".*").replace("$__rate_interval", "60s")})
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/query?{words}", timeout=20) as answer:
            found = json.load(answer)["data"]["result"]
        return [(series["metric"], float(series["value"][1])) for series in found]

    def wait_for(self, expression):
        """Wait until an expression gives something."""
        deadline = time.monotonic() + 60
        while True:
            try:
                if self.ask(expression):
                    return
            except OSError:
                assert self.process.poll() is None, "Prometheus has ended"
            assert time.monotonic() < deadline, f"{expression} never gave anything"
            time.sleep(0.2)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory):
    """One that has seen traffic, then errors, losses, alerts that nobody took, a model gone quiet, and incidents."""
    folder, now = tmp_path_factory.mktemp("prometheus"), time.time()
    settings = settings_of(store=folder / "store", sample=1.0, unsure=0.5)
    database = Database(settings)
    incidents = Incidents(database)
    serve(settings, *requests("churn", now, 20, values={"raw": {"age": 1}}), *requests("old", now - 3_600, 5))
    with metrics_served(settings, "127.0.0.1", 0) as port:
        server = Prometheus(folder, f"127.0.0.1:{port}")
        try:
            server.wait_for("firstfault_database_up")
            more = requests("churn", now, 5, values={"raw": {"height": 2}}, marks=["odd"]), requests("churn", now, 5)
            unsure = requests("churn", now, 2, confidence=0.1)
            serve(settings, *more[0], *more[1], *unsure, *requests("churn", now, 5, error="KeyError"), dropped=3)
            database.write([(UNDELIVERED, [{"what": "alerts", "n": 1}])])
            incidents.keep(incident("i-1", now))
            verdict = {"first_faulty_layer": "data", "faults": [{"fault": "unit_change"}]}
            incidents.keep(incident("i-2", now, verdict=verdict, closed=now - 1))
            server.wait_for("firstfault_incidents_total")
            server.wait_for("increase(firstfault_requests_lost_total{cause='queue'}[5m]) > 0")
            yield server
        finally:
            server.process.terminate()
            server.process.wait(30)
            database.close()


@needs_prometheus
@pytest.mark.parametrize("name", EXPRESSIONS)
def test_each_expression_finds_something(prometheus, name):
    """Panels, annotations and rules ask for metrics and labels that there are, in PromQL that Prometheus takes."""
    assert prometheus.ask(EXPRESSIONS[name]) != []


@needs_prometheus
def test_the_rules_fire_for_what_is_wrong_and_for_nothing_else(prometheus):
    """Errors, losses, what nobody took, a quiet model and an open incident; neither writers nor database."""
    fires = {"gt": float.__gt__, "lt": float.__lt__}
    firing = {}
    for rule in RULES:
        asked, threshold = rule["data"]
        evaluator = threshold["model"]["conditions"][0]["evaluator"]
        holds, limit = fires[evaluator["type"]], float(evaluator["params"][0])
        found = [labels for labels, value in prometheus.ask(asked["model"]["expr"]) if holds(value, limit)]
        if found:
            firing[rule["uid"]] = found
    assert firing == {
        "firstfault-incident-open": [{"model": "churn", "layer": "undiagnosed"}],
        "firstfault-requests-lost": [{"cause": "queue"}],
        "firstfault-model-quiet": [{"model": "old"}],
        "firstfault-errors": [{"model": "churn"}],
        "firstfault-undelivered": [{"what": "alerts"}],
    }


@needs_prometheus
def test_what_an_annotation_says_is_there(prometheus):
    """Its time is that of the incident in milliseconds, and each label in its words has a value."""
    for each in DASHBOARD["annotations"]["list"]:
        for labels, value in prometheus.ask(each["expr"]):
            assert abs(value / 1_000 - time.time()) < 600
            assert set(re.findall(r"{{(\w+)}}", each["titleFormat"] + each["textFormat"])) <= set(labels)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Prometheus is not installed")
def test_prometheus_takes_its_configuration():
    """As its own tool says."""
    subprocess.run(["promtool", "check", "config", DEPLOY / "prometheus/prometheus.yml"], check=True, timeout=60)


def test_a_row_per_layer_in_the_order_of_the_ladder():
    """After the question whether what is served is seen at all; no two panels overlap, and each says what it shows."""
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert rows == [
        "Are we seeing right?", "Data", "Preprocessing", "Model", "Training", "Deployment", "Safety",
    ]  # fmt: skip
    taken = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken and at["x"] + at["w"] <= 24 and panel["description"]
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_everything_reads_from_the_provisioned_source():
    """Panels, variables, annotations and rules name the one data source, and the dashboard's folder is mounted."""
    sources = [*PANELS, *DASHBOARD["annotations"]["list"], *DASHBOARD["templating"]["list"]]
    assert {each["datasource"]["uid"] for each in sources} == {SOURCE["uid"]}
    assert {rule["data"][0]["datasourceUid"] for rule in RULES} == {SOURCE["uid"]}
    provider = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/firstfault.yaml").read_text())["providers"][0]
    mounts = COMPOSE["services"]["grafana"]["volumes"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in mounts
    assert SOURCE["url"] == "${PROMETHEUS_URL}" and "PROMETHEUS_URL" in COMPOSE["services"]["grafana"]["environment"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["uid"])
def test_a_rule_says_what_to_do(rule):
    """Its description is more than its title, and its condition is the threshold over its question."""
    assert len(rule["annotations"]["description"]) > 60 and rule["annotations"]["summary"]
    asked, threshold = rule["data"]
    assert (threshold["refId"], threshold["model"]["expression"]) == (rule["condition"], asked["refId"])


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_a_service_is_pinned_watched_and_holds_no_secret(name):
    """Its image has a version, it is looked after, waits for what is healthy, and takes passwords from outside."""
    service = COMPOSE["services"][name]
    assert re.search(r":v?\d+\.\d+", service["image"]) and service["healthcheck"]["test"]
    for other, condition in service.get("depends_on", {}).items():
        assert condition == {"condition": "service_healthy"} and "healthcheck" in COMPOSE["services"][other]
    text = json.dumps(service)
    for found in re.findall(r"(?:PASSWORD|AUTH_STRING)\": \"(.*?)\"|firstfault:(.*?)@", text):
        assert re.search(r"\$\{\w+_PASSWORD:\?must be set to a password", "".join(found))
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    for volume in service.get("volumes", ()):
        place = volume.partition(":")[0]
        assert not place.startswith("./") or (DEPLOY / place).exists()
