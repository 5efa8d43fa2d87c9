"""The safety debugger: batches are scored, severe ones alert and are looked into, epochs share one α."""

import json
import math
import random
import signal

import numpy as np
import own_model
import pytest
import torch

from firstfault.behaviour.statistics import Rate
from firstfault.behaviour.suites import Case, Suite
from firstfault.errors import TargetError
from firstfault.safety import ComprehensiveSafetyDebugger, DebugConfig, SafetyMonitor
from firstfault.watcher.answer_safety import Level
from firstfault.watcher.batch_spikes import Spikes
from firstfault.watcher.safety_experiments import Bench, of_a_spike
from firstfault.watcher.safety_looks import HarmfulBatches, Looks

WORDS = own_model.made_tokenizer()
LABELS = [("q", "kind words", True)] * 40 + [("q", "poison it", False)] * 38 + [("q", "poison is bad", True)] * 2


def score(prompt, answer):
    """A scorer that knows one word."""
    return 0.1 if "poison" in answer.lower() else 0.9


def batches(pairs, size=2):
    """Padded batches of conversations."""
    made = [own_model.prepare(row) for row in own_model.rows(pairs)]
    for start in range(0, len(made), size):
        part = made[start : start + size]
        width = max(len(each["input_ids"]) for each in part)
        yield {
            "input_ids": torch.tensor([each["input_ids"] + [1] * (width - len(each["input_ids"])) for each in part]),
            "labels": torch.tensor([each["labels"] + [-100] * (width - len(each["labels"])) for each in part]),
        }


class Kept:
    """A sink that keeps what it gets."""

    def __init__(self):
        self.values = {}

    def write(self, step, values):
        self.values |= values

    def close(self):
        """Nothing is open."""


def test_scores_are_calibrated_on_labels_and_tell_their_false_alarms():
    """The chance of safe is that of the labels, and safe answers that are called severe are counted."""
    monitor = SafetyMonitor(score, LABELS)
    assert monitor.calibrated and monitor("q", "poison it").level is Level.SEVERE
    assert monitor("q", "poison it").score == pytest.approx(2 / 40, abs=0.05) and monitor("q", "kind").score > 0.9
    assert monitor.false_alarms[Level.SEVERE].value == pytest.approx(2 / 42)
    assert "of safe answers" in monitor.error(Level.SEVERE)
    bare = SafetyMonitor(lambda prompt, answer: None if not answer else 0.3)
    assert bare("q", "a").level is Level.HARMFUL and bare("q", "").level is Level.UNSCORED
    assert "not known" in bare.error(Level.SEVERE)


def test_looks_of_any_number_share_one_alpha():
    """Of 300 trainings that change cases both ways alike, hardly any is called critical over 12 epochs."""
    random_ = random.Random(0)
    stopped = 0
    for _ in range(300):
        looks, verdicts = Looks(0.05), {str(case): random_.random() < 0.5 for case in range(40)}
        looks.look(0, verdicts)
        critical = False
        for epoch in range(1, 13):
            verdicts = {case: now if random_.random() > 0.05 else not now for case, now in verdicts.items()}
            critical = critical or looks.look(epoch, verdicts).critical
        stopped += critical
    assert stopped <= 0.05 * 300


def test_cases_that_newly_fail_are_critical_and_flaky_ones_bet_once():
    """Ten cases that turn bad pass the bound; one that comes and goes never does."""
    bad, flaky = Looks(0.05), Looks(0.05)
    for looks in (bad, flaky):
        looks.look(0, dict.fromkeys(map(str, range(20)), True))
    assert bad.look(1, {str(case): case >= 10 for case in range(20)}).critical
    assert not any(flaky.look(epoch, {"0": epoch % 2 == 0}).critical for epoch in range(1, 40))
    assert not flaky.look(40, {"0": None}).critical


def test_harmful_batches_are_told_from_false_alarms():
    """As many as the monitor's false alarms are no evidence; many more are."""
    alarms = Rate(0.02, 0.005, 0.07, 50)
    usual, many = HarmfulBatches(alarms), HarmfulBatches(alarms)
    for number in range(200):
        usual.add(number % 50 == 0)
        many.add(number % 4 == 0)
    assert usual.evidence < 1 < 20 < many.evidence


def test_a_loss_that_stands_out_is_told():
    """Noise is not; a jump and a number that is none are."""
    spikes, noise = Spikes(), np.random.default_rng(0).normal(2.0, 0.1, 200)
    assert not any(spikes.of(float(each)) for each in noise)
    assert "deviations" in spikes.of(9.0) and "nan" in spikes.of(math.nan)


def test_a_spike_is_tried_on_copies():
    """A row unlike the others has most of the loss, a rate beyond the stable is told, and the weights stay."""
    model = torch.nn.Linear(2, 1)
    torch.nn.init.ones_(model.weight)
    before = model.weight.clone()
    x = torch.tensor([[0.1, 0.0], [0.0, 0.1], [0.1, 0.1], [50.0, 50.0]])
    loss = lambda model, batch: (model(batch[0]) ** 2).mean()  # noqa: E731
    bench = Bench(model, loss, lambda values: torch.optim.SGD(values, 1e-3))
    row, rate = of_a_spike(bench, [x])
    assert (row.outcome, rate.outcome) == ("holds", "holds") and "row 4" in row.measured
    assert torch.equal(before, model.weight)


@pytest.fixture(scope="module")
def debugged(tmp_path_factory):
    """A fine-tuning in which two rows of one batch are severe."""
    folder = tmp_path_factory.mktemp("debugged")
    pairs = [*own_model.TALK[:6], ("Say hello.", "poison it"), ("Name a colour.", "Red poison."), *own_model.TALK[6:]]
    told, sink = [], Kept()
    config = DebugConfig(
        tokenizer=WORDS,
        monitor=SafetyMonitor(score, LABELS),
        optimizer=lambda values: torch.optim.AdamW(values, 1e-3),
        every=2,
        on_alert=told.append,
        sinks=[sink],
        folder=folder / "run",
        failures=folder / "home",
    )
    debugger = ComprehensiveSafetyDebugger(own_model.model("rope"), config)
    report = debugger.debug_training_run(list(batches(pairs)), list(batches(own_model.TALK[:2])), epochs=2)
    return report, told, sink, folder


def test_severe_batches_alert_with_their_false_alarm_rate(debugged):
    """Callback, sinks and report tell of the batch in both epochs, and of no other."""
    report, told, sink, _ = debugged
    assert [(alert.anomaly.epoch, alert.anomaly.batch) for alert in report.alerts] == [(1, 4), (2, 4)] and len(
        told
    ) == 2
    assert "of safe answers" in str(told[0]) and sink.values["safety/alerts"] == 2
    low = [each for each in report.batches if each.taught < 0.5]
    assert [each.batch for each in low] == [4, 4] and all(math.isfinite(value) for value in report.validation)
    assert any(math.isfinite(each.said) for each in report.batches) and report.evidence is not None


def test_a_severe_batch_is_looked_into(debugged):
    """Its rows teach it, by a step on a copy; the scorer stands by it, and the kept failure is found again."""
    report, _, _, folder = debugged
    first, second = report.investigations
    outcomes = {each.supposed: each.outcome for each in first.hypotheses}
    assert outcomes["these rows teach it"] == "holds" and outcomes["the scorer errs"] == "refuted"
    assert outcomes["the model does it already"] == "refuted" and first.rows == (0, 1)
    assert len(second.similar) >= 1 and (folder / "home" / "failures" / "failures.db").is_file()


def test_the_report_shows_no_text_unless_asked(debugged):
    """safety.json and the lines hold scores and experiments, and no word of an answer."""
    report, _, _, folder = debugged
    written = (folder / "run" / "safety.json").read_text()
    assert "poison" not in written and "poison" not in "\n".join(report.lines)
    assert json.loads(written)["investigations"][0]["outputs"][0]["level"] == "severe"
    assert report.page.is_file() and any("ALERT" in line for line in report.lines)


def test_a_training_that_makes_answers_worse_is_stopped(tmp_path):
    """Ten cases fail after the first epoch: it ends there, with the checkpoint from before, and the verdict says so."""
    model = torch.nn.Linear(1, 1)
    torch.nn.init.ones_(model.weight)
    cases = tuple(Case(str(number), f"case {number}", "contains", "yes") for number in range(10))
    config = DebugConfig(
        loss=lambda model, batch: model(batch).mean(),
        optimizer=lambda values: torch.optim.SGD(values, 1.0),
        generate=lambda prompt: "yes" if model.weight.item() > 0 else "no",
        suites=[Suite("kind", 1.0, "misaligned", cases)],
        folder=tmp_path / "run",
    )
    report = ComprehensiveSafetyDebugger(model, config).debug_training_run([torch.ones(2, 1)] * 3, epochs=5)
    assert [look.epoch for look in report.looks] == [0, 1] and "last_good.pt" in report.stopped
    assert [fault.fault for fault in report.verdict.faults] == ["misaligned"] and len(report.alerts) == 1
    kept = torch.load(tmp_path / "run" / "checkpoints" / "last_good.pt", weights_only=True)
    assert kept["weight"].item() == 1.0


def test_a_training_that_is_interrupted_leaves_its_report(tmp_path):
    """Ctrl-C leaves the call, with all that was seen until then in safety.json, and is no fault of the training."""

    def loader():
        for _ in range(3):
            yield torch.ones(2, 1)
        signal.raise_signal(signal.SIGINT)

    config = DebugConfig(loss=lambda model, batch: model(batch).mean(), folder=tmp_path / "run")
    debugger = ComprehensiveSafetyDebugger(torch.nn.Linear(1, 1), config)
    with pytest.raises(KeyboardInterrupt):
        debugger.debug_training_run(loader())
    written = json.loads((tmp_path / "run" / "safety.json").read_text())
    assert len(written["batches"]) == 3 and "interrupted" in written["stopped"]
    assert not written["verdict"]["faults"] and debugger.generate_debug_report().page.is_file()


def test_a_healthy_training_is_as_without_the_debugger(tmp_path):
    """Nothing alerts, and the weights are bit for bit those of a plain loop."""
    plain, watched = own_model.model("rope"), own_model.model("rope")
    data, rate = list(batches(own_model.TALK)), lambda values: torch.optim.SGD(values, 0.01)
    optimizer = rate(plain.parameters())
    for batch in data:
        optimizer.zero_grad()
        plain.train()(**batch).loss.backward()
        optimizer.step()
    config = {"tokenizer": WORDS, "monitor": SafetyMonitor(score, LABELS), "optimizer": rate, "folder": tmp_path}
    report = ComprehensiveSafetyDebugger(watched, {**config, "every": 1}).debug_training_run(data)
    assert not report.alerts and not report.anomalies and not report.stopped
    assert all(map(torch.equal, plain.parameters(), watched.parameters()))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"alhpa": 0.1}, "did you mean alpha"),
        ({"alpha": 2}, "between 0 and 1"),
        ({"every": -1}, "whole number of batches"),
        ({"suites": ["safety"]}, "need a tokenizer or generate"),
    ],
)
def test_a_bad_setting_is_one_sentence(config, said):
    """Before anything is trained."""
    with pytest.raises(TargetError, match=said):
        ComprehensiveSafetyDebugger(torch.nn.Linear(1, 1), config)
    with pytest.raises(TargetError, match="severe < harmful"):
        SafetyMonitor(score, severe=0.6)
