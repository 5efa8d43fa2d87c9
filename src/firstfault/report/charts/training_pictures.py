"""What went on inside a training, from its record: gradient flow, size of the updates, activations, attention, time."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from firstfault.charts.curves import Mark
from firstfault.report.charts.activations import activation_health
from firstfault.report.charts.attention import attention_patterns
from firstfault.report.charts.gradients import gradient_flow, update_bands
from firstfault.report.charts.phases import time_shares
from firstfault.report.charts.safety_curve import safety_curve

if TYPE_CHECKING:
    from firstfault.probe.record import Parameter, Record


def training_pictures(record: Record | None, sick: Collection[str] = (), marks: Sequence[Mark] = ()) -> list[Markup]:
    """The pictures of a record that has something to show; the names of modules in `sick` are coloured.

    Args:
        record: a `firstfault.probe.Record`, or None.
        sick: names of modules that a finding blames.
        marks: findings at a step, for the pictures over steps.
    """
    if record is None:
        return []
    drawn = (
        safety_curve(record.safety),
        gradient_flow(_in_order(record.parameters, record.in_optimizer), sick),
        update_bands(record.parameters, marks),
        activation_health(record.activations, sick),
        attention_patterns(record.attention, sick),
        time_shares(record.phases),
    )
    return [picture for picture in drawn if picture is not None]


def _in_order(parameters: Mapping[str, Parameter], order: Collection[str]) -> dict[str, Parameter]:
    """Parameters in the order of the model, which another part of a record keeps."""
    return {name: parameters[name] for name in dict.fromkeys([*order, *parameters]) if name in parameters}
