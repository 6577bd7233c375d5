"""What an image asks of the NVIDIA driver is compared as NVIDIA's runtime compares it."""

import pytest

from harness.submission.drivers import cuda_of, is_satisfied


@pytest.mark.parametrize(
    ("driver", "cuda"),
    [
        ("580.65.06", (13, 0)),
        ("535.104.05", (12, 2)),
        ("525.60.13", (12, 0)),
        ("470.82", (11, 4)),
        ("390.1", (9, 0)),
    ],
)
def test_each_driver_branch_has_its_cuda(driver, cuda):
    assert cuda_of(driver) == cuda


@pytest.mark.parametrize(
    ("requirement", "driver", "met"),
    [
        ("", "470.1", True),
        ("cuda>=11.4", "470.1", True),
        ("cuda>=12.4", "535.104.05", False),
        ("cuda>=12.4", "550.54.14", True),
        ("cuda>=13", "580.65.06", True),
        # A space parts alternatives, a comma conditions: data-centre cards may run older branches.
        ("cuda>=12.4 brand=tesla,driver>=470,driver<471", "470.82", True),
        ("cuda>=12.4 brand=tesla,driver>=470,driver<471", "510.1", False),
        ("driver>=535.104.05", "535.104.5", True),
        ("driver>535", "535", False),
        ("driver!=535,cuda>=12", "535", False),
        ("cuda=12.2", "535.1", True),
        ("arch>=7.0", "390.1", True),
    ],
)
def test_requirements_are_compared(requirement, driver, met):
    assert is_satisfied(requirement, driver) is met
