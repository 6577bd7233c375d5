"""One training from a recipe and stores to a model folder."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from segkit.cpu import usable_cpus
from segkit.training.phantoms.loop import PhantomTrainer
from segkit.training.phantoms.render import Renderer, rendering_of
from segkit.training.phantoms.schedule import Schedule
from segkit.training.phantoms.store import StoreError, Volume, read_store
from segkit.training.phantoms.trainee import RecipeError, Trainee, copy_state, named, trainee_of

_MOST_HELD_OUT = 12
_SHARE_OF_MEMORY = 0.5
_JUDGING_SEED = 20


@dataclass(frozen=True)
class Run:
    """A training, and where its things lie.

    Attributes:
        recipe: JSON file in a submission's plans/.
        stores: Folders of volumes.
        work: Keeps checkpoint, table and plot.
        out: Gets the model.
        held_out: A store to judge by; some of the volumes if None.
        start_from: Model folder whose weights a new training begins with.
        hours, steps: In place of the recipe's.
        seed: Of everything random.
        threads: CPU threads; what this process may use if None.
        device: "cpu" or "cuda"; cuda where there is one if None.
        bfloat16: "measure", "yes" or "no".
        compile: Whether a GPU's network is compiled.
        noise_from: A store of real scans whose noise phantoms are shown with, in part.
        changes: Entries that replace those of the recipe, tables within it entry by entry.
    """

    recipe: Path
    stores: tuple[Path, ...]
    work: Path
    out: Path
    held_out: Path | None = None
    start_from: Path | None = None
    hours: float | None = None
    steps: int | None = None
    seed: int = 1
    threads: int | None = None
    device: str | None = None
    bfloat16: str = "measure"
    compile: bool = True
    noise_from: Path | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)


def train(run: Run) -> PhantomTrainer:
    """Train what is left to train and write the model.

    Returns:
        The trainer, for its standing.

    Raises:
        SegkitError: The recipe, a store or the weights to start from cannot be used.
        KeyboardInterrupt: Stopped, after the checkpoint was written.
    """
    torch.set_num_threads(run.threads or usable_cpus())
    device = torch.device(run.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    recipe = _merged(read_recipe(run.recipe, device.type), run.changes)
    training, held_out = _volumes(run, recipe, device)
    trainer, trainee = _trainer(run, recipe, training, held_out, device)
    if run.start_from and not trainer.checkpoint.exists():
        copy_state(trainee.network, trainee.load(run.start_from))
        trainer.start_from(trainee.network.state_dict())
    state = trainer.run()
    _export(run, trainee, state, trainer, training)
    return trainer


def export_newest(run: Run) -> None:
    """Write the averaged weights of the newest checkpoint.

    Raises:
        SegkitError: There is no checkpoint, or the recipe or a store cannot be used.
    """
    device = torch.device("cpu")
    volumes = read_store(list(run.stores))
    recipe = _merged(read_recipe(run.recipe, "cpu"), run.changes)
    trainer, trainee = _trainer(run, recipe, volumes, volumes, device)
    if not trainer.resume():
        raise RecipeError(f"there is no checkpoint in {run.work}; train first")
    _export(run, trainee, trainer.averaged(), trainer, volumes)


def read_recipe(path: Path, device: str) -> dict[str, Any]:
    """A recipe; entries of its table "cuda" replace others where a GPU trains.

    An "architecture" that is a name is that of a file beside the recipe.

    Raises:
        RecipeError: It cannot be read.
    """
    try:
        recipe = json.loads(path.read_text(encoding="utf-8"))
        for_gpu = recipe.pop("cuda", {})
        if device == "cuda":
            # The tile of inference stays; only the training's patch grows.
            recipe = _merged({"tile": recipe["patch"], **recipe}, for_gpu)
        if isinstance(recipe.get("architecture"), str):
            recipe["architecture"] = json.loads((path.parent / recipe["architecture"]).read_text())
        return recipe
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise RecipeError(f"{path} is no recipe of a training on phantoms: {error}") from error


def _trainer(
    run: Run,
    recipe: Mapping[str, Any],
    training: Sequence[Volume],
    held_out: Sequence[Volume],
    device: torch.device,
) -> tuple[PhantomTrainer, Trainee]:
    torch.manual_seed(run.seed)
    try:
        trainee = trainee_of(recipe, run.recipe.resolve().parent.parent)
        rendering = rendering_of(recipe, trainee.outputs)
        schedule = Schedule(**recipe["schedule"])
    except (KeyError, TypeError) as error:
        raise RecipeError(f"{run.recipe}: {type(error).__name__}: {error}") from error
    if run.hours is not None:
        schedule = dataclasses.replace(schedule, hours=run.hours)
    if run.steps is not None:
        schedule = dataclasses.replace(schedule, steps=run.steps)
    trainer = PhantomTrainer(
        run.recipe.name.removesuffix(".json"),
        trainee,
        schedule,
        training=Renderer(
            training,
            rendering,
            device=device,
            seed=run.seed,
            noise_from=read_store([run.noise_from]) if run.noise_from else (),
        ),
        judging=Renderer(held_out, rendering, device=device, seed=_JUDGING_SEED, judging=True),
        folder=run.work,
        bfloat16=run.bfloat16,
        compile=run.compile,
    )
    return trainer, trainee


def _volumes(run: Run, recipe: Mapping[str, Any], device: torch.device) -> tuple[list[Volume], list[Volume]]:
    """What is learnt from and what is judged by; on the GPU where that is large enough."""
    volumes = read_store(list(run.stores))
    if "cases" in recipe:
        learns_from = named(recipe["cases"], run.recipe.resolve().parent.parent)
        volumes = [volume for volume in volumes if learns_from(volume)]
        if not volumes:
            raise StoreError(f"{run.recipe.name} may learn from none of the volumes; make more")
    if run.held_out:
        held_out = read_store([run.held_out])
        names = {volume.name for volume in held_out}
        if names & {volume.name for volume in volumes}:
            raise StoreError(f"{run.held_out} holds volumes that are trained on; make it with another --seed")
    elif len(volumes) == 1:
        held_out = volumes
    else:
        count = min(_MOST_HELD_OUT, max(1, len(volumes) // 12))
        volumes, held_out = volumes[:-count], volumes[-count:]
    if device.type == "cuda":
        wanted = sum(volume.hu.numel() * 3 for volume in (*volumes, *held_out))
        if wanted < _SHARE_OF_MEMORY * torch.cuda.mem_get_info()[0]:
            volumes, held_out = ([volume.on(device) for volume in some] for some in (volumes, held_out))
    return volumes, held_out


def _export(
    run: Run,
    trainee: Trainee,
    state: dict[str, torch.Tensor],
    trainer: PhantomTrainer,
    volumes: Sequence[Volume],
) -> None:
    standing = trainer.standing
    generators = sorted({str(volume.facts.get("generator", "")) for volume in volumes} - {""})
    kinds = {"phantom": f"phantoms of generator {', '.join(generators)}", "ct": "CTs"}
    told = " and ".join(kinds[kind] for kind in sorted({volume.kind for volume in volumes}))
    source = {
        "data": f"{len(volumes)} {told}",
        "training": f"{standing.step} steps of {trainer.schedule.batch} in "
        f"{standing.elapsed_s / 3600:.2f} h, {trainer.device.type}, seed {run.seed}",
        "start": run.start_from.name if run.start_from else "random weights",
    }
    if standing.rows:
        source["held_out"] = f"mean Dice of patches {standing.rows[-1]['validation_dice']:.4f}"
    trainee.save(run.out, state, source)


def _merged(base: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A table with entries replaced, tables within it likewise."""
    merged = dict(base)
    for name, value in changes.items():
        old = merged.get(name)
        merged[name] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
