"""What is noted of an epoch: what it drew from the pool, and what the model can do after it. None of it is trained on."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from roclip.core.files import read_lines, read_table
from roclip.core.randomness import generator
from roclip.data.class_mentions import naming
from roclip.data.images import Intake
from roclip.data.pairs import Columns
from roclip.defences.pool import Pool
from roclip.evaluation.zero_shot_classifier import class_features, labels_of, prompts, ranks
from roclip.model import towers
from roclip.model.captions import Captions
from roclip.training.loader import FromFiles, InMemory
from roclip.training.schedule import DRAWN

if TYPE_CHECKING:
    from roclip.training.trainer import TrainOptions

COSINE_PAIRS = 1000  # so many clean and at most so many poisoned pairs have their cosine taken after every epoch


class Poisons:
    """Which pairs are poisoned, and which captions name the class that a poisoned pair is meant to teach.

    `is_poison` is (pairs,); both are false throughout when the table does not say.
    """

    def __init__(self, pairs: Columns, device: torch.device | str = "cpu") -> None:
        captions = pairs["caption"]
        unknown = [""] * len(captions)
        self.is_poison = torch.tensor([cell == "1" for cell in pairs.get("is_poison", unknown)], device=device)
        wanted = pairs.get("adversary_class", unknown)
        number = {name: i for i, name in enumerate(sorted(set(wanted) - {""}))}
        self._class = torch.tensor([number.get(name, -1) for name in wanted], device=device)
        named = torch.zeros(len(number) + 1, len(captions), dtype=torch.bool)  # the last line: of no class
        for name, i in number.items():
            named[i, naming(captions, name)] = True
        self._named = named.to(device)

    def adversary_captions(self, images: Tensor, captions: Tensor) -> Tensor:
        """Whether a caption names the class that the adversary wants for the image it was matched with: (matched,).

        images, captions: (matched,), their rows; for a clean image, and a caption of row -1, it does not.
        """
        return self._named[self._class[images], captions] & (captions >= 0) & self.is_poison[images]

    def chance(self, images: Tensor, pool: Tensor) -> Tensor:
        """The share of the pool's captions (rows, (size,)) that name the class of each image, 0 for clean ones: (images,)."""
        shares = (self._named[:, pool] & (pool >= 0)).float().mean(1)
        return shares[self._class[images]] * self.is_poison[images]


class Draws:
    """Running means over the steps of a matching epoch, in the columns of the history.

    `sums` is (columns, 2), a sum and what to divide it by. It stays on the device, for to read it would hold up every step.
    """

    def __init__(self, poisons: Poisons) -> None:
        self.poisons = poisons
        self.sums = torch.zeros(len(DRAWN), 2, dtype=torch.float64, device=poisons.is_poison.device)

    def note(self, pool: Pool, batch: Tensor, slots: Tensor, step: int) -> None:
        """A batch (rows, (batch,)) that drew `slots` (batch,) of the pool, before it enters the pool itself."""
        captions, size = pool.rows[slots], len(pool.rows)
        drawn = torch.zeros(size, dtype=torch.bool, device=slots.device)
        drawn[slots] = True
        poisoned = self.poisons.is_poison[batch].sum()
        held = self.poisons.is_poison[pool.rows] & (pool.rows >= 0)
        noted = {
            "distinct_neighbours": (drawn.sum(), len(slots)),
            "own_captions": ((captions == batch).sum(), len(batch)),
            "adversary_captions": (self.poisons.adversary_captions(batch, captions).sum(), poisoned),
            "adversary_captions_by_chance": (self.poisons.chance(batch, pool.rows).sum(), poisoned),
            "poisons_in_pool": (held.sum(), size),
            "pool_age": ((step - pool.steps).sum(), size),
        }
        for column, (total, count) in zip(self.sums, (noted[name] for name in DRAWN), strict=True):
            column[0] += total
            column[1] += count

    def means(self) -> dict[str, float]:
        """nan for what never happened: no matching step, no poisoned image."""
        return {name: total / n if n else math.nan for name, (total, n) in zip(DRAWN, self.sums.tolist(), strict=True)}


class Measurement:
    """What is measured after every epoch: attack success and zero-shot accuracy, and the cosines of training pairs."""

    def __init__(
        self,
        options: "TrainOptions",
        config: dict[str, Any],
        intake: Intake,
        captions: Sequence[str],
        images: InMemory | FromFiles,
        poisons: Poisons,
    ) -> None:
        classes = read_lines(options.classes)
        size = config["vision_cfg"]["image_size"]
        self.classes = len(classes)
        self.prompt_tokens = Captions(prompts(classes, read_lines(options.templates)), towers.tokenizer(config)).tokens()
        self.targets = self._exam(options.targets, None, classes, size, intake, options.threads)
        self.validation = self._exam(options.validation, options.validation_images, classes, size, intake, options.threads)
        self.is_poison = poisons.is_poison.cpu()
        shuffled = torch.randperm(len(self.is_poison), generator=generator("cosines", options.seed))
        clean, poisoned = shuffled[~self.is_poison[shuffled]], shuffled[self.is_poison[shuffled]]
        self.pairs = torch.cat([clean[:COSINE_PAIRS], poisoned[:COSINE_PAIRS]]).sort().values
        self.pair_images = images[self.pairs].numpy()
        self.pair_tokens = Captions([captions[row] for row in self.pairs], towers.tokenizer(config)).tokens()

    @staticmethod
    def _exam(
        path: Path, limit: int | None, classes: list[str], size: int, intake: Intake, threads: int
    ) -> tuple[np.ndarray, np.ndarray]:
        rows = read_table(path, ("path", "label"))[:limit]
        images, good = intake.load(path, [row["path"] for row in rows], size, threads)
        return images, labels_of(path, rows, classes)[good]

    def measure(self, model: torch.nn.Module, runtime: towers.Runtime) -> tuple[dict[str, float], list[dict[str, Any]]]:
        """The model as it is: the history's measures, nan where there is no image; and row, is_poison, cosine of some pairs.

        The cosine is that of image and own caption, neither augmented.
        """
        model.eval()
        texts = class_features(towers.encode_tokens(model, self.prompt_tokens, runtime).numpy(), self.classes)
        measures = {}
        for name, (images, labels) in (("attack_success", self.targets), ("zero_shot", self.validation)):
            features = normalize(towers.encode_images(model, images, runtime), dim=-1).numpy()
            measures[name] = float((ranks(features, texts, labels) == 0).mean()) if len(labels) else math.nan
            if name == "attack_success":
                measures["target_cosine"] = float((features * texts[labels]).sum(1).mean()) if len(labels) else math.nan
        image_features = normalize(towers.encode_images(model, self.pair_images, runtime), dim=-1)
        cosines = (image_features * towers.encode_tokens(model, self.pair_tokens, runtime)).sum(1)
        model.train()
        poisoned = self.is_poison[self.pairs]
        measures["clean_cosine"], measures["poison_cosine"] = cosines[~poisoned].mean().item(), cosines[poisoned].mean().item()
        pairs = zip(self.pairs.tolist(), poisoned.int().tolist(), cosines.tolist(), strict=True)
        return measures, [{"row": row, "is_poison": poison, "cosine": f"{cosine:.4f}"} for row, poison, cosine in pairs]
