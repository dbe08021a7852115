"""What is measured of a training beside its loss. It knows the truth, and nothing of it is trained on."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from roclip.core.columns import QUERIES, TRUTH
from roclip.core.errors import UserError
from roclip.core.files import read_columns, read_lines, read_table
from roclip.core.randomness import generator
from roclip.data.class_mentions import BETWEEN, named_by, naming
from roclip.data.images import Intake
from roclip.defences.base import Defence
from roclip.evaluation.class_numbers import labels_of
from roclip.evaluation.class_tokens import class_tokens
from roclip.evaluation.lookup import best_ranks
from roclip.evaluation.zero_shot_classifier import class_features, ranks
from roclip.model import towers
from roclip.model.captions import Captions
from roclip.training.loader import FromFiles, InMemory
from roclip.training.settings import LoopOptions

COSINE_PAIRS = 1000  # so many clean and at most so many poisoned pairs have their cosine taken after every epoch
MATCHED = (
    "adversary_captions", "adversary_captions_by_chance", "poisons_in_pool", "clean_own_class", "clean_own_class_by_chance",
    "poison_own_class", "poison_own_class_by_chance", "poison_neither",
)  # fmt: skip
TRUSTED = ("safe_pairs", "poisons_that_are_safe", "safe_that_are_poisons")
AUDITED = (*MATCHED, *TRUSTED)
MOST = 4  # classes of a caption or an image that are looked at, the first ones; a caption rarely names more


def read_truth(path: Path | None, pairs: Path, count: int) -> dict[str, list[str]]:
    """The columns of truth.csv, empty where there is no file. Raises UserError unless it has a row for each of the pairs."""
    if path is None:
        return {column: [""] * count for column in TRUTH}
    truth = read_columns(path, tuple(TRUTH))
    if len(truth["is_poison"]) != count:
        raise UserError(f"{path}: {len(truth['is_poison'])} rows for the {count} of {pairs}; make the attack again")
    return truth


class Audit:
    """Which captions poisoned images are paired with, as means over an epoch; all pairs go by their ids.

    `sums` is (columns, 2), a sum and what to divide it by. It stays on the device, because reading it would hold up every step.
    """

    def __init__(
        self,
        captions: Sequence[str],
        truth: Mapping[str, Sequence[str]],
        device: torch.device | str = "cpu",
        classes: Path | None = None,
    ) -> None:
        """captions, and the columns of the truth: one for each id. classes: a file with a name a line; without it none."""
        self.is_known = any(truth["is_poison"])
        self.is_poison = torch.tensor([cell == "1" for cell in truth["is_poison"]], device=device)
        wanted = truth["adversary_class"]
        number = {name: i for i, name in enumerate(sorted(set(wanted) - {""}))}
        self._class = torch.tensor([number.get(name, -1) for name in wanted], device=device)
        named = torch.zeros(len(number) + 1, len(captions), dtype=torch.bool)  # the last line: of no class
        for name, i in number.items():
            named[i, naming(captions, name)] = True
        self._named = named.to(device)
        self._classes = read_lines(classes) if classes else []
        self._names = self._numbers(named_by(captions, self._classes), len(captions)).to(device)
        number = {name: i for i, name in enumerate(self._classes)}
        shown = ([number[name] for name in cell.split(BETWEEN) if name in number] for cell in truth["true_class"])
        # of a clean image its caption says what it shows, of a poisoned one the truth
        true = self._numbers(shown, len(captions)).to(device)
        self._own = torch.where(self.is_poison[:, None], true, self._names)
        self.begin()

    @staticmethod
    def _numbers(found: Iterable[list[int]], count: int) -> Tensor:
        """The first numbers of each list: int16 (count, MOST), -1 where there are fewer."""
        numbers = np.full((count, MOST), -1, np.int16)
        for row, its in zip(numbers, found, strict=True):
            row[: len(its)] = its[:MOST]
        return torch.from_numpy(numbers)

    def begin(self) -> None:
        """Nothing is noted yet of the epoch that comes."""
        self.sums = torch.zeros(len(AUDITED), 2, dtype=torch.float64, device=self.is_poison.device)

    def note(self, images: Tensor, captions: Tensor, pool: Tensor) -> None:
        """Images (batch,) that were paired with captions (batch,) of a pool (size,); ids, -1 for no caption."""
        poisoned = self.is_poison[images].sum()
        held = self.is_poison[pool] & (pool >= 0)
        noted = (
            (self.adversary_captions(images, captions).sum(), poisoned),
            (self.chance(images, pool).sum(), poisoned),
            (held.sum(), len(pool) if self.is_known else 0),
            *self._own_classes(images, captions, pool),
        )
        for column, (total, count) in zip(self.sums[: len(MATCHED)], noted, strict=True):
            column[0] += total
            column[1] += count

    def note_trusted(self, ids: Tensor) -> None:
        """The pairs (n,) that count as well matched."""
        poisons, known = self.is_poison[ids].sum(), int(self.is_known)
        noted = ((len(ids), len(self.is_poison)), (poisons, self.is_poison.sum()), (poisons, len(ids) * known))
        for column, (total, count) in zip(self.sums[len(MATCHED) :], noted, strict=True):
            column[0], column[1] = total, count

    def adversary_captions(self, images: Tensor, captions: Tensor) -> Tensor:
        """Whether a caption names the class that the adversary wants for the image it was paired with: (batch,).

        For a clean image, and for a caption of id -1, it does not.
        """
        return self._named[self._class[images], captions] & (captions >= 0) & self.is_poison[images]

    def chance(self, images: Tensor, pool: Tensor) -> Tensor:
        """The share of the pool's captions (size,) that name the class of each image, 0 for clean ones: (images,)."""
        shares = (self._named[:, pool] & (pool >= 0)).float().mean(1)
        return shares[self._class[images]] * self.is_poison[images]

    def _marked(self, numbers: Tensor) -> Tensor:
        """Numbers of classes (n, MOST) as ones in a table (n, classes)."""
        count = len(self._classes)
        table = torch.zeros(len(numbers), count + 1, device=numbers.device)  # the last column: no class
        return table.scatter_(1, torch.where(numbers < 0, count, numbers).long(), 1.0)[:, :count]

    def _own_classes(self, images: Tensor, captions: Tensor, pool: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Sum and count of each column, of the clean and the poisoned images whose classes are known."""
        own, drawn, held = map(self._marked, (self._own[images], self._names[captions], self._names[pool]))
        right = ((own * drawn).sum(1) > 0) & (captions >= 0)
        chance = ((own @ held.T > 0) & (pool >= 0)).double().mean(1)
        known = (self._own[images, 0] >= 0) & self.is_known
        for chosen in (known & ~self.is_poison[images], known & self.is_poison[images]):
            yield (right & chosen).sum(), chosen.sum()
            yield (chance * chosen).sum(), chosen.sum()
        yield (chosen & ~right & ~self.adversary_captions(images, captions)).sum(), chosen.sum()

    def means(self) -> dict[str, float]:
        """NaN for what never happened, no image was paired, or no poisoned one; and for all, where the truth is not known."""
        return {name: total / n if n else math.nan for name, (total, n) in zip(AUDITED, self.sums.tolist(), strict=True)}


def telemetry(defence: Defence, audit: Audit) -> dict[str, float]:
    """The columns that a defence adds to a row of the history, NaN where neither it nor the audit has a value.

    Raises UserError for one that it did not declare, which might be a column of the trainer's.
    """
    columns, found = defence.telemetry_columns, defence.telemetry()
    if others := [name for name in found if name not in columns]:
        raise UserError(f"{type(defence).__name__}.telemetry gave '{others[0]}', which is not in its telemetry_columns; add it")
    audited = {name: mean for name, mean in audit.means().items() if name in columns}
    return {**dict.fromkeys(columns, math.nan), **audited, **found}


def some(labels: Sequence[str], count: int) -> Sequence[int]:
    """At most so many rows of labelled images, counted from 0: the first, or equally far apart where rows stand by class.

    The first of class folders are of the first classes alone, and no accuracy of all.
    """
    if count >= len(labels):
        return range(len(labels))
    apart = np.linspace(0, len(labels) - 1, count).round().astype(int).tolist()
    first, along = set(labels[:count]), {labels[row] for row in apart}
    return apart if 2 * len(first) < len(along) else range(count)


class Measurement:
    """What is measured after every epoch: attack success and zero-shot accuracy, and the cosines of training pairs."""

    def __init__(
        self,
        options: LoopOptions,
        config: dict[str, Any],
        intake: Intake,
        captions: Sequence[str],
        images: InMemory | FromFiles,
        is_poison: Sequence[str],
    ) -> None:
        """captions, images, is_poison: of the training pairs, in the order of their table."""
        size = config["vision_cfg"]["image_size"]
        self.classes = len(read_lines(options.classes))
        self.prompt_tokens = class_tokens(options.classes, options.templates, towers.tokenizer(config), refuse=True)
        is_images = "path" in read_columns(options.targets, ("label",), ("path",))
        self.targets = self._labelled(options, options.targets, None, size, intake) if is_images else None
        self.queries = None if is_images else self._queries(options.targets, options.classes, towers.tokenizer(config))
        self.validation = self._labelled(options, options.validation, options.validation_images, size, intake)
        self.is_poison = is_poison
        poisoned = torch.tensor([cell == "1" for cell in is_poison])
        shuffled = torch.randperm(len(poisoned), generator=generator("cosines", options.seed))
        parts = shuffled[~poisoned[shuffled]], shuffled[poisoned[shuffled]]
        self.pairs = torch.cat([part[:COSINE_PAIRS] for part in parts]).sort().values
        self.poisoned = poisoned[self.pairs]
        self.pair_images = images[self.pairs].numpy()
        self.pair_tokens = Captions([captions[row] for row in self.pairs], towers.tokenizer(config)).tokens()

    @staticmethod
    def _labelled(
        options: LoopOptions, path: Path, limit: int | None, size: int, intake: Intake
    ) -> tuple[np.ndarray, np.ndarray]:
        rows = read_table(path, ("path", "label"))
        judged = some([row["label"] for row in rows], len(rows) if limit is None else limit)
        images, good = intake.load(path, [rows[row]["path"] for row in judged], size, options.threads, judged)
        return images, labels_of(path, [rows[row] for row in judged], options.classes)[good]

    def _judged(self) -> list[tuple[str, tuple[np.ndarray, np.ndarray]]]:
        """Images with their labels, by what is measured on them."""
        return [*([("attack_success", self.targets)] if self.targets else []), ("zero_shot", self.validation)]

    @staticmethod
    def _queries(path: Path, classes: Path, tokenizer: Any) -> tuple[Tensor, np.ndarray]:
        """The tokens of an attack's captions, and the classes that they should find."""
        rows = read_table(path, tuple(QUERIES))
        return Captions([row["caption"] for row in rows], tokenizer).tokens(), labels_of(path, rows, classes)

    def measure(self, model: torch.nn.Module, runtime: towers.Runtime) -> tuple[dict[str, float], list[dict[str, Any]]]:
        """The model as it is: the history's measures, NaN where there is no image; and row, is_poison, cosine of some pairs.

        The cosine is that of image and own caption, neither augmented.
        """
        model.eval()
        texts = class_features(towers.encode_tokens(model, self.prompt_tokens, runtime).numpy(), self.classes)
        measures = dict.fromkeys(("attack_success", "target_cosine"), math.nan)
        for name, (images, labels) in self._judged():
            features = normalize(towers.encode_images(model, images, runtime), dim=-1).numpy()
            measures[name] = float((ranks(features, texts, labels) == 0).mean()) if len(labels) else math.nan
            if name == "attack_success":
                measures["target_cosine"] = float((features * texts[labels]).sum(1).mean()) if len(labels) else math.nan
        if self.queries is not None:  # features, labels: of the validation images, which came last
            tokens, wanted = self.queries
            found = best_ranks(towers.encode_tokens(model, tokens, runtime).numpy(), features, wanted, labels)
            measures["attack_success"] = float((found == 0).mean()) if np.isin(wanted, labels).all() else math.nan
        image_features = normalize(towers.encode_images(model, self.pair_images, runtime), dim=-1)
        cosines = (image_features * towers.encode_tokens(model, self.pair_tokens, runtime)).sum(1)
        model.train()
        for name, chosen in (("clean_cosine", ~self.poisoned), ("poison_cosine", self.poisoned)):
            measures[name] = cosines[chosen].mean().item()
        rows = zip(self.pairs.tolist(), cosines.tolist(), strict=True)
        return measures, [{"row": row, "is_poison": self.is_poison[row], "cosine": f"{cosine:.4f}"} for row, cosine in rows]
