"""The whole of a bundle's predict.py."""

from __future__ import annotations

from pathlib import Path

from segkit.cases import Method
from segkit.method import Choice, predict_main
from segkit.nnunet.predict import Ensemble, EnsembleSettings
from segkit.profile import Profile


def ensemble_main(folder: Path, *, about: str) -> int:
    """Segment every case of the inputs folder with the bundle that settings.json names.

    Args:
        folder: The method's folder.
        about: The text of --help.

    Returns:
        The exit code: 0, 1 if a case failed, 2 if nothing could be done.
    """
    return predict_main(folder, _load, EnsembleSettings, about=about)


def _load(choice: Choice[EnsembleSettings], profile: Profile) -> Method:
    return Ensemble(choice.weights, choice.settings, engine=choice.engine, profile=profile)
