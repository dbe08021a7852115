"""Many small trainings side by side on one GPU: each one's step is a CUDA graph, replayed in turn on a stream of its own.

A step of the small model is hundreds of kernels of a few microseconds. One process starts them from Python more slowly than the
GPU runs one training's, and the GPU runs many trainings' at once. So all that a training draws (order, augmentation, tokens of
augmented captions) is put on the device before it begins; a step then takes nothing from the host, and one call starts it.

The step is `Training.take_step` of the project without what reports to the host; a test compares both on a CPU.
"""

from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.lane_data import Draws, Recipe, Settings, World
from roclip.defences import augmentation
from roclip.defences.loss import clip_loss
from roclip.defences.pool import Pool
from roclip.defences.roclip import is_matching
from roclip.model import towers
from roclip.model.pixels import normalise, to_pixels
from roclip.training.optimizer import parameter_groups
from roclip.training.schedule import learning_rate

# what a matching epoch draws, sums over its steps: clean images whose drawn caption names their class, clean images whose class
# is known; poisoned images that draw a caption of their own class, poisoned images that draw one of the adversary's, poisoned
# images; different captions drawn, captions drawn
DRAWN = ("clean_right", "clean", "poison_right", "poison_adversary", "poison", "distinct", "drawn")
WARM_UP = 3  # steps before a graph is captured
IMAGES = 2500  # that are encoded at a time when the model is measured


class DevicePool(Pool):
    """The pool, whose place for the next caption is on the device, so that a graph can be replayed."""

    def __init__(self, size: int, dimension: int, device: torch.device) -> None:
        super().__init__(size, dimension, device)
        self.oldest = torch.zeros(1, dtype=torch.long, device=device)

    def push(self, text_features: Tensor, ids: Tensor, step: int = 0) -> None:
        size, count = len(self.ids), len(ids)
        kept = min(size, count)
        slots = (self.oldest + torch.arange(count - kept, count, device=self.ids.device)) % size
        self.features[slots] = text_features[count - kept :].detach().to(self.features)
        self.ids[slots] = ids[count - kept :]
        self.oldest.add_(count).remainder_(size)


class Lane:
    """One training."""

    def __init__(
        self, name: dict, world: World, draws: Draws, recipe: Recipe, settings: Settings, seed: int, bf16: bool
    ) -> None:
        self.name, self.world, self.draws, self.recipe, self.settings = name, world, draws, recipe, settings
        device = world.images.device
        self.device, self.on_gpu = device, device.type == "cuda"
        self.runtime = towers.Runtime(device, bf16)
        config = towers.model_config(settings.model)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.model = towers.create(config).to(device).train()
        self.beginning = [tensor.clone() for tensor in self.model.state_dict().values()]
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.model, settings.weight_decay), lr=0.0,
            betas=(settings.beta1, settings.beta2), eps=settings.eps, fused=True, capturable=self.on_gpu,
        )  # fmt: skip
        self.rate = torch.zeros((), device=device)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate  # one tensor, which every step sets
        self.rates = self.schedule()
        self.pool = DevicePool(settings.pool_size, config["embed_dim"], device)
        self.place = torch.zeros(1, dtype=torch.long, device=device)  # the step of the run, counted from 0
        self.token_row = torch.zeros(1, dtype=torch.long, device=device)  # where this epoch begins in the table of tokens
        self.draw_row = torch.zeros(1, dtype=torch.long, device=device)  # and in that of augmentation
        self.loss = torch.zeros((), device=device)
        self.drawn = torch.zeros(len(DRAWN), dtype=torch.float64, device=device)
        self.stream = torch.cuda.Stream(device) if self.on_gpu else None
        self.graphs: dict[bool, torch.cuda.CUDAGraph] = {}
        if self.on_gpu:
            torch.cuda.synchronize()  # what was made on another stream is there

    def here(self):
        """On this lane's stream."""
        return torch.cuda.stream(self.stream) if self.stream else nullcontext()

    def kinds(self) -> list[bool]:
        """Of steps that the recipe takes: False, CLIP; True, matching."""
        return [False, True] if self.recipe.match_every and self.recipe.match_with != "nothing" else [False]

    def is_matching(self, epoch: int) -> bool:
        return is_matching(epoch, self.recipe.match_every)

    def takes_steps(self, epoch: int) -> bool:
        return epoch <= self.recipe.epochs and not (self.is_matching(epoch) and self.recipe.match_with == "nothing")

    def schedule(self) -> Tensor:
        """The learning rate of every step, (steps,)."""
        settings, total = self.settings, self.recipe.epochs * self.draws.steps
        rates = [learning_rate(s, total, settings.warmup_steps, settings.learning_rate) for s in range(total)]
        return torch.tensor(rates, dtype=torch.float32, device=self.device)

    def steps_planned(self) -> int:
        return self.draws.steps * sum(self.takes_steps(epoch) for epoch in range(1, self.recipe.epochs + 1))

    def capture(self) -> None:
        """Make a graph of each kind of step; the training is where it began afterwards."""
        with self.here():
            for matching in self.kinds():
                for _ in range(WARM_UP):
                    self.step(matching)
        torch.cuda.synchronize()
        for matching in self.kinds():
            self.optimizer.zero_grad(set_to_none=True)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=self.stream):
                self.step(matching)
            self.graphs[matching] = graph
        self.restart(self.recipe.epochs)

    def restart(self, epochs: int) -> None:
        """Begin again, with so many epochs, no more than there were; all tensors stay where graphs know them."""
        self.recipe = replace(self.recipe, epochs=epochs)
        rates = self.schedule()
        if self.on_gpu:
            torch.cuda.synchronize()
        with torch.no_grad(), self.here():
            self.rates[: len(rates)].copy_(rates)
            for tensor, before in zip(self.model.state_dict().values(), self.beginning, strict=True):
                tensor.copy_(before)
            for moments in self.optimizer.state.values():
                for moment in moments.values():
                    moment.zero_()
            for tensor in (self.pool.features, self.pool.oldest, self.place, self.loss, self.drawn):
                tensor.zero_()
            self.pool.ids.fill_(-1)
        if self.on_gpu:
            torch.cuda.synchronize()

    def tokens(self, rows: Tensor) -> Tensor:
        table = self.world.tokens
        return table.view(-1, table.shape[2]).index_select(0, self.token_row + rows).long()

    def pixels(self, rows: Tensor) -> Tensor:
        pixels = to_pixels(self.world.images.index_select(0, self.world.image_of.index_select(0, rows)))
        if self.recipe.augment:
            draws = self.draws.augment.index_select(0, self.draw_row + rows)
            pixels = augmentation.augment(pixels, draws, self.settings.crop_area)
        return pixels

    def step(self, matching: bool) -> None:
        """One step of the optimiser, of which the device knows which it is."""
        model, world = self.model, self.world
        rows = self.draws.order.index_select(0, self.place).squeeze(0)
        self.rate.copy_(self.rates.index_select(0, self.place).squeeze(0))
        pixels, tokens = self.pixels(rows), self.tokens(rows)
        with self.runtime.autocast(), self.runtime.attention():
            image_features = model.encode_image(normalise(pixels), normalize=True)
            with torch.set_grad_enabled(not matching):
                text_features = model.encode_text(tokens, normalize=True)
            if matching:
                if self.recipe.match_with == "nearest":
                    slots = self.pool.nearest(image_features)
                else:
                    slots = self.draws.slots.index_select(0, self.place).squeeze(0)
                loss = clip_loss(image_features, self.pool.features[slots], model.logit_scale.exp())
                self.note(world, rows, slots)
                self.pool.push(text_features, rows)
            else:
                loss = clip_loss(image_features, text_features, model.logit_scale.exp())
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, towers.MAX_LOGIT_SCALE)
        self.loss.add_(loss.detach())
        self.place.add_(1)

    def note(self, world: World, rows: Tensor, slots: Tensor) -> None:
        """What a matching step drew (DRAWN)."""
        captions = self.pool.ids[slots]
        names = torch.where(captions >= 0, world.caption_class[captions], -1)
        shown, poison = world.image_class[rows], world.is_poison[rows]
        right, wanted = (names == shown) & (shown >= 0), names == world.caption_class[rows]
        distinct = torch.zeros_like(self.pool.ids).index_fill_(0, slots, 1).sum()
        clean = ~poison & (shown >= 0)
        found = [(right & clean).sum(), clean.sum(), (right & poison).sum(), (wanted & poison).sum(), poison.sum(), distinct]
        self.drawn.add_(torch.stack([*found, torch.full_like(distinct, len(rows))]))

    def begin(self, epoch: int) -> None:
        """Point to an epoch, counted from 1."""
        with self.here(), torch.no_grad():
            self.place.fill_((epoch - 1) * self.draws.steps)
            self.token_row.fill_(epoch * self.draws.rows if self.recipe.augment else 0)
            self.draw_row.fill_((epoch - 1) * self.draws.rows)
            self.loss.zero_()
            self.drawn.zero_()
            if self.is_matching(epoch) and self.takes_steps(epoch):
                rows = self.draws.fills[epoch - 1]
                with self.runtime.autocast(), self.runtime.attention():
                    parts = [self.model.encode_text(part, normalize=True).float() for part in self.tokens(rows).split(500)]
                self.pool.push(torch.cat(parts), rows)

    def advance(self, matching: bool) -> None:
        """Take a step."""
        with self.here():
            if graph := self.graphs.get(matching):
                graph.replay()
            else:
                self.step(matching)

    @torch.no_grad()
    def measure(self) -> Tensor:
        """float64 (3 + DRAWN,): the summed loss, targets and test images that are hits, and what was drawn; on the device."""
        world, model = self.world, self.model
        with self.here():
            model.eval()
            with self.runtime.autocast(), self.runtime.attention():
                texts = torch.cat([model.encode_text(p, normalize=True).float() for p in world.prompts.split(500)])
                texts = normalize(texts.view(world.classes, -1, texts.shape[1]).mean(1), dim=-1)
                hits = [
                    sum(
                        self.hits(texts, images, wanted)
                        for images, wanted in zip(i.split(IMAGES), c.split(IMAGES), strict=True)
                    )
                    for i, c in ((world.targets, world.target_labels), (world.tests, world.test_labels))
                ]
            model.train()
            return torch.cat([torch.stack([self.loss.double(), *(hit.double() for hit in hits)]), self.drawn])

    def hits(self, texts: Tensor, images: Tensor, wanted: Tensor) -> Tensor:
        """How many images have the wanted class as their first; a tie counts against it."""
        pixels = normalise(to_pixels(self.world.images.index_select(0, images)))
        scores = self.model.encode_image(pixels).float() @ texts.float().T
        return ((scores >= scores.gather(1, wanted[:, None])).sum(1) == 1).sum()
