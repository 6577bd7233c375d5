"""What an image asks of the NVIDIA driver, and whether a driver has it.

NVIDIA_REQUIRE_CUDA is read by NVIDIA's container runtime before the container starts: alternatives are
separated by spaces, and the conditions of one by commas.
"""

from __future__ import annotations

import re

_CUDA_OF_DRIVER = (
    (580, 13.0), (575, 12.9), (570, 12.8), (565, 12.7), (560, 12.6), (555, 12.5), (550, 12.4), (545, 12.3),
    (535, 12.2), (530, 12.1), (525, 12.0), (520, 11.8), (515, 11.7), (510, 11.6), (495, 11.5), (470, 11.4),
    (465, 11.3), (460, 11.2), (455, 11.1), (450, 11.0), (440, 10.2), (418, 10.1), (410, 10.0), (396, 9.2),
)  # fmt: skip
"""The first driver branch that has each CUDA version, as NVIDIA's release notes of CUDA list them."""

_CONDITION = re.compile(r"^(cuda|driver)(>=|<=|<|>|!=|=)([\d.]+)$")


def parsed_version(text: str) -> tuple[int, ...]:
    """Return a version's numbers: `535.104.05` gives (535, 104, 5).

    Raises:
        ValueError: it is no version.
    """
    return tuple(int(part) for part in text.split("."))


def is_satisfied(requirement: str, driver: str) -> bool:
    """Whether a driver meets what NVIDIA_REQUIRE_CUDA asks; conditions on the GPU's brand are taken as met.

    Args:
        requirement: `cuda>=12.4 brand=tesla,driver>=470,driver<471`.
        driver: Its version, `535.104.05`.
    """
    alternatives = requirement.split()
    return not alternatives or any(
        all(_holds(condition, driver) for condition in alternative.split(",")) for alternative in alternatives
    )


def cuda_of(driver: str) -> tuple[int, ...]:
    """Return the newest CUDA version that a driver has, as (major, minor)."""
    branch = parsed_version(driver)[0]
    newest = next((cuda for first, cuda in _CUDA_OF_DRIVER if branch >= first), 9.0)
    return parsed_version(f"{newest:.1f}")


def _holds(condition: str, driver: str) -> bool:
    match = _CONDITION.match(condition)
    if match is None:
        return True
    what, sign, text = match.groups()
    wanted = parsed_version(text.strip("."))
    have = cuda_of(driver) if what == "cuda" else parsed_version(driver)
    length = max(len(have), len(wanted))
    have, wanted = (each + (0,) * (length - len(each)) for each in (have, wanted))
    return {
        ">=": have >= wanted,
        "<=": have <= wanted,
        "<": have < wanted,
        ">": have > wanted,
        "!=": have != wanted,
        "=": have == wanted,
    }[sign]
