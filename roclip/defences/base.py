"""The contract between the trainer and a defence that acts in training; its base class is plain CLIP.

The trainer owns the data order, the optimiser, precision, states, ranks and measurement. A defence says what an epoch is
called, over which pairs it goes, which loss a batch has, and which tensors must survive an interruption. It sees images,
captions and ids, numbers that tell pairs apart and say nothing else: neither paths nor the rows of the table, for poisoned
pairs come last there. The truth is nowhere within its reach.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from roclip.core.facts import Facts
from roclip.core.options import PATH, option
from roclip.defences.loss import clip_loss

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """pixels (part, 3, side, side), normalised, and tokens (part, length), of this rank; ids (batch,), of all ranks.

    `others`: further views of the same pairs, where the phase has several.
    """

    pixels: Tensor
    tokens: Tensor
    ids: Tensor
    others: tuple[Batch, ...] = ()


@dataclass(frozen=True)
class Phase:
    """A pass of an epoch: over which pairs it goes, and how fast it learns.

    `kind` is handed to the defence's `loss`. `ids`: (n,), the pairs; None: all. A last batch that is not full is left out.
    `rate` gives the learning rate by the step of the phase, counted from 0; None: the training's one schedule continues.
    `learns`: False: its steps are counted, so that the schedule goes on, but no batch is made and nothing is learned.
    `views`: the views of each pair in a batch, whether each is augmented, images and captions; None: as the settings say.
    """

    kind: str
    ids: Tensor | None = None
    rate: Callable[[int], float] | None = None
    learns: bool = True
    views: tuple[bool | None, ...] = (None,)


class Trainer(Protocol):
    """What a defence may use of the trainer.

    `encode_images` and `encode_captions` hold to `train.micro_batch`: a loss may use their features as if all of them had been
    encoded at once, and as often as it likes. What it encodes with `model` itself, it encodes at once.
    """

    model: torch.nn.Module  # the towers; when a defence is made, with the weights that the training starts from
    device: torch.device
    dimension: int  # of the features
    pairs: int  # how many the training has; ids are below it
    epochs: int
    peak_rate: float  # of the learning rate
    steps_taken: int  # since the training began

    def encode_images(self, batch: Batch) -> Tensor:
        """Normalised features of the images of all ranks: (batch, dimension)."""

    def encode_captions(self, batch: Batch) -> Tensor:
        """Normalised features of the captions of all ranks: (batch, dimension)."""

    def gather(self, part: Tensor) -> Tensor:
        """What was made of this rank's part of a batch, and of those of all others: (part, ...) -> (batch, ...)."""

    def logit_scale(self) -> Tensor:
        """The factor of the cosines, exponentiated: a scalar."""

    def random_captions(self, count: int, epoch: int) -> tuple[Tensor, Tensor]:
        """Features (count, dimension), without gradient, of random captions as the tower sees them now, and their ids."""

    def random_pairs(self, count: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """As `random_captions`, of images and captions of random pairs, neither augmented."""

    def cosines(self, ids: Tensor) -> Tensor:
        """The cosines of image and caption of some pairs as the towers see them now: ids (n,) -> (n,) on the CPU."""

    def steps_of(self, pairs: int) -> int:
        """How many steps a phase over so many pairs has."""

    def schedule(self, steps: int, warm_up: float = 1.0) -> Callable[[int], float]:
        """The learning rate by step of a run of so many: the training's warm-up, of a share of them at most, and a cosine."""

    def generator(self, *key: str | int) -> torch.Generator:
        """Random numbers that depend on the seed of the training and the key alone."""

    def to_device(self, values: Tensor) -> Tensor:
        """Values of the host on the device, for which no step waits."""

    def matched(self, images: Tensor, captions: Tensor, pool: Tensor) -> None:
        """Say for the audit which captions images were paired with: ids (batch,), ids (batch,), and ids of the pool (size,).

        An id of -1 stands for no caption.
        """

    def trusted(self, ids: Tensor) -> None:
        """Say for the audit which pairs count as well matched."""


class Defence:
    """Plain CLIP: the symmetric InfoNCE loss of images and their captions (Radford et al., 2021)."""

    label: ClassVar[str] = "CLIP"
    trains: ClassVar[bool] = True  # False: it takes weights over and makes no step
    on_the_way: ClassVar[tuple[str, ...]] = ()  # kinds of epoch that prepare for others, after which weights are not judged
    # further columns of the history, means over an epoch, with their meaning
    telemetry_columns: ClassVar[Mapping[str, str]] = {}
    # how they are drawn: title and columns of a panel, of which all but the first are what chance would give; where the title
    # says `%`, shares are shown in percent. A column of no panel has one of its own
    telemetry_panels: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    @dataclass(frozen=True, kw_only=True)
    class Settings:
        start_from: str | None = option(
            "weights to start from: the name of a defence of this config, trained on the same attack; ATTACK/DEFENCE, trained "
            "on another one, such as clean/clip; a file or folder of weights; null: from scratch",
            None,
            role="files",
            pattern=PATH,
        )
        augment_images: bool = option("augment the images, anew each epoch", False)
        augment_captions: str = option("augment the captions", "never", choices=("never", "once", "each_epoch"))

    @classmethod
    def problems(cls, settings: Mapping[str, Any], facts: Facts) -> Iterator[tuple[str, str]]:
        """What cannot work with such data: the option at fault, and why."""
        yield from ()

    @classmethod
    def simplest(cls, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        """The settings, `kind` among them, under which the same weights come about: equal trainings are run once."""
        return settings

    def __init__(self, settings: Any, trainer: Trainer) -> None:
        self.settings, self.trainer = settings, trainer

    def kind(self, epoch: int) -> str:
        """What an epoch, counted from 1, is called; the weights after the last epoch of each kind are judged."""
        return "clip"

    def is_judged(self, kind: str, later: Sequence[str]) -> bool:
        """Whether weights after an epoch are judged: the last of its kind, unless it prepares for one of the later ones."""
        return kind not in later and not (later and kind in self.on_the_way)

    def phases(self, epoch: int) -> list[Phase]:
        """The passes of an epoch, in order. Called again where an epoch resumes, so it may depend on `state` alone."""
        return [Phase(self.kind(epoch))]

    def begin_epoch(self, epoch: int) -> None:
        """Called before the phases of an epoch, not where one resumes.

        To project how long a training takes, an epoch of each kind is begun ahead of its time, and the state restored.
        """

    def loss(self, batch: Batch, kind: str) -> Tensor:
        """The loss of a batch in a phase of that kind; gradients flow where the defence lets them."""
        return clip_loss(self.trainer.encode_images(batch), self.trainer.encode_captions(batch), self.trainer.logit_scale())

    def after_backward(self, kind: str) -> None:
        """Called between the backward pass and the optimiser's step."""

    def state(self) -> tuple[dict[str, Tensor], dict[str, float]]:
        """All that the next step depends on beside model and optimiser, and what telemetry has gathered.

        Tensors by name, and numbers by name.
        """
        return {}, {}

    def restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, float]) -> None:
        """Be where `state` was taken."""

    def telemetry(self) -> dict[str, float]:
        """Means over the epoch that ended, by the columns of `telemetry_columns`; the next epoch begins anew."""
        return {}

    def tables(self) -> dict[str, dict[str, Tensor]]:
        """Further tables to publish: columns (n,) by file name and column. Ids in columns `row` and `*_row` become rows."""
        return {}
