"""What the steps of an epoch learn from: images and captions of each batch, in one view or several, on the device."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from roclip.defences import augmentation, eda
from roclip.defences.base import Batch
from roclip.model.captions import Captions
from roclip.model.pixels import Channels, normalise
from roclip.training import feed
from roclip.training.distributed import Ranks
from roclip.training.loader import FromFiles, InMemory
from roclip.training.settings import LoopOptions


class Batches:
    """The pairs of a training, made into batches.

    captions and images are in the order of their places; ids (pairs,): the id at each place. moments: of the pixels, as
    `pixel_moments` gives them. cut: shortens tokens to what the caption tower reads.
    """

    def __init__(
        self,
        options: LoopOptions,
        images: InMemory | FromFiles,
        captions: Captions,
        ids: Tensor,
        ranks: Ranks,
        device: torch.device,
        moments: tuple[Channels, Channels],
        cut: Callable[[Tensor], Tensor],
    ) -> None:
        self.options, self.images, self.captions, self.ids = options, images, captions, ids
        self.ranks, self.device, self.moments, self.cut = ranks, device, moments, cut

    def draws(self, epoch: int, view: int, augmented: bool | None) -> Tensor | None:
        """The draws of the images of a view, None for images as they are."""
        if not (self.options.augment_images if augmented is None else augmented):
            return None
        return augmentation.epoch_draws(len(self.ids), self.options.seed, epoch, view)

    def tokens(self, epoch: int, places: Tensor, view: int = 0, augmented: bool | None = None) -> Tensor:
        """The tokens of some captions in an epoch: (places,) -> (places, longest caption).

        augmented: as the options say where it is None.
        """
        said = {True: "each_epoch", False: "never"}.get(augmented, self.options.augment_captions)
        if said == "never":
            return self.cut(self.captions.tokens(places))
        return self.cut(self.captions.tokens(places, eda.keyed(self.options.seed, 0 if said == "once" else epoch, view)))

    def of(self, epoch: int, batches: Sequence[Tensor], views: Sequence[bool | None] = (None,)) -> Iterator[Batch]:
        """The batches, on the device; batches: the places of each (batch,), of all ranks.

        views: for each view whether it is augmented, None: as the options say. An image is decoded once for all of its views.
        """
        parts = [self.ranks.part(places) for places in batches]
        draws = [self.draws(epoch, view, augmented) for view, augmented in enumerate(views)]

        def made() -> Iterator[feed.Tensors]:
            for places, part, images in zip(batches, parts, self.images.sent(parts, *draws), strict=True):
                drawn = (None if each is None else each[part] for each in draws)
                tokens = (self.tokens(epoch, part, view, augmented) for view, augmented in enumerate(views))
                yield images, self.ids[places], *drawn, *tokens

        for images, ids, *rest in feed.bring(made(), self.device):
            pixels = (self.images.pixels(images, rest[view], view) for view in range(len(views)))
            first, *others = (
                Batch(normalise(each, *self.moments), tokens, ids)
                for each, tokens in zip(pixels, rest[len(views) :], strict=True)
            )
            yield Batch(first.pixels, first.tokens, ids, tuple(others))
