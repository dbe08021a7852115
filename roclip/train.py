"""Stage: train CLIP or RoCLIP on a table of pairs.

One loop for both: every `match_every`-th epoch, counted from 1, is a matching epoch, in which each image is paired with the
most similar caption of the pool instead of its own; `match_every` 0 is plain CLIP.

Writes `history.csv` (a row an epoch), `matches.csv` (for every row of the data, the row whose caption it was last matched
with), `cosines.csv` (after every epoch the cosine of some pairs) and `weights/last_clip.safetensors`,
`weights/last_matching.safetensors` (those that the schedule has).
"""

import dataclasses
import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from roclip import augment, towers
from roclip.captions import Captions
from roclip.errors import UserError
from roclip.images import load_images
from roclip.loss import clip_loss
from roclip.options import option, run_stage
from roclip.pixels import normalise, to_pixels
from roclip.pool import Pool
from roclip.provenance import provenance
from roclip.randomness import generator
from roclip.schedule import COSINES, HISTORY, is_matching, learning_rate
from roclip.tables import read_table, write_table
from roclip.telemetry import Draws, Measurement, Poisons

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
    out: Path = option("folder of the model")
    seed: int = option("seed of initialisation, order and augmentation")
    model: str = option("open_clip's name of a model, or a .json file in its format")
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
    max_bad_fraction: float = option("share of images that may be missing or broken")
    precision: str = option("arithmetic of the towers", choices=("bf16", "float32"))
    match_every: int = option("every so many epochs is a matching epoch; 0: none, plain CLIP")
    match_from: int = option("first epoch that may be a matching epoch")
    pool_size: int = option("captions in the pool")
    pool_fill: str = option("what the pool holds before the first batch enters it", choices=POOL_FILLS)
    caption_gradient: str = option("what AdamW sees of the caption tower in matching epochs", choices=("none", "zeros"))
    augment_images: bool = option("augment the images, anew each epoch")
    augment_captions: str = option("augment the captions", choices=("never", "once", "each_epoch"))
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

    def __init__(self, options: TrainOptions) -> None:
        self.options = options
        self.runtime = towers.Runtime.choose(options.precision, options.threads)
        config = towers.model_config(options.model)
        size = config["vision_cfg"]["image_size"]

        rows = read_table(options.pairs, ("path", "caption"))
        started = time.perf_counter()
        paths = [row["path"] for row in rows]
        images, self.rows = load_images(options.pairs, paths, size, options.max_bad_fraction, options.threads)
        self.images = torch.from_numpy(images)
        log.info("decoded %d images in %.1f s", len(self.rows), time.perf_counter() - started)
        self.captions = Captions([rows[row]["caption"] for row in self.rows], towers.tokenizer(config))
        if options.batch_size > len(self.rows):
            raise UserError(
                f"train.batch_size: {options.batch_size} is more than the {len(self.rows)} pairs of {options.pairs}"
            )
        if options.match_every and options.pool_size > len(self.rows):
            raise UserError(f"method.pool_size: {options.pool_size} is more than the {len(self.rows)} pairs of {options.pairs}")
        self.poisons = Poisons([rows[row] for row in self.rows])
        self.measurement = Measurement(options, config, [rows[row] for row in self.rows], self.images, self.poisons)
        self.config = config

        with torch.random.fork_rng():
            torch.manual_seed(options.seed)
            self.model = towers.create(config).to(self.runtime.device).train()
        self.steps_per_epoch = len(self.rows) // options.batch_size
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.model, options.weight_decay),
            lr=options.learning_rate, betas=(options.beta1, options.beta2), eps=options.eps, fused=True,
        )  # fmt: skip
        self.pool = Pool(options.pool_size if options.match_every else 0, config["embed_dim"], self.runtime.device)
        self.matches = torch.full((len(self.rows),), -1, dtype=torch.long)
        self.caption_parameters = caption_parameters(self.model)
        self.steps_taken = 0

        if options.pool_fill == "noise":
            self.pool.fill_with_noise(generator("pool", options.seed, 0))

    def fill_pool(self, tokens: Tensor, epoch: int) -> None:
        """When `pool_fill` says so, fill the pool with features of random captions, as the towers see them now."""
        if self.options.pool_fill == "noise" or (self.options.pool_fill == "once" and self.pool.rows[0] >= 0):
            return
        chosen = torch.randperm(len(tokens), generator=generator("pool", self.options.seed, epoch))[: len(self.pool.rows)]
        self.pool.push(towers.encode_tokens(self.model, tokens[chosen], self.runtime), chosen, self.steps_taken)

    def tokens(self, epoch: int) -> Tensor:
        """The tokens of all captions in an epoch, augmented or not: (pairs, context)."""
        if self.options.augment_captions == "never":
            return self.captions.tokens()
        return self.captions.tokens(self.options.seed, 0 if self.options.augment_captions == "once" else epoch)

    def epoch(self, epoch: int) -> dict[str, float | str]:
        """Train for one epoch, counted from 1; its row of the history, without what is measured."""
        options, runtime, model = self.options, self.runtime, self.model
        matching = is_matching(epoch, options.match_every, options.match_from)
        started = time.perf_counter()
        tokens = self.tokens(epoch)
        draws = augment.epoch_draws(len(self.rows), options.seed, epoch) if options.augment_images else None
        order = torch.randperm(len(self.rows), generator=generator("order", options.seed, epoch))
        if matching:
            self.fill_pool(tokens, epoch)
        losses, drawn = [], Draws(self.poisons)
        steps = range(self.steps_per_epoch)
        bar = tqdm(
            steps, f"epoch {epoch}/{options.epochs}", unit_scale=options.batch_size, unit="pair", leave=False, disable=None
        )
        for step in bar:
            batch = order[step * options.batch_size : (step + 1) * options.batch_size]
            pixels = to_pixels(self.images[batch].to(runtime.device, non_blocking=True))
            if draws is not None:
                pixels = augment.augment(pixels, draws[batch].to(runtime.device), options.crop_area)
            rate = learning_rate(
                self.steps_taken, options.epochs * self.steps_per_epoch, options.warmup_steps, options.learning_rate
            )
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            with runtime.autocast(), runtime.attention():
                image_features = model.encode_image(normalise(pixels), normalize=True)
                # no gradient reaches the caption tower in a matching epoch
                with torch.set_grad_enabled(not matching):
                    text_features = model.encode_text(tokens[batch].to(runtime.device), normalize=True)
                if matching:
                    slots = self.pool.nearest(image_features)
                    loss = clip_loss(image_features, self.pool.features[slots], model.logit_scale.exp())
                    drawn.note(self.pool, batch, slots, self.steps_taken)
                    self.matches[batch] = self.pool.rows[slots.cpu()]
                    self.pool.push(text_features, batch, self.steps_taken)
                else:
                    loss = clip_loss(image_features, text_features, model.logit_scale.exp())
                self.optimizer.zero_grad(set_to_none=True)
                loss.backward()
            if matching and options.caption_gradient == "zeros":
                for parameter in self.caption_parameters:
                    parameter.grad = torch.zeros_like(parameter)
            self.optimizer.step()
            self.steps_taken += 1
            with torch.no_grad():
                model.logit_scale.clamp_(0, towers.MAX_LOGIT_SCALE)
            losses.append(loss.detach())
        mean_loss = torch.stack(losses).mean().item()
        if not math.isfinite(mean_loss):
            raise UserError(f"the loss of epoch {epoch} is {mean_loss}; lower train.learning_rate")
        seconds = time.perf_counter() - started
        return {
            "epoch": epoch,
            "kind": "matching" if matching else "clip",
            "loss": mean_loss,
            "learning_rate": rate,
            **drawn.means(),
            "pairs_per_second": self.steps_per_epoch * options.batch_size / seconds,
            "seconds": seconds,
        }

    def save(self, epoch: int) -> None:
        """Keep the weights when this is the last epoch of its kind."""
        options = self.options
        kind, *later = (is_matching(e, options.match_every, options.match_from) for e in range(epoch, options.epochs + 1))
        if kind in later:
            return
        record = {
            "model_config": self.config,
            "epoch": epoch,
            "options": dataclasses.asdict(options),
            **provenance(options.pairs),
        }
        record["options"] = {k: str(v) if isinstance(v, Path) else v for k, v in record["options"].items()}
        name = "last_matching" if kind else "last_clip"
        towers.save(self.model, options.out / "weights" / f"{name}.safetensors", record)


def run(options: TrainOptions) -> list[dict]:
    """Train; the rows of the history. Raises UserError for data that does not fit the options."""
    training = Training(options)
    history, cosines = [], []
    for epoch in range(1, options.epochs + 1):
        row = training.epoch(epoch)
        measures, pairs = training.measurement.measure(training.model, training.runtime)
        row |= measures
        history.append(row)
        cosines += [{**pair, "epoch": epoch, "row": int(training.rows[pair["row"]])} for pair in pairs]
        log.info(
            "epoch %d/%d %-8s loss %.3f  attack success %.3f  zero-shot %.3f  %.0f pairs/s  %.0f s left",
            epoch, options.epochs, row["kind"], row["loss"], row["attack_success"], row["zero_shot"], row["pairs_per_second"],
            (options.epochs - epoch) * np.mean([r["seconds"] for r in history]),
        )  # fmt: skip
        training.save(epoch)
    write_table(options.out / "history.csv", HISTORY, history)
    matches = [
        {"row": int(row), "caption_row": int(training.rows[match])}
        for row, match in zip(training.rows, training.matches, strict=True)
        if match >= 0
    ]
    write_table(options.out / "matches.csv", ("row", "caption_row"), matches)
    write_table(options.out / "cosines.csv", COSINES, cosines)
    return history


if __name__ == "__main__":
    run_stage(TrainOptions, run)
