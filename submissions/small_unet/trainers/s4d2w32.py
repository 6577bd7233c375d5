"""nnU-Net trainers of the small U-Net, found by nnU-Net through the variable nnUNet_extTrainer.

`nnUNetTrainerS4D2W32` is the published schedule. `nnUNetTrainerS4D2W32Short` is one for a machine
without a GPU: it takes its numbers from the "schedule" table of the plans, follows the clock and
stops when the time granted is spent.
"""

import csv
import math
import sys
from pathlib import Path

import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer


class nnUNetTrainerS4D2W32(nnUNetTrainer):
    """2000 epochs at learning rate 1e-3, everything else as nnU-Net has it.

    Adds what a long training on one machine needs: a CSV of losses and pseudo Dice beside the
    checkpoints, a line with the time left on stderr, and a checkpoint on Ctrl-C.
    """

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008 - nnU-Net reads this signature
    ):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = 2000
        self.initial_lr = 1e-3

    def run_training(self):
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
        self.on_train_end()

    def is_done(self) -> bool:
        """Whether the schedule has come to its end."""
        return self.current_epoch >= self.num_epochs

    def progress(self) -> float:
        """How much of the schedule is behind, 0 to 1."""
        return min(1.0, self.current_epoch / self.num_epochs)

    def elapsed_s(self) -> float:
        """Seconds spent in finished epochs, those before a resume included."""
        ends = self.logger.get_value("epoch_end_timestamps", step=None)
        starts = self.logger.get_value("epoch_start_timestamps", step=None)
        return sum(end - start for start, end in zip(starts, ends, strict=False))

    def on_epoch_end(self):
        """Log as nnU-Net does, then add the CSV row and the progress line."""
        epoch = self.current_epoch
        super().on_epoch_end()
        row = {
            "epoch": epoch,
            "elapsed_s": round(self.elapsed_s(), 1),
            "learning_rate": self.logger.get_value("lrs", step=-1),
            "train_loss": float(self.logger.get_value("train_losses", step=-1)),
            "validation_loss": float(self.logger.get_value("val_losses", step=-1)),
            "pseudo_dice": float(self.logger.get_value("mean_fg_dice", step=-1)),
        }
        for label, dice in enumerate(self.logger.get_value("dice_per_class_or_region", step=-1), start=1):
            row[f"pseudo_dice_{label}"] = float(dice)
        self._append_csv(row)
        done = self.progress()
        left_min = self.elapsed_s() * (1 - done) / max(done, 1e-6) / 60
        print(
            f"epoch {epoch + 1}: loss {row['train_loss']:.3f}, pseudo Dice {row['pseudo_dice']:.3f}, "
            f"{100 * done:.0f} % done, about {left_min:.0f} min left",
            file=sys.stderr,
            flush=True,
        )

    def _run_epoch(self):
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

    def _append_csv(self, row: dict):
        path = Path(self.output_folder, "progress.csv")
        is_new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            if is_new:
                writer.writeheader()
            writer.writerow(row)


class nnUNetTrainerS4D2W32Short(nnUNetTrainerS4D2W32):
    """A schedule for two CPU cores and an hour: AdamW, warm-up, cosine by the clock, bfloat16 where native.

    The cosine follows the larger of two fractions, epochs done and hours spent, so that the training
    ends with a small learning rate on a fast machine and on a busy one.
    """

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008 - nnU-Net reads this signature
    ):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.schedule = self.configuration_manager.configuration["schedule"]
        self.num_epochs = self.schedule["epochs"]
        self.num_iterations_per_epoch = self.schedule["iterations_per_epoch"]
        self.num_val_iterations_per_epoch = self.schedule["validation_iterations_per_epoch"]
        self.initial_lr = self.schedule["learning_rate"]
        self.weight_decay = self.schedule["weight_decay"]
        self.oversample_foreground_percent = self.schedule["oversample_foreground"]
        self.probabilistic_oversampling = True
        self.save_every = 1
        self.uses_bfloat16 = device.type == "cpu" and cpu_has_bfloat16()
        torch.manual_seed(self.schedule["seed"])

    def is_done(self) -> bool:
        """Whether the epochs or the hours are spent."""
        return self.progress() >= 1.0

    def progress(self) -> float:
        """The larger of the fractions of epochs and of hours."""
        return min(1.0, max(super().progress(), self.elapsed_s() / (3600 * self.schedule["hours"])))

    def configure_optimizers(self):
        """AdamW with warm-up and cosine decay."""
        optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=self.initial_lr, weight_decay=self.weight_decay
        )
        return optimizer, _CosineByProgress(self, optimizer)

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self):
        """Mirror only along the axes that the schedule names: organs have sides."""
        rotation, dummy_2d, patch_size, _ = (
            super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        )
        axes = tuple(self.schedule["mirror_axes"])
        self.inference_allowed_mirroring_axes = axes
        return rotation, dummy_2d, patch_size, axes

    def get_training_transforms(self, *positional, **named):
        """nnU-Net's augmentation; with "jitter" in the schedule, that and elastic deformation besides."""
        composed = super().get_training_transforms(*positional, **named)
        jitter = self.schedule.get("jitter")
        if jitter is not None:
            spatial = composed.transforms[0]
            spatial.p_elastic_deform = jitter["elastic_probability"]
            composed.transforms.insert(1, TissueJitter(jitter["label_sd"], jitter["texture_sd"]))
        return composed

    def train_step(self, batch: dict) -> dict:
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


class TissueJitter(BasicTransform):
    """Gives each label of a patch an intensity and a texture of its own.

    Keeps a network that learns from synthetic images from trusting their exact intensities: contrast
    phase, scanner and tissue change them between real scans.

    Args:
        label_sd: Standard deviation of the shift per label, in normalised intensities.
        texture_sd: Largest standard deviation of the smooth noise added to the whole patch.
    """

    def __init__(self, label_sd: float, texture_sd: float):
        super().__init__()
        self.label_sd = label_sd
        self.texture_sd = texture_sd

    def get_parameters(self, **data_dict) -> dict:
        """The shift of every voxel."""
        labels = data_dict["segmentation"][:1].long().clamp(min=0)
        shifts = self.label_sd * torch.randn(int(labels.max()) + 1)
        coarse = torch.randn(1, 1, *(max(1, size // 4) for size in labels.shape[1:]))
        texture = torch.nn.functional.interpolate(coarse, size=labels.shape[1:], mode="trilinear")[0]
        return {"shift": shifts[labels] + self.texture_sd * float(torch.rand(())) * texture}

    def _apply_to_image(self, img: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        return img + shift

    def _apply_to_segmentation(self, segmentation: torch.Tensor, **_) -> torch.Tensor:
        return segmentation


class _CosineByProgress:
    """Learning rate from the trainer's progress; has the one method that nnU-Net calls."""

    warm_up = 0.02

    def __init__(self, trainer: nnUNetTrainerS4D2W32Short, optimizer: torch.optim.Optimizer):
        self.trainer = trainer
        self.optimizer = optimizer

    def step(self, _epoch: int):
        done = self.trainer.progress()
        factor = min(1.0, (done + 0.005) / self.warm_up) * 0.5 * (1 + math.cos(math.pi * done))
        for group in self.optimizer.param_groups:
            group["lr"] = self.trainer.initial_lr * max(factor, 0.01)


def cpu_has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 natively; emulated it is many times slower than float32."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return False
    flags = cpuinfo.read_text()
    return "avx512_bf16" in flags or "amx_bf16" in flags
