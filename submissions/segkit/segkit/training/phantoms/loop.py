"""The training loop: steps, moving average, checkpoints, a look at held-out volumes, a table and a plot."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import nn

from segkit.files import whole_file
from segkit.log import log
from segkit.training.dice import DiceCounter
from segkit.training.phantoms.objective import deep_dice_and_cross_entropy, dice_and_cross_entropy
from segkit.training.phantoms.render import Renderer
from segkit.training.phantoms.schedule import Schedule
from segkit.training.phantoms.speed import (
    compiled,
    prepare_device,
    wants_bfloat16,
    with_channels_last,
)
from segkit.training.phantoms.trainee import State, Trainee
from segkit.training.plot import plot_progress, write_table

_CHECKPOINT_EVERY_S = 60.0
_JUDGING_SHARE = 0.03
_LOOK_EVERY = 50
"""Steps between two looks at the loss: each makes a GPU wait for the CPU."""


@dataclass
class Standing:
    """Where a training stands; goes into the checkpoint.

    Attributes:
        step: Steps taken.
        elapsed_s: Seconds spent, those before a resume included.
        judged_s: `elapsed_s` at the last look at held-out volumes.
        rows: The table of such looks.
    """

    step: int = 0
    elapsed_s: float = 0.0
    judged_s: float = 0.0
    rows: list[dict[str, float]] = field(default_factory=list)


class PhantomTrainer:
    """Trains one network on phantoms.

    Args:
        name: Said in messages.
        trainee: What is trained.
        schedule: How long and how fast.
        training: Draws what is learnt from.
        judging: Draws what it is judged by.
        folder: Keeps checkpoint.pt, progress.csv and progress.svg.
        bfloat16: "yes", "no", or "measure".
        compile: Whether a GPU's network is compiled.
    """

    def __init__(
        self,
        name: str,
        trainee: Trainee,
        schedule: Schedule,
        *,
        training: Renderer,
        judging: Renderer,
        folder: Path,
        bfloat16: str = "measure",
        compile: bool = True,
    ):
        self.name = name
        self.trainee = trainee
        self.schedule = schedule
        self.training = training
        self.judging = judging
        self.folder = folder
        self.bfloat16_choice = bfloat16
        self.compile = compile
        self.device = training.device
        prepare_device(self.device)
        self.network = trainee.network.to(self.device)
        if self.device.type == "cpu" and schedule.batch == 1:
            self.network = with_channels_last(self.network)
        # Weights and running statistics alike; counters are copied.
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.optimizer = _optimizer(self.network, schedule, self.device)
        self.standing = Standing()
        self.judge_every_s = schedule.judge_every_s
        self.checkpoint = folder / "checkpoint.pt"
        folder.mkdir(parents=True, exist_ok=True)

    def start_from(self, state: State) -> None:
        """Begin with the weights of an earlier training; a checkpoint comes first."""
        self.network.load_state_dict(state)
        self.average.load_state_dict(state)

    def run(self) -> State:
        """Train from the checkpoint on, if there is one, until the schedule ends.

        Returns:
            The averaged weights.

        Raises:
            KeyboardInterrupt: Passed on after the checkpoint was written.
        """
        self.resume()
        if self.progress() >= 1:
            self._say(f"finished already, with {self.standing.step} steps")
            return self.averaged()
        self._prepare()
        torch.manual_seed(self.training.seed + self.standing.step)  # stochastic depth draws from torch's own
        started = kept = time.monotonic()
        before_s, losses = self.standing.elapsed_s, torch.zeros((), device=self.device)
        looked = self.standing.step
        try:
            while self.progress() < 1:
                losses += self.step()
                self.standing.step += 1
                self.standing.elapsed_s = before_s + time.monotonic() - started
                due = self.standing.elapsed_s - self.standing.judged_s >= self.judge_every_s
                if self.standing.step % _LOOK_EVERY == 0 or due or self.progress() >= 1:
                    # The one place where the CPU waits for the device.
                    loss = float(losses) / max(1, self.standing.step - looked)
                    losses.zero_()
                    looked = self.standing.step
                    self._tell(loss)
                    if due or self.progress() >= 1:
                        self._judge(loss)
                    if not math.isfinite(loss):
                        self._go_back()
                if time.monotonic() - kept >= _CHECKPOINT_EVERY_S:
                    self.save()
                    kept = time.monotonic()
        finally:
            self.save()
        return self.averaged()

    def progress(self) -> float:
        """How much of the schedule is behind, 0 to 1."""
        return self.schedule.progress(self.standing.step, self.standing.elapsed_s)

    def averaged(self) -> State:
        """The averaged weights, on the CPU."""
        return {name: value.detach().cpu().clone() for name, value in self.average.state_dict().items()}

    def resume(self) -> bool:
        """Go on from the checkpoint; whether there was one."""
        if not self.checkpoint.exists():
            return False
        content = torch.load(self.checkpoint, weights_only=True, map_location=self.device)
        self.network.load_state_dict(content["network"])
        self.average.load_state_dict(content["average"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.standing = Standing(**content["standing"])
        return True

    def save(self) -> None:
        """Write the checkpoint; it appears whole or not at all."""
        content = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "standing": asdict(self.standing),
        }
        with whole_file(self.checkpoint) as part:
            torch.save(content, part)

    def _prepare(self) -> None:
        """Measure and compile."""
        images, target = self.training.batch(self.standing.step, self.schedule.batch)
        with _statistics_kept(self.network):
            self.bfloat16 = wants_bfloat16(
                self.network, self.trainee.logits, images, target, self.bfloat16_choice
            )
            self.logits = self.trainee.logits
            if self.compile:
                self.logits = compiled(self.network, self.trainee.logits, images, self.bfloat16)
        self.started_step, self.started_s = self.standing.step, self.standing.elapsed_s
        self._say(
            f"{'going on from' if self.standing.step else 'beginning with'} step {self.standing.step}, "
            f"{len(self.training.volumes)} volumes, {'bfloat16' if self.bfloat16 else 'float32'}, "
            f"{self.device.type}"
        )

    def step(self) -> torch.Tensor:
        """One step of the optimiser; returns its loss, still on the device."""
        self.network.train()
        images, target = self.training.batch(self.standing.step, self.schedule.batch)
        rate = self.schedule.rate_at(self.progress())
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            logits = self.logits(self.network, images)
        loss = deep_dice_and_cross_entropy(logits, target)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.schedule.largest_gradient_norm)
        # bfloat16 gradients overflow now and then. The fused optimiser leaves such a step out by itself,
        # without telling the CPU.
        self.optimizer.found_inf = (~torch.isfinite(norm)).float()
        self.optimizer.grad_scale = None
        self.optimizer.step()
        self._average(self.schedule.average_at(self.standing.step))
        return loss.detach()

    def _average(self, decay: float) -> None:
        with torch.no_grad():
            mine, theirs = self.average.state_dict(), self.network.state_dict()
            floats = [name for name, value in mine.items() if value.is_floating_point()]
            torch._foreach_lerp_(
                [mine[name] for name in floats], [theirs[name] for name in floats], 1 - decay
            )
            for name in mine.keys() - set(floats):
                mine[name].copy_(theirs[name])

    def _judge(self, train_loss: float) -> None:
        counter, losses, began = DiceCounter(len(self.trainee.labels)), [], time.monotonic()
        with torch.inference_mode():
            for number in range(self.schedule.judged_patches):
                images, target = self.judging.batch(number, 1)
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
                    logits = self.trainee.logits(self.average, images)[0].float()
                losses.append(float(dice_and_cross_entropy(logits, target)))
                counter.add(logits.argmax(dim=1), target)
        self.judge_every_s = max(self.schedule.judge_every_s, (time.monotonic() - began) / _JUDGING_SHARE)
        self.standing.judged_s = self.standing.elapsed_s
        row = {
            "iteration": self.standing.step,
            "elapsed_s": round(self.standing.elapsed_s, 1),
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "train_loss": train_loss,
            "validation_loss": sum(losses) / len(losses),
            "validation_dice": counter.mean(),
        }
        scores = zip(self.trainee.labels[1:], counter.by_class(), strict=True)
        row.update((f"dice_{name}", score) for name, score in scores)
        self.standing.rows.append(row)
        self._write_table()
        self._say(
            f"held-out patches: mean Dice {row['validation_dice']:.3f}, loss {row['validation_loss']:.3f}"
        )

    def _write_table(self) -> None:
        # Whole each time: looks that a power cut undid leave no rows behind.
        path = self.folder / "progress.csv"
        write_table(path, self.standing.rows)
        with suppress(ImportError):  # a picture is not worth an installation
            plot_progress(path, self.folder / "progress.svg", self.name)

    def _tell(self, loss: float) -> None:
        done = self.progress()
        steps = self.standing.step - self.started_step
        took_s = self.standing.elapsed_s - self.started_s
        left_min = self.standing.elapsed_s * (1 - done) / max(done, 1e-6) / 60
        self._say(
            f"step {self.standing.step}, loss {loss:.3f}, {steps / max(took_s, 1e-6):.2f} steps/s, "
            f"{100 * done:.0f} % done, about {left_min:.0f} min left"
        )

    def _go_back(self) -> None:
        """Return to the last checkpoint after a loss that is no number; the patches are others then."""
        reached = self.standing
        if not self.resume():
            raise FloatingPointError(f"{self.name}: the loss is no number before the first checkpoint")
        self.standing.step, self.standing.elapsed_s = reached.step, reached.elapsed_s
        self._say("the loss was no number; going on with the weights of the last checkpoint")

    def _say(self, message: str) -> None:
        log.info(f"{self.name}: {message}")


def _optimizer(network: nn.Module, schedule: Schedule, device: torch.device) -> torch.optim.AdamW:
    """AdamW with weight decay on kernels alone: norms and biases have one axis."""
    weights = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [weight for weight in weights if weight.dim() > 1], "weight_decay": schedule.weight_decay},
        {"params": [weight for weight in weights if weight.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=schedule.learning_rate, fused=True
    )


@contextmanager
def _statistics_kept(network: nn.Module) -> Iterator[None]:
    """Let a network be tried out in training mode without its running statistics noticing."""
    before = {name: value.clone() for name, value in network.named_buffers()}
    network.train()
    try:
        yield
    finally:
        for name, value in network.named_buffers():
            value.data.copy_(before[name])
