"""Rules, actions and safety in the training of a target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firstfault.subject.subject import Subject
from firstfault.training.loop import Trained, train
from firstfault.watcher.actions.named import actions_named
from firstfault.watcher.actions.runner import Acting

if TYPE_CHECKING:
    from firstfault.probe import Probe
    from firstfault.watcher.safety_monitor import Course


def train_acting(subject: Subject, probe: Probe) -> Trained:
    """Train a subject's recipe under a probe, with the actions of `training.on_finding` and the evaluations of
    `safety.every`, where the target declares them.

    Raises:
        TargetError: for a suite that can't be read.
    """
    target, on_finding = subject.target, subject.training.on_finding
    acts, watches_safety = bool(on_finding), target.safety is not None and target.safety.every is not None
    if not acts and not watches_safety:
        return train(subject.recipe, subject.seed, probe=probe)
    from firstfault.watcher.actions.loop_monitor import named_roots

    actions = actions_named(on_finding or (), "training.on_finding")
    acting = Acting(
        target.name, subject.folder, target.root, probe.record, lambda: named_roots(probe), actions, probe.paused
    )
    probe.on_sample = lambda step: acting.sampled()
    try:
        course = _course(subject, acting) if watches_safety else None
        return train(subject.recipe, subject.seed, probe=probe, course=course)
    finally:
        probe.record.passed_over |= acting.close()


def _course(subject: Subject, acting: Acting) -> Course:
    from firstfault.behaviour.suites import expect_suites
    from firstfault.training.chance import prior_score
    from firstfault.watcher.actions.storing import store_of
    from firstfault.watcher.safety_monitor import Course, evaluation_of

    expect_suites(subject.target)
    safety, recipe = subject.target.safety, subject.recipe
    assert safety is not None
    chance = prior_score(recipe, recipe.validation) if safety.capability is None else None
    return Course(safety, evaluation_of(subject), acting, store_of(acting), chance=chance)
