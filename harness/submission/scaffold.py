"""A ready submission from a trained nnU-Net: its weights as a bundle, and the files around them."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluator.label_files import DEFAULT_TOLERANCE_MM
from evaluator.labels import Label
from harness.errors import PrerequisiteError, SubmissionError
from harness.submission.folder import Parts, fill, new_folder, trained_on
from harness.submission.image import Progress, silent
from harness.submission.recipes import checkout

BUNDLE = "bundle.json"
WEIGHTS = "weights"


def from_nnunet(
    team: str, results: Path, submissions: Path, *, options: Sequence[str] = (), progress: Progress = silent
) -> Path:
    """Write submissions/TEAM from a results folder of nnU-Net v2, whole or not at all.

    The conversion runs in the training environment, which has torch; the harness itself opens no checkpoint.

    Args:
        team: The submission's name.
        results: nnU-Net's folder.
        submissions: Where submissions lie.
        options: More arguments of `python -m segkit.nnunet.convert`.
        progress: Gets its lines.

    Returns:
        The submission's folder.

    Raises:
        ConfigurationError: The name cannot be a submission's, or is taken.
        PrerequisiteError: There is no training environment.
        SubmissionError: nnU-Net's folder cannot be bundled; the message says what is not supported.
    """
    with new_folder(team, submissions) as made:
        _convert(results, made / WEIGHTS, options, progress)
        bundle = json.loads((made / WEIGHTS / BUNDLE).read_text(encoding="utf-8"))
        fill(made, team, parts_of(team, bundle))
    return submissions / team


def parts_of(team: str, bundle: Mapping[str, Any]) -> Parts:
    """What is written around a bundle."""
    data = bundle["source"].get("dataset", "unknown data")
    return Parts(
        title=f"nnU-Net {' + '.join(bundle['ensemble'])} of {data}",
        about=_ABOUT.format(team=team, networks=_networks(bundle), labels=_labels(bundle)),
        predict_sh=_PREDICT_SH,
        dockerfile=_DOCKERFILE,
        challenge=challenge_of(team, bundle),
        texts={"predict.py": _PREDICT_PY, "settings.json": json.dumps(_SETTINGS, indent=2) + "\n"},
        memory_gb=16,
        time_s=3600,
    )


def challenge_of(team: str, bundle: Mapping[str, Any]) -> str:
    """The text of a challenge with a bundle's labels and channels."""
    labels = [Label(value, name, DEFAULT_TOLERANCE_MM) for value, name in written_labels(bundle).items()]
    return trained_on(team, labels, bundle["channels"])


def written_labels(bundle: Mapping[str, Any]) -> dict[int, str]:
    """The values that a bundle writes, and what they are called.

    A region writes a value, over which later regions write theirs.
    """
    if not bundle["regions_order"]:
        return {
            value: name for name, value in sorted(bundle["labels"].items(), key=lambda each: each[1]) if value
        }
    regions = [name for name, told in bundle["labels"].items() if told not in (0, [0])]
    return dict(sorted(zip(bundle["regions_order"], regions, strict=True)))


def training_python() -> Path:
    """The interpreter of the training environment.

    Raises:
        PrerequisiteError: There is none that has torch.
    """
    own = checkout() / ".venv-train" / "bin" / "python"
    if own.is_file():
        return own
    if importlib.util.find_spec("torch") and importlib.util.find_spec("safetensors"):
        return Path(sys.executable)
    raise PrerequisiteError(
        "reading nnU-Net's checkpoints needs torch, and there is no training environment",
        where=own.parent.parent,
        mend="Make it: make env-train.",
    )


def _convert(results: Path, out: Path, options: Sequence[str], progress: Progress) -> None:
    # A relative path is the caller's, and stays good: the converter runs in the same folder.
    command = [str(training_python()), "-m", "segkit.nnunet.convert", str(results), str(out), *options]
    paths = [str(checkout() / "submissions" / "segkit"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    last = ""
    with subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, errors="replace"
    ) as running:
        for line in running.stderr or ():
            last = line.strip() or last
            if not last.startswith("error: "):
                progress(last)
    if running.returncode == 0:
        return
    shutil.rmtree(out, ignore_errors=True)
    what, _, mend = last.removeprefix("error: ").partition("; ")
    raise SubmissionError(what or "the conversion failed", mend=mend[:1].upper() + mend[1:])


def _networks(bundle: Mapping[str, Any]) -> str:
    lines = []
    for name, told in bundle["configurations"].items():
        network = told["network"]
        kind = "residual encoder" if network["residual"] else "plain"
        used = "" if name in bundle["ensemble"] else "; its labels are channels of the next"
        spacing = " x ".join(f"{size:.3g}" for size in told["spacing_mm"])
        stages, folds = len(network["features"]), len(told["folds"])
        lines.append(f"- {name}: {kind}, {stages} stages, {spacing} mm, {folds} fold(s){used}")
    return "\n".join(lines)


def _labels(bundle: Mapping[str, Any]) -> str:
    return ", ".join(f"{value} {name}" for value, name in written_labels(bundle).items())


_PREDICT_SH = """#!/bin/sh
# The contract's entry: reads /workspace/inputs, writes /workspace/outputs.
set -e
exec python3 "$(dirname "$0")/predict.py" "$@"
"""

_PREDICT_PY = '''"""What happens to one case: nnU-Net's steps with the bundle in weights/, without nnU-Net.

settings.json names the ways to run it. `exact`: as nnU-Net predicts, in float32. `fast`: images resampled
linearly, fewer tiles, 8-bit integers where the weights have such a form. `mirrored`: mirrored as in training.
"""

import sys
from pathlib import Path

from segkit.nnunet.program import ensemble_main

if __name__ == "__main__":
    sys.exit(ensemble_main(Path(__file__).resolve().parent, about=__doc__))
'''

_SETTINGS = {
    "tasks": {"all": {"weights": WEIGHTS}},
    "modes": {
        "exact": {"engine": "f32", "step": 0.5},
        "fast": {"engine": "fastest", "step": 0.8, "images": "linear"},
        "mirrored": {"engine": "f32", "step": 0.5, "mirror": True},
    },
}

_DOCKERFILE = """# The runtime image brings Python, torch, SimpleITK and segkit; for the CPU OpenVINO as well.
ARG RUNTIME=flareharness/runtime:cpu

FROM ${RUNTIME} AS compiled
USER root
WORKDIR /build
COPY weights/ weights/
# OpenVINO's form of the networks is made here, so that starting a container imports no torch.
RUN python3 -m segkit.export --if-possible weights

FROM ${RUNTIME}
ARG MODE=exact
ENV MODE=${MODE}
WORKDIR /workspace
COPY predict.sh predict.py settings.json ./
COPY --from=compiled /build/weights/ weights/
"""

_ABOUT = """
Inference needs no nnU-Net and opens no pickle.

{networks}

Labels: {labels}.

`challenge.toml` has the labels and channels of the training; set its tolerances and limits. `MODE` under
`[build_args]` of `submission.toml` chooses a way of `settings.json`: `exact`, `fast` or `mirrored`. For 8-bit
integers, with a certificate of what they lose on cases of yours in `weights/int8.json`:

    python -m segkit.nnunet.quantise submissions/{team}/weights --data DATA
"""
