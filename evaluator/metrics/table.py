"""The table of metrics. A new one is a file beside this one and a name in each of the two lines below."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from evaluator.errors import RequestError, choose_one_of
from evaluator.metrics import assd, dsc, hd95, masd, nsd
from evaluator.metrics.metric import Metric

METRICS: Mapping[str, Metric] = {
    module.METRIC.facts.key: module.METRIC for module in (dsc, nsd, hd95, assd, masd)
}
"""Every metric by its key, in the order of tables."""

DEFAULT_METRICS = ("dsc", "nsd")


def metric_named(name: str) -> Metric:
    """Return the metric with this key or alias, whatever its case.

    Raises:
        RequestError: There is none.
    """
    wanted = name.strip().lower()
    for key, metric in METRICS.items():
        if wanted == key or wanted in metric.facts.aliases:
            return metric
    raise RequestError(f"there is no metric {name!r}", mend=choose_one_of(wanted, METRICS))


def keys_of(names: Iterable[str]) -> tuple[str, ...]:
    """Return the keys of metrics named by key or alias, each once.

    Raises:
        RequestError: A name is unknown, or none is given.
    """
    keys = tuple(dict.fromkeys(metric_named(name).facts.key for name in names))
    if not keys:
        raise RequestError("no metric is named", mend=f"Choose of {', '.join(METRICS)}")
    return keys
