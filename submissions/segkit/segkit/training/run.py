"""A training from pairs to the newest checkpoint, and from there to a model folder."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import pydoc
import random
import signal
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segkit.errors import TrainingDataError
from segkit.log import log, show
from segkit.training.data import Pair, Task, check_sources
from segkit.training.nnunet import Layout, environment, write_plans
from segkit.training.prepare import make_fingerprint, preprocess, process_count, write_description
from segkit.training.recipe import Recipe

# nnU-Net's names.
_FINAL = "checkpoint_final.pth"
_LATEST = "checkpoint_latest.pth"


@dataclass(frozen=True)
class Options:
    """How a training is run.

    Attributes:
        work: Work folder; keeps the result of every step. One task and one recipe per folder.
        threads: CPU threads.
        device: "cpu" or "cuda"; None is cuda where there is one.
        fold: "all", or 0 to 4 to hold out a fifth of the cases.
        hours: In place of the schedule's; only for schedules that follow the clock.
        seed: In place of the schedule's.
        start_from: Model folder whose weights a new training begins with.
        import_from: Folders from which the architecture's network class is imported.
        processes: Cases that are prepared at a time; half of the threads, as memory allows, if None.
        gpus: GPUs that share the patches of each step.
    """

    work: Path
    threads: int
    device: str | None = None
    fold: str | int = "all"
    hours: float | None = None
    seed: int | None = None
    start_from: Path | None = None
    import_from: tuple[Path, ...] = ()
    processes: int | None = None
    gpus: int = 1


def train(
    pairs: Sequence[Pair],
    task: Task,
    recipe: Mapping[str, Any],
    architecture: Mapping[str, Any],
    options: Options,
) -> Path:
    """Do every step that is left to do: fingerprint, plans, preprocessing, training.

    May be called several times in a process. Progress is said on stderr; progress.csv and progress.svg
    lie beside the checkpoints. Ctrl-C and SIGTERM stop it with a checkpoint that the next call goes on from.

    Args:
        pairs: What to learn from.
        task: What to learn.
        recipe: As in `segkit.training.recipe.Recipe`.
        architecture: nnU-Net's: network_class_name, arch_kwargs (with strides), _kw_requires_import. Any
            class will do that nnU-Net can build, whose `decoder.deep_supervision` switches between a list
            of outputs, one for each stride but the last, finest first, and the finest alone.
        options: How to run it.

    Returns:
        The newest checkpoint.

    Raises:
        SegkitError: The data, the recipe or the work folder cannot be used.
        KeyboardInterrupt: Stopped, after the checkpoint was written.
    """
    settings = _recipe(recipe, options)
    layout = Layout(options.work, task.name, len(settings.spacing))
    with stopping_on_sigterm(), environment(layout, options.threads, options.import_from):
        processes = process_count(options.processes, options.threads)
        how = settings.preparation
        check_sources(pairs, task, layout.preprocessed / "sources.json", how)
        write_description(task, len(pairs), layout)
        fingerprint = make_fingerprint(pairs, task, layout, processes, how)
        plans = write_plans(layout, fingerprint, settings, architecture)
        preprocess(pairs, task, layout, plans, processes, how)
        if options.gpus > 1:
            _train_on_several(layout, plans, settings, options)
        else:
            _train_network(layout, plans, settings, options)
    return newest_checkpoint(task, recipe, options)


def newest_checkpoint(task: Task, recipe: Mapping[str, Any], options: Options) -> Path:
    """The checkpoint to go on from, or to export: the final one, else the latest.

    Raises:
        TrainingDataError: There is none.
    """
    settings = _recipe(recipe, options)
    layout = Layout(options.work, task.name, len(settings.spacing))
    folder = layout.fold(_trainer_name(settings), _fold(options))
    checkpoint = _newest(folder)
    if checkpoint is None:
        raise TrainingDataError(f"no checkpoint in {folder}; train first")
    return checkpoint


def export(checkpoint: Path, out: Path) -> None:
    """Write a checkpoint of a PlainConvUNet as a model folder: float16 weights and their plan.

    Args:
        checkpoint: As `train` returns it, beside its plans.
        out: The model folder.

    Raises:
        SegkitError: The checkpoint cannot be read, or segkit does not run its network.
    """
    from segkit.convert import convert

    model = checkpoint.parent.parent
    convert(
        checkpoint=checkpoint,
        plans=model / "plans.json",
        dataset=model / "dataset.json",
        out=out,
        orientation="canonical",
    )
    log.info(f"{checkpoint.name} exported to {out}")


def _recipe(content: Mapping[str, Any], options: Options) -> Recipe:
    recipe = Recipe.from_dict(content)
    schedule = recipe.schedule
    if options.hours is not None:
        if schedule.hours is None:
            raise TrainingDataError("the recipe's schedule has no hours to replace; it counts epochs")
        schedule = dataclasses.replace(schedule, hours=options.hours)
    if options.seed is not None:
        schedule = dataclasses.replace(schedule, seed=options.seed)
    return dataclasses.replace(recipe, schedule=schedule)


def _train_network(layout: Layout, plans: dict[str, Any], recipe: Recipe, options: Options) -> None:
    """Train, or go on training where a checkpoint lies."""
    import torch

    from segkit.training import trainers

    class_name = plans["configurations"][layout.configuration]["architecture"]["network_class_name"]
    if pydoc.locate(class_name) is None:
        raise TrainingDataError(
            f"the network class {class_name} cannot be imported; name the folder it lies in (import_from)"
        )
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type == "cpu":
        torch.set_num_threads(options.threads)
        with suppress(RuntimeError):  # it can be set once in a process
            torch.set_num_interop_threads(1)
    else:
        # Every patch has the same size, so looking for the quickest convolution pays.
        torch.backends.cudnn.benchmark = True
    _seed(recipe.schedule.seed)
    newest = _newest(layout.fold(_trainer_name(recipe), _fold(options)))
    trainer = getattr(trainers, _trainer_name(recipe))(
        plans={**plans, "continue_training": newest is not None},
        configuration=layout.configuration,
        fold=_fold(options),
        dataset_json=json.loads((layout.preprocessed / "dataset.json").read_text()),
        device=device,
    )
    if newest is not None:
        trainer.load_checkpoint(str(newest))
        if trainer.is_done():
            log.info(f"the training is finished, with {trainer.current_epoch} epochs")
            return
        log.info(f"going on from epoch {trainer.current_epoch}")
        # The same seed again would draw the patches that were seen.
        if recipe.schedule.seed is not None:
            _seed(recipe.schedule.seed + trainer.current_epoch)
        if newest.name == _FINAL:
            # The schedule was made longer: what was final is no longer.
            newest.replace(newest.with_name(_LATEST))
    elif options.start_from:
        trainer.initialize()
        copy_weights(options.start_from, trainer.network)
    trainer.run_training()


def _train_on_several(layout: Layout, plans: dict[str, Any], recipe: Recipe, options: Options) -> None:
    """Train in a process for each GPU, nnU-Net's way: each has its share of the batch."""
    import torch

    if torch.cuda.device_count() < options.gpus:
        raise TrainingDataError(
            f"there are {torch.cuda.device_count()} GPUs and {options.gpus} were asked for; say --gpus "
            f"{max(1, torch.cuda.device_count())}"
        )
    if recipe.batch_size < options.gpus:
        raise TrainingDataError(
            f"a batch of {recipe.batch_size} cannot be shared by {options.gpus} GPUs; raise the recipe's "
            "batch_size"
        )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(_train_on_one, (port, layout, plans, recipe, options), options.gpus)


def _train_on_one(
    rank: int, port: int, layout: Layout, plans: dict[str, Any], recipe: Recipe, options: Options
) -> None:
    import torch

    show()
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.cuda.set_device(rank)
    torch.distributed.init_process_group("nccl", rank=rank, world_size=options.gpus)
    try:
        with stopping_on_sigterm():
            _train_network(layout, plans, recipe, options)
    finally:
        torch.distributed.destroy_process_group()


def copy_weights(folder: Path, network: Any) -> None:
    """Copy the weights of a model folder into a torch network of the same plan.

    Raises:
        TrainingDataError: The folder holds no weights, or those of another network.
    """
    from segkit.model import load_state

    state = load_state(folder)
    # Where nnU-Net compiles, or shares a batch among GPUs, the network is wrapped, and its weights have a
    # prefix.
    for wrapper in ("module", "_orig_mod", "module"):
        network = getattr(network, wrapper, network)
    try:
        # nnU-Net's names hold each weight more than once; the aliases share its memory.
        missing, unknown = network.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise TrainingDataError(f"{folder}: its weights do not fit this network: {error}") from error
    # The 8-bit form has no heads of coarser stages; they begin anew.
    may_miss = ("all_modules", "decoder.encoder", "decoder.seg_layers")
    if unknown or not all(any(part in name for part in may_miss) for name in missing):
        raise TrainingDataError(f"{folder}: its weights are those of another network")
    log.info(f"beginning with the weights of {folder}")


def _newest(folder: Path) -> Path | None:
    return next((folder / name for name in (_FINAL, _LATEST) if (folder / name).exists()), None)


def _trainer_name(recipe: Recipe) -> str:
    """A class of `segkit.training.trainers`, named so that finding a checkpoint needs no torch."""
    return "EpochTrainer" if recipe.schedule.hours is None else "ClockTrainer"


def _fold(options: Options) -> str | int:
    return "all" if options.fold == "all" else int(options.fold)


def _seed(seed: int | None) -> None:
    import torch

    if seed is not None:
        random.seed(seed)
        np.random.seed(seed)  # nnU-Net draws its patches from the global generator
        torch.manual_seed(seed)


@contextmanager
def stopping_on_sigterm() -> Iterator[None]:
    """Let a scheduler's polite kill stop like Ctrl-C, with a checkpoint."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _hold_sigterm_when_forking()
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


# Pools end their workers by this signal. A handler written in Python may never run in a worker: the signal
# is forgotten if it comes while the worker starts, and waits if it comes just before the worker waits for a
# lock; the pool then waits for that worker for ever. So a child is born with the signal held back, and gets
# it, with its default effect, once the handler is gone.
_held = threading.local()


def _hold_sigterm() -> None:
    if signal.getsignal(signal.SIGTERM) is _interrupt:
        _held.mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _release_sigterm() -> None:
    mask = _held.__dict__.pop("mask", None)
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _release_sigterm_in_child() -> None:
    if "mask" in _held.__dict__:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _release_sigterm()


@functools.cache
def _hold_sigterm_when_forking() -> None:
    """Do so from now on; Python offers no way back, and outside of a training it changes nothing."""
    os.register_at_fork(
        before=_hold_sigterm, after_in_parent=_release_sigterm, after_in_child=_release_sigterm_in_child
    )
