"""A training: a model, its optimiser, its pool and the pairs it learns from; one loop for CLIP and RoCLIP.

Every `match_every`-th epoch, counted from 1, is a matching epoch, in which each image is paired with the most similar caption
of the pool instead of its own; `match_every` 0 is plain CLIP.
"""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch
from torch import Tensor
from tqdm import tqdm

from roclip.core.errors import UserError
from roclip.core.files import sha256
from roclip.core.options import option
from roclip.core.provenance import fingerprint, provenance
from roclip.core.randomness import generator
from roclip.data.images import Intake
from roclip.data.pairs import read_pairs
from roclip.defences import augmentation, eda
from roclip.defences.loss import clip_loss
from roclip.defences.pool import Pool
from roclip.model import towers
from roclip.model.captions import Captions
from roclip.model.pixels import normalise
from roclip.training.distributed import Ranks
from roclip.training.loader import FromFiles, InMemory
from roclip.training.monitor import Draws, Measurement, Poisons
from roclip.training.nonfinite import FiniteCheck
from roclip.training.schedule import is_matching, learning_rate

log = logging.getLogger(__name__)

# random captions of the data, as the towers see them at the start of every matching epoch, or of the first one; or noise
POOL_FILLS = ("each_matching_epoch", "once", "noise")


@dataclass(frozen=True)
class TrainOptions:
    pairs: Path = option("table of training pairs (path, caption)")
    targets: Path = option("the attack's exam (path, label), measured after every epoch; never trained on")
    validation: Path = option("labelled images (path, label) for the zero-shot accuracy after every epoch")
    classes: Path = option("file with one class name a line")
    templates: Path = option("file with one prompt template a line")
    out: Path = option("folder of the model", role="output")
    seed: int = option("seed of initialisation, order and augmentation")
    model: str = option("open_clip's name of a model, or a .json file in its format", role="files")
    epochs: int = option("number of epochs")
    batch_size: int = option("pairs a step")
    learning_rate: float = option("peak of the learning rate")
    beta1: float = option("AdamW's first beta")
    beta2: float = option("AdamW's second beta")
    eps: float = option("AdamW's epsilon")
    weight_decay: float = option("AdamW's weight decay, of matrices and kernels only")
    warmup_steps: int = option("steps of linear warm-up")
    crop_area: float = option("least share of the image that a random crop keeps")
    validation_images: int = option("how many of the validation images are used after every epoch")
    roots: tuple[str, ...] = option("folders in which images may lie; none outside them is opened")
    max_bad_fraction: float = option("share of images that may be missing or broken")
    precision: str = option("arithmetic of the towers", choices=("bf16", "float32"))
    match_every: int = option("every so many epochs is a matching epoch; 0: none, plain CLIP")
    match_from: int = option("first epoch that may be a matching epoch")
    pool_size: int = option("captions in the pool")
    pool_fill: str = option("what the pool holds before the first batch enters it", choices=POOL_FILLS)
    caption_gradient: str = option("what AdamW sees of the caption tower in matching epochs", choices=("none", "zeros"))
    augment_images: bool = option("augment the images, anew each epoch")
    augment_captions: str = option("augment the captions", choices=("never", "once", "each_epoch"))
    checkpoint_minutes: float = option("minutes between checkpoints; there is one after every epoch too", role="neutral")
    device: str = option("where to train; auto: on the GPU when there is one", choices=("auto", "cpu", "cuda"))
    deterministic: bool = option("on GPUs only kernels that repeat themselves to the bit")
    compile: bool = option("compile the towers with torch.compile")
    images: str = option(
        "memory: decode all images once, as centre squares; files: decode each as it is needed and crop the whole of it",
        choices=("memory", "files"),
    )
    workers: int = option(
        "processes that decode images from files, of all ranks together; 0: none beside the training", role="neutral"
    )
    threads: int = option("CPU threads", default=1)


def parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[dict]:
    """AdamW's groups: decay for matrices, kernels and embeddings; none for norms, biases and logit_scale."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    decayed = [p for p in parameters if p.ndim >= 2]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


def caption_parameters(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The parameters of the caption tower: all but the image tower's and logit_scale."""
    return [p for name, p in model.named_parameters() if not name.startswith("visual.") and name != "logit_scale"]


class Training:
    """A model, its optimiser, its pool and the pairs it learns from."""

    def __init__(self, options: TrainOptions, ranks: Ranks | None = None) -> None:
        self.options, self.ranks = options, ranks or Ranks()
        self.runtime = towers.Runtime.choose(options.precision, options.threads, options.device)
        self.config = towers.model_config(options.model)
        size = self.config["vision_cfg"]["image_size"]

        pairs = read_pairs(options.pairs, ("is_poison", "adversary_class"))
        self.intake = Intake(options.roots, options.max_bad_fraction)
        started = time.perf_counter()
        self.images, self.rows = self._images(pairs["path"], size)
        done = "decoded" if options.images == "memory" else "checked"
        log.info("%s %d images in %.1f s", done, len(self.rows), time.perf_counter() - started)
        self.ranks.agree("which images can be read", fingerprint(self.rows.tolist()))
        pairs = {name: [cells[row] for row in self.rows] for name, cells in pairs.items()}
        self.captions = Captions(pairs["caption"], towers.tokenizer(self.config))
        if options.batch_size > len(self.rows):
            raise UserError(
                f"train.batch_size: {options.batch_size} is more than the {len(self.rows)} pairs of {options.pairs}"
            )
        if options.match_every and options.pool_size > len(self.rows):
            raise UserError(f"method.pool_size: {options.pool_size} is more than the {len(self.rows)} pairs of {options.pairs}")
        if options.batch_size % self.ranks.count:
            raise UserError(f"train.batch_size: {options.batch_size} cannot be shared by {self.ranks.count} processes")
        self.poisons = Poisons(pairs, self.runtime.device)
        self.measurement = Measurement(options, self.config, self.intake, pairs["caption"], self.images, self.poisons)
        self.steps_per_epoch = len(self.rows) // options.batch_size
        self.start()

    def _images(self, paths: list[str], size: int) -> tuple[InMemory | FromFiles, np.ndarray]:
        """The images that can be decoded, and their places in `paths`."""
        options, device = self.options, self.runtime.device
        if options.images == "memory":
            needed, free = len(paths) * 3 * size**2, psutil.virtual_memory().available
            if needed > free:
                raise UserError(
                    f"train.images: memory needs {needed / 1e9:.1f} GB for {len(paths)} images of {size} pixels, and "
                    f"{free / 1e9:.1f} GB are free; use files"
                )
            images, rows = self.intake.load(options.pairs, paths, size, options.threads)
            return InMemory(torch.from_numpy(images), options.crop_area, device), rows
        workers = -(-options.workers // self.ranks.count)
        rows = self.intake.readable(options.pairs, paths, max(options.threads, workers))
        return FromFiles([paths[row] for row in rows], size, options.crop_area, workers, device), rows

    def start(self) -> None:
        """The state before the first step."""
        options, device = self.options, self.runtime.device
        with torch.random.fork_rng():
            torch.manual_seed(options.seed)
            self.model = towers.create(self.config).to(device).train()
        if self.ranks.count > 1:
            if device.type == "cpu" and any(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in self.model.modules()):
                raise UserError("train.device: on CPUs, processes cannot share a training of a model with batch norms; use one")
            self.model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(self.model)
        if options.compile:
            self.model.visual.compile()
            self.model.transformer.compile()
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.model, options.weight_decay),
            lr=options.learning_rate, betas=(options.beta1, options.beta2), eps=options.eps, fused=True,
        )  # fmt: skip
        self.pool = Pool(options.pool_size if options.match_every else 0, self.config["embed_dim"], device)
        if options.pool_fill == "noise":
            self.pool.fill_with_noise(generator("pool", options.seed, 0))
        self.matches = torch.full((len(self.rows),), -1, dtype=torch.long, device=device)
        self.caption_parameters = caption_parameters(self.model)
        self.finite = FiniteCheck(device, options.pairs, self.rows)
        self.steps_taken = 0
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """Nothing is noted yet of the epoch that comes."""
        self.losses = torch.zeros(self.steps_per_epoch, device=self.runtime.device)
        self.drawn = Draws(self.poisons)
        self.step = 0  # steps taken in this epoch
        self.seconds = 0.0

    def state(self) -> tuple[dict[str, Tensor], dict[str, float]]:
        """All that the next step depends on, or the history: tensors by name, and numbers. Random draws are keyed by step."""
        tensors = {f"model/{name}": tensor for name, tensor in self.model.state_dict().items()}
        for number, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{number}/{name}": tensor for name, tensor in moments.items()}
        tensors |= {f"pool/{name}": getattr(self.pool, name) for name in ("features", "rows", "steps")}
        tensors |= {"matches": self.matches, "losses": self.losses, "drawn": self.drawn.sums}
        numbers = {"steps_taken": self.steps_taken, "step": self.step, "seconds": self.seconds, "pool_oldest": self.pool.oldest}
        return tensors, numbers

    def restore(self, tensors: dict[str, Tensor], numbers: dict[str, float]) -> None:
        """Be where `state` was taken."""

        def named(prefix: str) -> Iterator[tuple[str, Tensor]]:
            return ((name.removeprefix(prefix), tensor) for name, tensor in tensors.items() if name.startswith(prefix))

        self.model.load_state_dict(dict(named("model/")))
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in named("optimizer/"):
            number, _, moment = name.partition("/")
            # the fused kernel takes for granted that moments lie in memory as their parameter does, channels last or not
            like = torch.empty_like(parameters[int(number)]) if tensor.ndim else torch.empty_like(tensor)
            moments.setdefault(int(number), {})[moment] = like.copy_(tensor)
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})
        for name, tensor in named("pool/"):
            getattr(self.pool, name).copy_(tensor)
        self.matches.copy_(tensors["matches"])
        self.losses.copy_(tensors["losses"])
        self.drawn.sums.copy_(tensors["drawn"])
        self.steps_taken, self.step, self.seconds = numbers["steps_taken"], numbers["step"], numbers["seconds"]
        self.pool.oldest = numbers["pool_oldest"]

    def fill_pool(self, epoch: int) -> None:
        """When `pool_fill` says so, fill the pool with features of random captions, as the towers see them now."""
        if self.options.pool_fill == "noise" or (self.options.pool_fill == "once" and self.pool.rows[0] >= 0):
            return
        chosen = torch.randperm(len(self.rows), generator=generator("pool", self.options.seed, epoch))[: len(self.pool.rows)]
        self.pool.push(towers.encode_tokens(self.model, self.tokens(epoch, chosen), self.runtime), chosen, self.steps_taken)

    def tokens(self, epoch: int, rows: Tensor) -> Tensor:
        """The tokens of some captions in an epoch, augmented or not: (rows,) -> (rows, context)."""
        if self.options.augment_captions == "never":
            return self.captions.tokens(rows)
        return self.captions.tokens(rows, eda.keyed(self.options.seed, 0 if self.options.augment_captions == "once" else epoch))

    def rate(self, step: int) -> float:
        """The learning rate of a step of the run, counted from 0."""
        options = self.options
        return learning_rate(step, options.epochs * self.steps_per_epoch, options.warmup_steps, options.learning_rate)

    def steps(self, epoch: int) -> Iterator[None]:
        """Train for one epoch, counted from 1, or what is left of it, a step at a time."""
        options, device, ranks = self.options, self.runtime.device, self.ranks
        if self.step == self.steps_per_epoch:
            return
        matching = is_matching(epoch, options.match_every, options.match_from)
        started, before = time.perf_counter(), self.seconds
        draws = augmentation.epoch_draws(len(self.rows), options.seed, epoch) if options.augment_images else None
        order = torch.randperm(len(self.rows), generator=generator("order", options.seed, epoch))
        batches = order[: self.steps_per_epoch * options.batch_size].split(options.batch_size)[self.step :]
        parts = [ranks.part(batch) for batch in batches]
        if matching and self.step == 0:
            self.fill_pool(epoch)
        bar = tqdm(
            zip(batches, parts, self.images.pixels(parts, draws), strict=True), f"epoch {epoch}/{options.epochs}",
            total=self.steps_per_epoch, initial=self.step, unit_scale=options.batch_size, unit="pair", leave=False,
            disable=None if ranks.rank == 0 else True,
        )  # fmt: skip
        for batch, part, pixels in bar:
            tokens = self.tokens(epoch, part).to(device, non_blocking=True)
            self.take_step(pixels, tokens, batch.to(device, non_blocking=True), matching)
            self.seconds = before + time.perf_counter() - started
            yield

    def take_step(self, pixels: Tensor, tokens: Tensor, batch: Tensor, matching: bool) -> None:
        """One step of the optimiser.

        pixels: this rank's part of the batch, (part, 3, size, size) in [0, 1]; tokens: (part, context); batch: the rows of all
        ranks, (batch,).
        """
        model, ranks = self.model, self.ranks
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(self.steps_taken)
        with self.runtime.autocast(), self.runtime.attention():
            image_features = ranks.gather(model.encode_image(normalise(pixels), normalize=True))
            # no gradient reaches the caption tower in a matching epoch
            with torch.set_grad_enabled(not matching):
                text_features = ranks.gather(model.encode_text(tokens, normalize=True))
            if matching:
                slots = self.pool.nearest(image_features)
                loss = clip_loss(image_features, self.pool.features[slots], model.logit_scale.exp())
                self.drawn.note(self.pool, batch, slots, self.steps_taken)
                self.matches[batch] = self.pool.rows[slots]
                self.pool.push(text_features, batch, self.steps_taken)
            else:
                loss = clip_loss(image_features, text_features, model.logit_scale.exp())
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
        ranks.sum_gradients(model)
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        self.finite.note(loss, gradients, self.steps_taken, batch)
        if matching and self.options.caption_gradient == "zeros":
            for parameter in self.caption_parameters:
                parameter.grad = torch.zeros_like(parameter)
        self.optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, towers.MAX_LOGIT_SCALE)
        self.losses[self.step] = loss.detach()
        self.steps_taken, self.step = self.steps_taken + 1, self.step + 1

    def epoch(self, epoch: int, after_step: Callable[[], None] = lambda: None) -> dict[str, float | str]:
        """Train for one epoch, counted from 1, or what is left of it; its row of the history, without what is measured.

        after_step: called after every step. Raises UserError for a loss or gradients that are no finite numbers.
        """
        for _ in self.steps(epoch):
            after_step()
        self.finite.check()
        matching = is_matching(epoch, self.options.match_every, self.options.match_from)
        row = {
            "epoch": epoch,
            "kind": "matching" if matching else "clip",
            "loss": self.losses.mean().item(),
            "learning_rate": self.rate(self.steps_taken - 1),
            **self.drawn.means(),
            "pairs_per_second": self.steps_per_epoch * self.options.batch_size / self.seconds,
            "seconds": self.seconds,
        }
        self.begin_epoch()
        return row

    def save(self, epoch: int, folder: Path) -> None:
        """Keep the weights when this is the last epoch of its kind."""
        options = self.options
        kind, *later = (is_matching(e, options.match_every, options.match_from) for e in range(epoch, options.epochs + 1))
        if kind in later:
            return
        record = {
            "model_config": self.config,
            "tokenizer": towers.fingerprint_of(self.captions.tokenizer),
            "epoch": epoch,
            "inputs": {str(options.pairs): sha256(options.pairs)},
            **provenance(options),
        }
        name = "last_matching" if kind else "last_clip"
        towers.save(self.model, folder / f"{name}.safetensors", record)
