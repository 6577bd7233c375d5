"""The networks of a folder of models, ready to run by whatever engine there is."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from segkit import forms
from segkit.engine import Network, open_network
from segkit.errors import PlanError
from segkit.plan import Plan
from segkit.plan import load_plan as load_model_plan

from coarse_to_fine.pipeline import Model
from coarse_to_fine.plan import COARSE, PLAN_NAME, MethodPlan

if TYPE_CHECKING:
    from torch import nn


def open_models(folder: Path, plan: MethodPlan, names: Sequence[str], engine: str) -> dict[str, Model]:
    """Models by the names of their folders.

    Args:
        folder: Holds a model folder of each name.
        plan: The rules, which say where the coarse network ends.
        names: The models to open.
        engine: As `segkit.engine.open_network` knows it.

    Raises:
        SegkitError: A model is missing, damaged, or none that this method runs.
    """
    models = {}
    for name in names:
        own = plan_of(folder, name)
        network = Network(
            in_torch=partial(load_in_torch, folder, plan, name),
            float_ir=folder / name / forms.FLOAT_IR,
            int8_ir=folder / name / forms.INT8_IR,
        )
        models[name] = Model(own, open_network(network, engine, tile=own.patch))
    return models


def plan_of(folder: Path, name: str) -> Plan:
    """The plan of one of the models.

    Raises:
        PlanError: It is missing, or that of a model which was trained on volumes that were not turned.
    """
    plan = load_model_plan(folder / name / PLAN_NAME)
    if plan.orientation != "canonical":
        raise PlanError(
            f"{folder / name} was trained on volumes as they lie in their files; train on volumes in LPS."
        )
    return plan


def load_in_torch(folder: Path, plan: MethodPlan, name: str) -> nn.Module:
    """A network as inference runs it: the coarse one cut off at its head, the others whole."""
    # Importing torch takes longer than a small CT does.
    from segkit.model import load_model

    from coarse_to_fine.network import TruncatedUNet

    network = load_model(folder / name)[1]
    return TruncatedUNet(network, plan.coarse.head) if name == COARSE else network
