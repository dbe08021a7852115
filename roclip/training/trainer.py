"""The training loop: data order, optimiser, precision, ranks and measurement. It never asks which defence it runs."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from roclip.core.errors import UserError
from roclip.core.options import part_of
from roclip.core.provenance import fingerprint
from roclip.core.randomness import generator
from roclip.data.images import Intake
from roclip.defences.base import Batch, Defence, Phase
from roclip.model import towers
from roclip.model.captions import Captions
from roclip.model.configs import pixel_moments
from roclip.model.start_weights import read_weights, refuse_small_file
from roclip.training import batch_norms
from roclip.training.batches import Batches
from roclip.training.distributed import Ranks
from roclip.training.loader import FromFiles, InMemory, open_images
from roclip.training.micro_batches import MicroBatches
from roclip.training.monitor import Audit, Measurement, telemetry
from roclip.training.nonfinite import FiniteCheck, usable
from roclip.training.optimizer import parameter_groups
from roclip.training.pairs import Pairs
from roclip.training.schedule import learning_rate
from roclip.training.settings import LoopOptions
from roclip.training.state_check import checked_state
from roclip.training.view import View

log = logging.getLogger(__name__)

Pass = tuple[Phase, int, Tensor]  # a step: its phase, its number within it, and the places of its batch (batch,)


class Training:
    """A model, its optimiser, its defence and the pairs it learns from.

    The defence knows pairs by their ids, which are shuffled: in the table poisoned pairs come last. `places` and `ids` are
    (pairs,): the place, among the pairs that can be read, of each id, and the id at each place.
    """

    def __init__(self, options: LoopOptions, defence: type[Defence], pairs: Pairs, ranks: Ranks | None = None) -> None:
        self.options, self.ranks = options, ranks or Ranks()
        self.runtime = towers.Runtime.choose(options.precision, options.threads, options.device)
        self.device = self.runtime.device
        torch.backends.cudnn.benchmark = self.device.type == "cuda" and not options.deterministic  # tries its kernels once
        self.config = towers.model_config(options.model, options.pixels)
        size = self.config["vision_cfg"]["image_size"]

        self.intake = Intake(options.roots, options.max_bad_fraction)
        started = time.perf_counter()
        self.images, readable = self._images(pairs, size)
        pairs = pairs.chosen(readable)
        self.rows, self.pairs = pairs.rows, len(pairs.rows)
        done = "decoded" if options.images == "memory" else "checked"
        log.info("%s %d images in %.1f s", done, self.pairs, time.perf_counter() - started)
        self.ranks.agree("which images can be read", fingerprint(self.rows.tolist()))
        self.captions = Captions(pairs.caption, towers.tokenizer(self.config))
        if options.batch_size > self.pairs:
            raise UserError(f"train.batch_size: {options.batch_size} is more than the {self.pairs} pairs of {options.pairs}")
        if options.batch_size % self.ranks.count:
            raise UserError(f"train.batch_size: {options.batch_size} cannot be shared by {self.ranks.count} processes")
        if options.micro_batch and (part := options.batch_size // self.ranks.count) % options.micro_batch:
            raise UserError(f"train.micro_batch: {options.micro_batch} does not divide the {part} pairs of each device")
        self.places = torch.randperm(self.pairs, generator=self.generator("ids"))
        self.ids = self.places.argsort()
        by_id = pairs.chosen(self.places.numpy())
        self.audit = Audit(by_id.caption, by_id.truth, self.device, options.classes)
        poisoned = pairs.truth["is_poison"]
        self.measurement = Measurement(options, self.config, self.intake, pairs.caption, self.images, poisoned)
        self.steps_per_epoch = self.steps_of(self.pairs)
        self.rate = self.schedule(options.epochs * self.steps_per_epoch)  # of the steps of the run
        takes = pixel_moments(self.config), self._cut
        self.batches = Batches(options, self.images, self.captions, self.ids, self.ranks, self.device, *takes)
        self.start(defence)

    def _cut(self, tokens: Tensor) -> Tensor:
        return self.runtime.cut(self.model, tokens)

    def _images(self, pairs: Pairs, size: int) -> tuple[InMemory | FromFiles, np.ndarray]:
        """The images that can be decoded, and their places among the pairs."""
        return open_images(self.options, self.intake, pairs, size, self.device, self.ranks.count)

    def start(self, defence: type[Defence]) -> None:
        """The state before the first step."""
        options = self.options
        if options.start_from:
            refuse_small_file(Path(options.start_from), self.config)
        with torch.random.fork_rng():
            torch.manual_seed(options.seed)
            model = towers.create(self.config)
            towers.refuse_misfit(model)
            self.model = model.to(self.device).train()
        if options.start_from:
            self.model.load_state_dict(read_weights(Path(options.start_from), self.model))
        if self.ranks.count > 1:
            self.model = batch_norms.shared(self.model, options.batch_norm, self.ranks)
        if options.compile:
            self.model.visual.compile()
            self.model.transformer.compile()
        self.micro_batches = MicroBatches(self.model, options.micro_batch, self.runtime.attention)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.model, options.weight_decay),
            lr=options.learning_rate, betas=(options.beta1, options.beta2), eps=options.eps, fused=True,
        )  # fmt: skip
        batch_norms.keep_equal(self.model, self.optimizer, self.ranks)
        self.finite = FiniteCheck(self.device, options.pairs, self.rows)
        self.steps_taken, self.last_rate = 0, 0.0
        self.defence = defence(part_of(options, defence.Settings), View(self))  # the options name files of the truth, too
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """Nothing is noted yet of the epoch that comes."""
        self.losses = torch.full((self.steps_per_epoch,), math.nan, device=self.device)  # until learned
        self.audit.begin()
        self.step = 0  # steps taken in this epoch
        self.seconds = 0.0

    def state(self) -> tuple[dict[str, Tensor], dict[str, float]]:
        """All that the next step depends on, or the history: tensors by name, and numbers. Random draws are keyed by step."""
        tensors = {f"model/{name}": tensor for name, tensor in self.model.state_dict().items()}
        for number, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{number}/{name}": tensor for name, tensor in moments.items()}
        own, counts = checked_state(self.defence)
        tensors |= {f"defence/{name}": tensor for name, tensor in own.items()}
        tensors |= {"losses": self.losses, "audit": self.audit.sums}
        numbers = {"steps_taken": self.steps_taken, "step": self.step, "seconds": self.seconds, "last_rate": self.last_rate}
        return tensors, {**{f"defence/{name}": number for name, number in counts.items()}, **numbers}

    def restore(self, tensors: dict[str, Tensor], numbers: dict[str, float]) -> None:
        """Be where `state` was taken."""

        def named(prefix: str, values: dict[str, Any] = tensors) -> dict[str, Any]:
            return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}

        self.model.load_state_dict(named("model/"))
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in named("optimizer/").items():
            number, _, moment = name.partition("/")
            # the fused kernel takes for granted that moments lie in memory as their parameter does, channels last or not
            like = torch.empty_like(parameters[int(number)]) if tensor.ndim else torch.empty_like(tensor)
            moments.setdefault(int(number), {})[moment] = like.copy_(tensor)
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})
        self.defence.restore(named("defence/"), named("defence/", numbers))
        self.losses = tensors["losses"].to(self.device)
        self.audit.sums.copy_(tensors["audit"])
        self.steps_taken, self.step = numbers["steps_taken"], numbers["step"]
        self.seconds, self.last_rate = numbers["seconds"], numbers["last_rate"]

    def generator(self, *key: str | int) -> torch.Generator:
        """Random numbers that depend on the seed of the training and the key alone."""
        use, *rest = key
        return generator(use, self.options.seed, *rest)

    @property
    def epochs(self) -> int:
        return self.options.epochs

    @property
    def peak_rate(self) -> float:
        """Of the learning rate."""
        return self.options.learning_rate

    @property
    def dimension(self) -> int:
        """Of the features."""
        return self.config["embed_dim"]

    def encode_images(self, batch: Batch) -> Tensor:
        """Normalised features of the images of all ranks: (batch, dimension)."""
        return self._encoded(self.model.encode_image, batch.pixels)

    def encode_captions(self, batch: Batch) -> Tensor:
        """Normalised features of the captions of all ranks: (batch, dimension)."""
        return self._encoded(self.model.encode_text, batch.tokens)

    def _encoded(self, tower: Callable[..., Tensor], inputs: Tensor) -> Tensor:
        return self.ranks.gather(self.micro_batches.encode(partial(tower, normalize=True), inputs))

    def logit_scale(self) -> Tensor:
        """The factor of the cosines, exponentiated: a scalar."""
        return self.model.logit_scale.exp()

    def steps_of(self, pairs: int) -> int:
        """How many steps a phase over so many pairs has."""
        return pairs // self.options.batch_size

    def schedule(self, steps: int, warm_up: float = 1.0) -> Callable[[int], float]:
        """The learning rate by step, counted from 0, of a run of so many: a linear warm-up and a cosine.

        warm_up: share of the steps that the warm-up takes at most.
        """
        warmup_steps, peak = min(self.options.warmup_steps, int(warm_up * steps)), self.options.learning_rate
        return lambda step: learning_rate(step, steps, warmup_steps, peak)

    def passes(self, epoch: int) -> list[Pass]:
        """The steps of an epoch in order."""
        order = torch.randperm(self.pairs, generator=self.generator("order", epoch))
        steps = []
        for phase in self.defence.phases(epoch):
            places = order
            if phase.ids is not None:
                member = torch.zeros(self.pairs, dtype=torch.bool)
                member[self.places[phase.ids.cpu()]] = True
                places = order[member[order]]
            whole = len(places) - len(places) % self.options.batch_size
            batches = places[:whole].split(self.options.batch_size)
            steps += [(phase, number, batch) for number, batch in enumerate(batches) if len(batch)]
        if not steps:
            raise UserError(f"train.batch_size: {self.options.batch_size} is more than the pairs of any phase of epoch {epoch}")
        return steps

    def steps(self, epoch: int) -> Iterator[None]:
        """Train for one epoch, counted from 1, or what is left of it, a step at a time."""
        options = self.options
        started, before = time.perf_counter(), self.seconds
        if self.step == 0:
            self.defence.begin_epoch(epoch)
        steps = self.passes(epoch)
        if len(steps) != len(self.losses):
            self.losses = torch.full((len(steps),), math.nan, device=self.device)
        left = steps[self.step :]
        bar = tqdm(
            self.fed(epoch, left), f"epoch {epoch}/{options.epochs}",
            total=len(steps), initial=self.step, unit_scale=options.batch_size, unit="pair", leave=False,
            disable=None if self.ranks.rank == 0 else True,
        )  # fmt: skip
        for (phase, number, places), batch in bar:
            rate = phase.rate(number) if phase.rate else self.rate(self.steps_taken)
            if batch is None:
                self.count_step(rate)
            else:
                self.take_step(batch, phase.kind, rate, places)
            self.seconds = before + time.perf_counter() - started
            yield

    def fed(self, epoch: int, passes: Sequence[Pass]) -> Iterator[tuple[Pass, Batch | None]]:
        """Passes of an epoch, each with the batch that it learns from, None where its phase learns nothing."""
        for _, its in groupby(passes, lambda step: id(step[0])):
            steps = list(its)
            if not steps[0][0].learns:
                yield from ((step, None) for step in steps)
                continue
            yield from zip(steps, self.batches.of(epoch, [places for _, _, places in steps], steps[0][0].views), strict=True)

    def take_step(self, batch: Batch, kind: str, rate: float, places: Tensor) -> None:
        """One step of the optimiser. places: of the batch (batch,), to be named where the step is not finite."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with self.runtime.autocast(), self.runtime.attention():
            loss = usable(self.defence.loss(batch, kind), type(self.defence).__name__)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # outside autocast, which would take the gradients of the float32 loss in bfloat16
        self.ranks.sum_gradients(self.model)
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        self.finite.note(loss, gradients, self.steps_taken, places)
        self.defence.after_backward(kind)
        self.optimizer.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, towers.MAX_LOGIT_SCALE)
        self.losses[self.step] = loss.detach()
        self.count_step(rate)

    def count_step(self, rate: float) -> None:
        """A step is over, whether anything was learned in it or not."""
        self.steps_taken, self.step, self.last_rate = self.steps_taken + 1, self.step + 1, rate

    def epoch(self, epoch: int, after_step: Callable[[], None] = lambda: None) -> dict[str, float | str]:
        """Train for one epoch, counted from 1, or what is left of it; its row of the history, without what is measured.

        after_step: called after every step. Raises UserError for a loss or gradients that are NaN or infinite; as `telemetry`.
        """
        if self.step < len(self.losses):
            for _ in self.steps(epoch):
                after_step()
        self.finite.check()
        learned = self.losses[~self.losses.isnan()]
        row = {
            "epoch": epoch,
            "kind": self.defence.kind(epoch),
            "loss": learned.mean().item(),  # NaN where none of the steps learned
            "learning_rate": self.last_rate,
            **telemetry(self.defence, self.audit),
            "pairs_per_second": len(learned) * self.options.batch_size / self.seconds,
            "seconds": self.seconds,
        }
        self.begin_epoch()
        return row
