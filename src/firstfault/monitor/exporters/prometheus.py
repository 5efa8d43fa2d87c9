"""Metrics in Prometheus' text format, by its own library."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from firstfault.extras import expect_installed
from firstfault.monitor.exporters.families import Family, Kind

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric


def expect_prometheus() -> None:
    """Expect Prometheus' library.

    Raises:
        MissingExtra: when it is not installed.
    """
    expect_installed("prometheus_client", "/metrics")


def exposition(families: Iterable[Family], accept: str = "") -> tuple[str, bytes]:
    """Type and bytes of a page, in Prometheus' or, where the header `Accept` asks for it, OpenMetrics' format."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import choose_encoder

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(list(families)))
    encode, kind = choose_encoder(accept)
    return kind, encode(registry)


class _Collected:
    """Families as a collector of Prometheus' library."""

    def __init__(self, families: list[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return map(_metric, self._families)


def _metric(family: Family) -> Metric:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    if family.kind is Kind.DISTRIBUTION:
        return _distribution(family)
    kind = CounterMetricFamily if family.kind is Kind.COUNTER else GaugeMetricFamily
    metric = kind(_name(family), family.help, labels=family.labels, unit=family.unit)
    for point in family.points:
        metric.add_metric(point.labels, point.value)
    return metric


def _distribution(family: Family) -> Metric:
    """A histogram; a summary of number and sum where the bins have no bounds."""
    from prometheus_client.core import HistogramMetricFamily, SummaryMetricFamily

    if not family.bounds:
        summary = SummaryMetricFamily(_name(family), family.help, labels=family.labels, unit=family.unit)
        for bins in family.bins:
            summary.add_metric(bins.labels, sum(bins.counts), bins.sum)
        return summary
    histogram = HistogramMetricFamily(_name(family), family.help, labels=family.labels, unit=family.unit)
    ends = [*(f"{limit:g}" if limit % 1 else f"{limit:.1f}" for limit in family.bounds), "+Inf"]
    for bins in family.bins:
        histogram.add_metric(bins.labels, list(zip(ends, itertools.accumulate(bins.counts), strict=True)), bins.sum)
    return histogram


def _name(family: Family) -> str:
    return f"{family.name}_{family.unit}" if family.unit else family.name
