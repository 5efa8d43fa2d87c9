"""The flow over a store's two arms."""

import pytest
from arms import split, write
from firstfault.flows.rollout import rollout

from firstfault.monitor.settings import settings_of


@pytest.mark.parametrize(
    ("rates", "drawn", "name", "kind"),
    [
        ((0.02, 0.4), 0.5, "Worse", "FAILED"),
        ((0.4, 0.02), 0.5, "Better", "COMPLETED"),
        ((0.0, 0.0), 0.5, "Undecided", "FAILED"),
        ((0.02, 0.4), 0.2, "Sample ratio mismatch", "FAILED"),
    ],
)
def test_the_state_is_named_by_the_conclusion(tmp_path, monkeypatch, rates, drawn, name, kind):
    """Only better and no worse complete; the comparison is in the state."""
    monkeypatch.setenv("FIRSTFAULT_HOME", str(tmp_path / ".firstfault"))
    records = split(1_500, rates, drawn)
    write(settings_of(store=tmp_path / "store"), records)
    state = rollout.fn(str(tmp_path / "store"), share=0.5, since=records[0].time, margin=4.0, mlflow=False)
    assert (state.name, state.type.value) == (name, kind)
    found = state.data if kind == "COMPLETED" else state.data.found
    assert found["conclusion"] == (name.lower() if rates[0] != rates[1] and drawn == 0.5 else "undecided")


def test_a_rollout_is_a_run_in_mlflow(tmp_path, monkeypatch):
    """Its plan, rates and evidence, with the conclusion as a tag, and the comparison whole."""
    from mlflow import MlflowClient

    monkeypatch.setenv("FIRSTFAULT_HOME", str(tmp_path / ".firstfault"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    records = split(600, (0.02, 0.4))
    write(settings_of(store=tmp_path / "store"), records)
    rollout.fn(str(tmp_path / "store"), share=0.5, since=records[0].time)
    client = MlflowClient(f"sqlite:///{tmp_path / '.firstfault' / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("rollouts").experiment_id])
    assert run.data.tags["firstfault.conclusion"] == "worse" and run.info.status == "FINISHED"
    assert run.data.params["share"] == "0.5" and run.data.metrics["e_bad_worse"] > 200
    assert run.data.metrics["challenger_bad"] > run.data.metrics["champion_bad"]
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["rollout.json"]
