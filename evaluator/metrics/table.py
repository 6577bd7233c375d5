"""The table of metrics. A new one is a file beside this one and its name in two lists below."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from evaluator.errors import RequestError, choose_one_of
from evaluator.metrics import (
    absolute_relative_volume_error,
    absolute_volume_error,
    assd,
    boundary_iou,
    cldice,
    dsc,
    fn_volume,
    fp_volume,
    hd,
    hd95,
    iou,
    lesion_count_difference,
    lesion_dice,
    lesion_f1,
    lesion_fn,
    lesion_fp,
    lesion_hd95,
    lesion_nsd,
    lesion_precision,
    lesion_recall,
    lesion_tp,
    lesions_by_size,
    masd,
    nsd,
    pq,
    precision,
    relative_volume_error,
    sensitivity,
    sq,
    volume_error,
    volume_error_voxels,
)
from evaluator.metrics.metric import Metric

_USUAL = (dsc, nsd, hd95, assd, masd)
_OTHERS = (hd, iou, sensitivity, precision, boundary_iou, cldice)
_VOLUME = (
    volume_error,
    absolute_volume_error,
    volume_error_voxels,
    relative_volume_error,
    absolute_relative_volume_error,
)
_COUNTS = (lesion_tp, lesion_fp, lesion_fn, lesion_count_difference)
_LESION = (lesion_f1, lesion_precision, lesion_recall, lesion_dice, lesion_nsd, lesion_hd95, sq, pq)
_COMPONENT = (fp_volume, fn_volume)


class _Metrics(dict[str, Metric]):
    """The table; percentiles of the Hausdorff distance that are not in it are made when asked for."""

    def __missing__(self, key: str) -> Metric:
        made = hd.percentile_metric(key)
        if made is None:
            raise KeyError(key)
        return made


_TABLE = _Metrics(
    {
        metric.facts.key: metric
        for metric in (
            *(module.METRIC for module in (*_USUAL, *_OTHERS, *_VOLUME, *_COUNTS, *_LESION)),
            *lesions_by_size.METRICS,
            *(module.METRIC for module in _COMPONENT),
        )
    }
)
METRICS: Mapping[str, Metric] = _TABLE
"""Every metric by its key, in the order of tables, and `hd` with any other percentile."""

DEFAULT_METRICS = ("dsc", "nsd")


def register(metric: Metric) -> None:
    """Add a metric of one's own to the table, for this process.

    Raises:
        RequestError: Its key or an alias is another metric's.
    """
    for name in (metric.facts.key, *metric.facts.aliases):
        known = [key for key, other in METRICS.items() if name == key or name in other.facts.aliases]
        if known or hd.percentile_metric(name):
            raise RequestError(f"there is a metric {name!r} already", mend="Give yours another key")
    _TABLE[metric.facts.key] = metric


def metric_named(name: str) -> Metric:
    """Return the metric with this key or alias, whatever its case.

    Raises:
        RequestError: There is none.
    """
    wanted = name.strip().lower()
    for key, metric in list(METRICS.items()):
        if wanted == key or wanted in metric.facts.aliases:
            return metric
    percentile = hd.percentile_metric(wanted)
    if percentile is not None:
        return percentile
    raise RequestError(f"there is no metric {name!r}", mend=choose_one_of(wanted, METRICS))


def in_table_order(keys: Collection[str]) -> tuple[str, ...]:
    """Return keys of metrics in the order of the table, percentiles that are not in it last."""
    known = [key for key in METRICS if key in keys]
    others = {key for key in keys if key not in METRICS and hd.percentile_metric(key)}
    return (*known, *sorted(others, key=lambda key: float(key.removeprefix("hd"))))


def keys_of(names: Iterable[str]) -> tuple[str, ...]:
    """Return the keys of metrics named by key or alias, each once.

    Raises:
        RequestError: A name is unknown, or none is given.
    """
    keys = tuple(dict.fromkeys(metric_named(name).facts.key for name in names))
    if not keys:
        raise RequestError("no metric is named", mend=f"Choose of {', '.join(METRICS)}")
    return keys
