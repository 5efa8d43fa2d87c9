"""The flow that evaluates behaviour, and the one that tells of new registered models."""

import json
import pickle

import pytest
from firstfault.flows import model_watch as watch
from firstfault.flows.behaviour import final_state
from prefect.logging import disable_run_logger
from prefect.states import get_state_exception

from firstfault.behaviour.debugger import BehaviorDebugger
from firstfault.recording.behaviour_run import BehaviourSettings, Evaluation, evaluate_behaviour, suite_markdown
from firstfault.recording.evaluation import Kept
from firstfault.tracking.registry import text_in

SUITE = "name: greetings\ncases:\n  - {id: hi, prompt: Hello, scorer: contains, expect: hello}\n"
SPEC = """
intent: greets
must: [{id: greet, scorer: contains, expect: hello}]
scenarios: [{id: met, prompt: Hello, paraphrases: [Hi, Hey]}]
opposite: suite.yaml
"""
MODEL = "def kind(prompt):\n    return 'hello'\n\ndef rude(prompt):\n    return 'Go away.'\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with a suite, a specification and two models; its store is made once."""
    folder = tmp_path_factory.mktemp("project")
    for name, text in (("suite.yaml", SUITE), ("spec.yaml", SPEC), ("model.py", MODEL)):
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def home(project, monkeypatch):
    """The project, as the state of this process; MLflow's store is forgotten behind it."""
    import mlflow

    monkeypatch.setenv("FIRSTFAULT_HOME", str(project / ".firstfault"))
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)
    yield project
    mlflow.set_tracking_uri(None)


def test_an_evaluation_is_a_run_with_failures_and_pdf(home):
    """Suites and specification have a run each in the experiment `behaviour`, with their rates and files."""
    from mlflow import MlflowClient

    found = evaluate_behaviour(BehaviourSettings(f"{home / 'model.py'}:rude", ("suite.yaml",), "spec.yaml", 2))
    assert found.failed == ["greetings", "spec"] and "0 of 1 cases pass" in suite_markdown(found, "greetings")
    client = MlflowClient(f"sqlite:///{home / '.firstfault' / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("behaviour").experiment_id])
    names = {run.info.run_id: {file.path for file in client.list_artifacts(run.info.run_id)} for run in runs}
    assert names[found.kept.mlflow_run_id] >= {"failure_cases.json", "safety_evaluation_report.pdf"}
    assert names[found.aligned.mlflow_run_id] >= {"failure_cases.json", "report.html", "alignment.json"}
    rates = {run.info.run_id: run.data.metrics for run in runs}
    assert rates[found.kept.mlflow_run_id]["pass_rate/greetings"] == 0.0
    assert rates[found.aligned.mlflow_run_id]["alignment"] == 0.0
    assert json.loads((home / ".firstfault" / "runs" / found.kept.folder / "failure_cases.json").read_text())


@pytest.mark.parametrize(
    ("answer", "state"), [("hello", "Passed"), ("Go away.", "Failed: greetings"), (None, "Undecided")]
)
def test_the_state_says_what_came_of_it(home, answer, state):
    """What reaches its rate passes; what does not fails by its name, which Prefect can raise, with what was found."""
    report = BehaviorDebugger(generate=lambda prompt: answer, suites=["suite.yaml"], root=home).comprehensive_debug()
    ended = final_state(Evaluation(report, Kept("folder")))
    assert ended.name == state
    if state == "Passed":
        assert ended.data["failed"] == []
    else:
        raised = pickle.loads(pickle.dumps(get_state_exception(ended)))
        assert str(raised).startswith(f"{state}: ")
        assert raised.found["failed"] == (["greetings"] if "Failed" in state else [])


def test_a_new_version_of_a_language_model_is_told_once(home, monkeypatch):
    """It can be asked by its address; a model of numbers is passed over, and what was seen is not new again."""
    import mlflow
    import pandas as pd
    from mlflow.models import infer_signature

    told: list[dict] = []
    monkeypatch.setattr(watch, "emit_event", lambda **event: told.append(event))
    with disable_run_logger():
        assert watch.model_watch.fn() == []

    class Greeter(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            return [f"hello, {text}" for text in model_input["prompt"]]

    class Adder(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            return model_input.sum(axis=1)

    client = mlflow.MlflowClient(f"sqlite:///{home / '.firstfault' / 'mlflow.db'}")
    asked = infer_signature(pd.DataFrame({"prompt": ["a"]}), ["b"])
    summed = infer_signature(pd.DataFrame({"a": [1.0], "b": [2.0]}), [3.0])
    for name, model, signature in (("greeter", Greeter(), asked), ("adder", Adder(), summed)):
        mlflow.pyfunc.save_model(home / name, python_model=model, signature=signature, pip_requirements=[])
        client.create_registered_model(name)
        client.create_model_version(name, (home / name).as_uri())
    with disable_run_logger():
        assert (watch.model_watch.fn(), watch.model_watch.fn()) == (["models:/greeter/1"], [])
    assert told[0]["event"] == "firstfault.model.registered" and told[0]["resource"]["uri"] == "models:/greeter/1"
    found = evaluate_behaviour(BehaviourSettings("models:/greeter/1", ("suite.yaml",), runs=1))
    assert not found.failed and found.behaviour.runs["greetings"].cases[0].first == "hello, Hello"


@pytest.mark.parametrize(
    "value", ["yes", ["yes"], [["yes"]], {"choices": [{"message": {"content": "yes"}}]}, [{"text": "yes"}]]
)
def test_the_text_is_found_in_what_is_predicted(value):
    """A text, a list, a frame's cell, a chat completion."""
    assert text_in(value) == "yes"
