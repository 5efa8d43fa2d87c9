"""A store's metrics as OpenTelemetry has them: the names are those of Prometheus, as its own rules translate them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from firstfault.monitor.exporters.families import Family, Kind

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import HistogramDataPoint, Metric, MetricsData, NumberDataPoint

UNITS = {"seconds": "s", "ratio": "1", "": ""}
"""As UCUM says it, from which a collector makes Prometheus' words again."""
NAMESPACE = "firstfault_"


def metrics_data(families: Iterable[Family], start: int, now: int) -> MetricsData:
    """Families as an exporter takes them; times are nanoseconds since 1970, and numbers are since `start`."""
    from opentelemetry.sdk.metrics.export import MetricsData, ResourceMetrics, ScopeMetrics
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    metrics = [_metric(family, start, now) for family in families if family.points or family.bins]
    scope = ScopeMetrics(InstrumentationScope("firstfault.monitor"), metrics, "")
    resource = Resource.create({"service.name": "firstfault-monitor"})
    return MetricsData([ResourceMetrics(resource, [scope], "")])


def _metric(family: Family, start: int, now: int) -> Metric:
    from opentelemetry.sdk.metrics.export import AggregationTemporality, Gauge, Histogram, Metric, Sum

    cumulative = AggregationTemporality.CUMULATIVE
    data: Sum | Gauge | Histogram
    if family.kind is Kind.DISTRIBUTION:
        data = Histogram(_distributions(family, start, now), cumulative)
    elif family.kind is Kind.COUNTER:
        data = Sum(_numbers(family, start, now), cumulative, is_monotonic=True)
    else:
        data = Gauge(_numbers(family, start, now))
    name = "firstfault." + family.name.removeprefix(NAMESPACE)
    return Metric(name, family.help, UNITS[family.unit], data)


def _numbers(family: Family, start: int, now: int) -> list[NumberDataPoint]:
    from opentelemetry.sdk.metrics.export import NumberDataPoint

    return [
        NumberDataPoint(dict(zip(family.labels, point.labels, strict=True)), start, now, point.value)
        for point in family.points
    ]


def _distributions(family: Family, start: int, now: int) -> list[HistogramDataPoint]:
    from opentelemetry.sdk.metrics.export import HistogramDataPoint

    return [
        HistogramDataPoint(
            attributes=dict(zip(family.labels, bins.labels, strict=True)),
            start_time_unix_nano=start,
            time_unix_nano=now,
            count=sum(bins.counts),
            sum=bins.sum,
            bucket_counts=bins.counts,
            explicit_bounds=family.bounds,
            min=None,  # type: ignore[arg-type]  # which nobody counted
            max=None,  # type: ignore[arg-type]
        )
        for bins in family.bins
    ]
