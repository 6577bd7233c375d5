"""The two nnU-Net trainers: one counts epochs on a GPU, one follows the clock on a machine without one.

Both take their numbers from the "schedule" table that `segkit.training.nnunet` puts into the plans.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.pseudo2d import Convert2DTo3DTransform
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from segkit.cpu import cpu_multiplies_bfloat16
from segkit.files import whole_file
from segkit.log import log
from segkit.training.augment import TissueJitter
from segkit.training.plot import EPOCHS, plot_progress, write_table
from segkit.training.recipe import Schedule

_KEEP_EVERY_S = 60.0
_KEEP_SHARE = 0.02


class EpochTrainer(nnUNetTrainer):
    """The schedule's numbers, everything else as nnU-Net has it: SGD, polynomial decay, its augmentation.

    Adds what a long training on one machine needs: a table and a plot of losses and pseudo Dice beside
    the checkpoints, a line with the time left on stderr, and a checkpoint on Ctrl-C. Checkpoint and plot
    are made once a minute, or less often where they would take more than 2 % of the time. There is no
    checkpoint of the best pseudo Dice: it judges by patches, and nothing here reads it.
    """

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int | str,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008 - nnU-Net reads this signature
    ):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.schedule = Schedule.from_dict(self.configuration_manager.configuration["schedule"])
        self.num_epochs = self.schedule.epochs
        self.initial_lr = self.schedule.learning_rate
        self.num_iterations_per_epoch = self.schedule.iterations_per_epoch
        self.num_val_iterations_per_epoch = self.schedule.validation_iterations_per_epoch
        self.weight_decay = self.schedule.weight_decay
        self.oversample_foreground_percent = self.schedule.oversample_foreground
        self.name = self.plans_manager.dataset_name.split("_", 1)[-1]
        self._keep_next = time.monotonic() + _KEEP_EVERY_S

    def run_training(self) -> None:
        """Train from the current epoch on, until nothing is left to do or Ctrl-C."""
        self.on_train_start()
        try:
            while not self.is_done():
                self._run_epoch()
        except KeyboardInterrupt:
            # The epoch in hand counts as not begun, so the weights stay and the records stay whole.
            self.current_epoch -= 1
            self.save_checkpoint(str(Path(self.output_folder, "checkpoint_latest.pth")))
            raise
        finally:
            self._plot()
        self.on_train_end()

    def is_done(self) -> bool:
        """Whether the schedule has come to its end."""
        return self.progress() >= 1.0

    def progress(self) -> float:
        """How much of the schedule is behind, 0 to 1."""
        return min(1.0, self.current_epoch / self.num_epochs)

    def elapsed_s(self) -> float:
        """Seconds spent in finished epochs, those before a resume included."""
        return sum(self._epoch_seconds())

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self) -> tuple[Any, Any, Any, Any]:
        """Mirror only along the axes that the schedule names."""
        rotation, dummy_2d, patch_size, axes = (
            super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        )
        if self.schedule.mirror_axes is not None:
            axes = self.inference_allowed_mirroring_axes = self.schedule.mirror_axes
        return rotation, dummy_2d, patch_size, axes

    def get_training_transforms(self, *positional: Any, **named: Any) -> Any:
        """nnU-Net's augmentation, with what the schedule adds to it."""
        composed = super().get_training_transforms(*positional, **named)
        steps = composed.transforms
        place = next(index for index, step in enumerate(steps) if isinstance(step, SpatialTransform))
        steps[place].p_elastic_deform = self.schedule.elastic_probability
        if self.schedule.jitter is not None:
            # Flat patches are transformed as stacks of slices, and are volumes again one step later.
            place += 1 + isinstance(steps[place + 1], Convert2DTo3DTransform)
            steps.insert(place, TissueJitter(self.schedule.jitter.label_sd, self.schedule.jitter.texture_sd))
        return composed

    def on_epoch_end(self) -> None:
        """Write the table and the progress line, and now and then the checkpoint and the plot."""
        self.logger.log("epoch_end_timestamps", time.time(), self.current_epoch)
        rows = list(self._rows())
        if self.local_rank == 0:
            write_table(Path(self.output_folder, "progress.csv"), rows)
        now = time.monotonic()
        if now >= self._keep_next:
            self.save_checkpoint(str(Path(self.output_folder, "checkpoint_latest.pth")))
            self._plot()
            cost_s = time.monotonic() - now
            self._keep_next = now + max(_KEEP_EVERY_S, cost_s / _KEEP_SHARE)
        self.current_epoch += 1
        done = self.progress()
        left_min = self.elapsed_s() * (1 - done) / max(done, 1e-6) / 60
        if self.local_rank != 0:
            return
        log.info(
            f"{self.name}: epoch {self.current_epoch}: loss {rows[-1]['train_loss']:.3f}, pseudo Dice "
            f"{rows[-1]['pseudo_dice']:.3f}, {100 * done:.0f} % done, about {left_min:.0f} min left"
        )

    def save_checkpoint(self, filename: str) -> None:
        """Write a checkpoint; it appears whole or not at all. Of several GPUs the first one writes."""
        if self.local_rank != 0:
            return
        with whole_file(Path(filename)) as part:
            super().save_checkpoint(str(part))

    def _run_epoch(self) -> None:
        self.on_epoch_start()
        self.on_train_epoch_start()
        losses = [self.train_step(next(self.dataloader_train)) for _ in range(self.num_iterations_per_epoch)]
        self.on_train_epoch_end(losses)
        with torch.no_grad():
            self.on_validation_epoch_start()
            scores = [
                self.validation_step(next(self.dataloader_val))
                for _ in range(self.num_val_iterations_per_epoch)
            ]
            self.on_validation_epoch_end(scores)
        self.on_epoch_end()

    def _epoch_seconds(self) -> list[float]:
        ends = self.logger.get_value("epoch_end_timestamps", step=None)
        starts = self.logger.get_value("epoch_start_timestamps", step=None)
        return [end - start for start, end in zip(starts, ends, strict=False)]

    def _rows(self) -> Iterator[dict[str, float]]:
        """A row per finished epoch, from the log that goes with the checkpoints."""
        logged = {
            name: self.logger.get_value(name, step=None)
            for name in ("lrs", "train_losses", "val_losses", "mean_fg_dice", "dice_per_class_or_region")
        }
        elapsed_s = 0.0
        for epoch, seconds in enumerate(self._epoch_seconds()):
            elapsed_s += seconds
            row = {
                "epoch": epoch,
                "elapsed_s": round(elapsed_s, 1),
                "learning_rate": float(logged["lrs"][epoch]),
                "train_loss": float(logged["train_losses"][epoch]),
                "validation_loss": float(logged["val_losses"][epoch]),
                "pseudo_dice": float(logged["mean_fg_dice"][epoch]),
            }
            for label, dice in enumerate(logged["dice_per_class_or_region"][epoch], start=1):
                row[f"pseudo_dice_{label}"] = float(dice)
            yield row

    def _plot(self) -> None:
        folder = Path(self.output_folder)
        if self.local_rank == 0 and (folder / "progress.csv").exists():
            plot_progress(folder / "progress.csv", folder / "progress.svg", self.name, EPOCHS)


class ClockTrainer(EpochTrainer):
    """A schedule for a few CPU cores: AdamW, warm-up, cosine by the clock, bfloat16 where native.

    The cosine follows the larger of two fractions, epochs done and hours spent, so that the training
    ends with a small learning rate on a fast machine and on a busy one.
    """

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int | str,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008 - nnU-Net reads this signature
    ):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.probabilistic_oversampling = True
        self.uses_bfloat16 = device.type == "cpu" and cpu_multiplies_bfloat16()

    def progress(self) -> float:
        """The larger of the fractions of epochs and of hours."""
        whole_s = 3600 * (self.schedule.hours or math.inf)
        done = min(1.0, max(super().progress(), self.elapsed_s() / whole_s))
        if self.is_ddp:
            # Clocks differ by a little, and every GPU has to stop at the same epoch.
            furthest = torch.tensor(done, device=self.device)
            torch.distributed.all_reduce(furthest, torch.distributed.ReduceOp.MAX)
            return float(furthest)
        return done

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, _CosineByProgress]:
        """AdamW with warm-up and cosine decay."""
        optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=self.initial_lr, weight_decay=self.weight_decay
        )
        return optimizer, _CosineByProgress(self, optimizer)

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """One step; the network in bfloat16 where the CPU has it, loss and weights in float32."""
        if self.device.type != "cpu":
            return super().train_step(batch)
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.uses_bfloat16):
            outputs = self.network(batch["data"])
        loss = self.loss([output.float() for output in outputs], batch["target"])
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), 12)
        # bfloat16 gradients overflow now and then; a GPU's gradient scaler leaves such a step out, too.
        if torch.isfinite(norm):
            self.optimizer.step()
        return {"loss": loss.detach().numpy()}


class _CosineByProgress:
    """Learning rate from the trainer's progress; has the one method that nnU-Net calls."""

    warm_up = 0.02

    def __init__(self, trainer: ClockTrainer, optimizer: torch.optim.Optimizer):
        self.trainer = trainer
        self.optimizer = optimizer

    def step(self, _epoch: int) -> None:
        done = self.trainer.progress()
        factor = min(1.0, (done + 0.005) / self.warm_up) * 0.5 * (1 + math.cos(math.pi * done))
        for group in self.optimizer.param_groups:
            group["lr"] = self.trainer.initial_lr * max(factor, 0.01)
