"""The training of one phase: steps, validation, checkpoints, a table and a plot."""

from __future__ import annotations

import csv
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from segkit.cpu import cpu_multiplies_bfloat16
from segkit.files import whole_file
from segkit.log import log
from segkit.training.dice import DiceCounter
from segkit.training.plot import plot_progress
from torch import nn

from cascade.train.cases import Case, patch_at
from cascade.train.objective import dice_and_cross_entropy
from cascade.train.sampler import Sampler, fixed_samples
from cascade.train.schedule import Schedule


@dataclass
class State:
    """Where a training stands; goes into the checkpoint.

    Attributes:
        iteration: Steps taken.
        elapsed_s: Seconds spent on them, before resumes too.
        skipped: Steps left out because their gradients were not finite.
        best_dice: The best validation so far.
    """

    iteration: int = 0
    elapsed_s: float = 0.0
    skipped: int = 0
    best_dice: float = -1.0


class Trainer:
    """Trains one network and keeps the weights that were best in validation.

    Args:
        name: Said in messages.
        network: The network.
        label_names: Names of its outputs.
        training: Cases to learn from.
        validation: Cases to judge by.
        patch: Size of a patch (z, y, x); whole volumes if None.
        schedule: How long and how fast.
        folder: Keeps checkpoint.pt, best.pt, progress.csv and progress.svg.
        seed: Of everything random.
        device: Where the network runs.
    """

    def __init__(
        self,
        *,
        name: str,
        network: nn.Module,
        label_names: Sequence[str],
        training: Sequence[Case],
        validation: Sequence[Case],
        patch: tuple[int, int, int] | None,
        schedule: Schedule,
        folder: Path,
        seed: int,
        device: torch.device,
    ):
        self.name = name
        self.network = network.to(device)
        self.label_names = label_names
        self.validation = validation
        self.patch = patch
        self.schedule = schedule
        self.folder = folder
        self.device = device
        self.uses_bfloat16 = (
            torch.cuda.is_bf16_supported(including_emulation=False)
            if device.type == "cuda"
            else cpu_multiplies_bfloat16()
        )
        if device.type == "cuda":
            torch.backends.cudnn.benchmark = True  # every patch has the same size
        self.state = State()
        self.sampler = Sampler(training, schedule, patch, seed)
        self.seed = seed
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay
        )
        self.checkpoint = folder / "checkpoint.pt"
        folder.mkdir(parents=True, exist_ok=True)

    def run(self) -> dict[str, torch.Tensor]:
        """Train from the checkpoint on, if there is one, until the schedule ends.

        Returns:
            The state dict that was best in validation.

        Raises:
            KeyboardInterrupt: Passed on after the checkpoint was written.
        """
        self._resume()
        torch.manual_seed(self.seed + self.state.iteration)  # stochastic depth draws from torch's own
        losses: list[float] = []
        started = time.monotonic() - self.state.elapsed_s
        try:
            while self.progress() < 1:
                losses.append(self.step())
                self.state.elapsed_s = time.monotonic() - started
                if self.state.iteration % self.schedule.validate_every == 0 or self.progress() >= 1:
                    self._finish_round(losses)
                    losses = []
                    self.state.elapsed_s = time.monotonic() - started
        except KeyboardInterrupt:
            self._save()
            raise
        return torch.load(self.folder / "best.pt", weights_only=True, map_location="cpu")

    def progress(self) -> float:
        """How much of the schedule is behind, 0 to 1."""
        return self.schedule.progress(iteration=self.state.iteration, elapsed_s=self.state.elapsed_s)

    def step(self) -> float:
        """One step of the optimiser; returns its loss."""
        self.network.train()
        images, labels = self.sampler.batch()
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.learning_rate_at(self.progress())
        self.optimizer.zero_grad(set_to_none=True)
        total = 0.0
        at_once = self.schedule.at_once or len(images)
        for some, theirs in zip(images.split(at_once), labels.split(at_once), strict=True):
            logits = self._logits(some.to(self.device))
            loss = dice_and_cross_entropy(logits, theirs.to(self.device)) * (len(some) / len(images))
            loss.backward()
            total += float(loss.detach())
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.schedule.largest_gradient_norm)
        if torch.isfinite(norm):
            self.optimizer.step()
        else:
            self.state.skipped += 1
        self.state.iteration += 1
        return total

    def _logits(self, images: torch.Tensor) -> torch.Tensor:
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.uses_bfloat16):
            logits = self.network(images)
        return logits.float()

    def _finish_round(self, losses: list[float]) -> None:
        validation_loss, counter = self._validate()
        dice = counter.mean()
        if dice > self.state.best_dice:
            self.state.best_dice = dice
            with whole_file(self.folder / "best.pt") as part:
                torch.save(self.network.state_dict(), part)
        self._save()
        row = {
            "iteration": self.state.iteration,
            "elapsed_s": round(self.state.elapsed_s, 1),
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "train_loss": float(np.mean(losses)),
            "validation_loss": validation_loss,
            "validation_dice": dice,
            "skipped_steps": self.state.skipped,
        }
        row.update(
            (f"dice_{name}", score)
            for name, score in zip(self.label_names[1:], counter.by_class(), strict=True)
        )
        self._log(row)

    def _validate(self) -> tuple[float, DiceCounter]:
        self.network.eval()
        counter, losses = DiceCounter(len(self.label_names)), []
        with torch.inference_mode():
            for number, centre in fixed_samples(
                self.validation, self.patch, self.schedule.validation_patches
            ):
                image, labels = self.validation[number].image(), self.validation[number].labels()
                if centre is not None and self.patch is not None:
                    image = patch_at(image, centre, self.patch, 0.0)
                    labels = patch_at(labels, centre, self.patch, 0)
                target = torch.from_numpy(np.array(labels))[None].long().to(self.device)
                logits = self._logits(
                    torch.from_numpy(np.array(image, dtype=np.float32))[None, None].to(self.device)
                )
                losses.append(float(dice_and_cross_entropy(logits, target)))
                counter.add(logits.argmax(dim=1), target)
        return float(np.mean(losses)), counter

    def _log(self, row: dict[str, float]) -> None:
        path = self.folder / "progress.csv"
        is_new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            if is_new:
                writer.writeheader()
            writer.writerow(row)
        plot_progress(path, self.folder / "progress.svg", self.name)
        done = self.progress()
        left_min = self.state.elapsed_s * (1 - done) / max(done, 1e-6) / 60
        log.info(
            f"{self.name}: step {row['iteration']}, loss {row['train_loss']:.3f}, validation Dice "
            f"{row['validation_dice']:.3f}, {100 * done:.0f} % done, about {left_min:.0f} min left"
        )

    def _save(self) -> None:
        content = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": self.sampler.random.get_state(),
            "state": vars(self.state).copy(),
        }
        with whole_file(self.checkpoint) as part:
            torch.save(content, part)

    def _resume(self) -> None:
        if not self.checkpoint.exists():
            return
        content = torch.load(self.checkpoint, weights_only=True, map_location="cpu")
        self.network.load_state_dict(content["network"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.sampler.random.set_state(content["random"])
        self.state = State(**content["state"])
        log.info(f"{self.name}: going on from step {self.state.iteration}")
