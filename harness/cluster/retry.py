"""Who may try a case whose last try failed on the harness's side: pure.

Every outcome but `infrastructure` is a verdict and stands. A host that failed leaves the case to others;
after three hosts it is the case that is odd, and it stays without a verdict until a person has looked.
"""

from __future__ import annotations

from collections.abc import Sequence

MOST_HOSTS = 3
"""On how many hosts a case is tried."""
ALONE = 2
"""How often the only host there is tries a case, as on one machine."""


MOST_IN_A_ROW = 3
"""After how many failures in a row a host takes no more cases of a run.

A host that is broken fails at once and asks for the next case: without a bound it would try them all.
"""


def is_quarantined(failed: Sequence[str]) -> bool:
    """Whether a case is tried no more.

    Args:
        failed: The host of each failed try, in order.
    """
    return len(set(failed)) >= MOST_HOSTS


def may_try(host: str, failed: Sequence[str], *, others: bool) -> bool:
    """Whether a host may try a case.

    Args:
        host: The one that asks.
        failed: The host of each failed try, in order.
        others: Whether another host works that has not failed it.
    """
    if is_quarantined(failed):
        return False
    return host not in failed or (not others and failed.count(host) < ALONE)
