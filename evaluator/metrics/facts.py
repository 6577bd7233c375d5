"""What is known of a metric without computing it: the row that tables and figures are made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class MetricFacts:
    """One metric's row in the table.

    Attributes:
        key: Its name in files and on command lines, such as `dsc`.
        title: Its name for a reader, such as `DSC`.
        unit: `mm`, `ml`, `s`, `MiB` and so on; empty for a plain number.
        direction: Whether a higher or a lower value is better.
        scope: Whether it is a number per label of a case, or one per case.
        failed: What a failed case gets unless the challenge says otherwise; may be infinite.
        decimals: How many are shown.
        percent: Whether a fraction is shown times 100.
        ranks: Whether one value is better than another at all; a signed error is not.
        host_bound: Whether it depends on the host that ran the case, as times and memory do.
        aliases: Other names by which it is understood.
    """

    key: str
    title: str
    unit: str = ""
    direction: Literal["higher", "lower"]
    scope: Literal["label", "case"] = "label"
    failed: float
    decimals: int = 2
    percent: bool = False
    ranks: bool = True
    host_bound: bool = False
    aliases: tuple[str, ...] = ()

    @property
    def column(self) -> str:
        """Its name in a table: the key and the unit, such as `hd95_mm`."""
        return f"{self.key}_{self.unit}" if self.unit else self.key
