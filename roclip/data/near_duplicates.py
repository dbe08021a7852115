"""Images that are copies of others: the same bytes, or re-encoded, resized or flipped, by a perceptual hash.

The hash is imagehash's pHash of 16 x 16 bits: signs of the lowest frequencies of the grey image. Copies of Flickr8k's
photographs, re-encoded, resized or flipped, differed in at most 22 of the 256 bits, two of its photographs in 68 or more, in
all of its 32.7 million pairs but one: of a photograph that is there twice. An image of 16 pixels hardly has the higher of these
frequencies, so small images are compared by the lower ones alone, the usual pHash of 8 x 8 bits (docs/data.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image

from roclip.core.deferred import Deferred
from roclip.data.image_paths import Roots
from roclip.data.images import decode_squeezed, fault

imagehash = Deferred("imagehash")

SIDE = 16  # of the hash
PIXELS = 64  # of the image that is hashed, four times the hash's side
FAR = 40  # bits that are different in what is no copy any more: halfway between copies and other photographs
STRUCTURE = 64  # bits that are set in a picture of something, half of them all: a blank one has hardly any
SMALL = 32  # pixels of a side; of two images of which one has fewer, only the bits of the LOW x LOW lowest frequencies count
LOW = 8
LOW_FAR = 6  # of these bits: what FAR is of all
BLOCK = 1 << 22  # comparisons at a time

EVERY_BIT = np.full(SIDE * SIDE // 64, ~np.uint64(0))
LOW_BITS = np.packbits((np.arange(SIDE) < LOW)[:, None] & (np.arange(SIDE) < LOW)).view(np.uint64)


@dataclass(frozen=True)
class Hashed:
    """Hashes of images, uint64 (n, 4), those of their mirror images, their shorter sides in pixels (n,), and why one has none.

    faults: empty where there is a hash.
    """

    hashes: np.ndarray
    mirrored: np.ndarray
    sides: np.ndarray
    faults: list[str]


def _hash(image: np.ndarray) -> np.ndarray:
    """uint64 (4,)."""
    return np.packbits(imagehash.phash(Image.fromarray(image), SIDE).hash).view(np.uint64)


def hashed(paths: Sequence[str], roots: Sequence[str], threads: int) -> Hashed:
    """The hashes of images; each is read to its end, so those that cannot be decoded are known too."""
    inside = Roots(roots)
    hashes, mirrored = (np.zeros((len(paths), len(EVERY_BIT)), np.uint64) for _ in range(2))
    found = Hashed(hashes, mirrored, np.zeros(len(paths), int), [""] * len(paths))

    def work(place: int) -> None:
        try:
            inside.check(paths[place])
            image, found.sides[place] = decode_squeezed(paths[place], PIXELS)
        except Exception as error:  # Pillow raises many kinds; each of them is a bad image
            found.faults[place] = fault(error)
        else:
            found.hashes[place], found.mirrored[place] = _hash(image), _hash(image[:, ::-1])

    imagehash.phash  # noqa: B018 (imported once, before there are threads)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(len(paths))))
    return found


def copies(images: Hashed, of: Hashed) -> dict[int, int]:
    """By each image that is a copy of one of the others the place of the nearest; of blank images, all alike, none is."""
    rows = np.flatnonzero((np.bitwise_count(images.hashes).sum(1) >= STRUCTURE) & _have_none(images.faults))
    others = np.flatnonzero(_have_none(of.faults))
    small, are_small = images.sides[rows] < SMALL, of.sides[others] < SMALL
    found: dict[int, tuple[float, int]] = {}
    for some, its, bits, far in (
        (rows[~small], others[~are_small], EVERY_BIT, FAR),
        (rows[~small], others[are_small], LOW_BITS, LOW_FAR),
        (rows[small], others, LOW_BITS, LOW_FAR),
    ):
        for row, distance, place in _nearest(images, some, of.hashes[its], bits):
            if distance / far < found.get(row, (1.0, 0))[0]:
                found[row] = distance / far, int(its[place])
    return {row: place for row, (_, place) in sorted(found.items())}


def _have_none(faults: list[str]) -> np.ndarray:
    return np.array([not fault for fault in faults], bool)


def _nearest(images: Hashed, rows: np.ndarray, others: np.ndarray, bits: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """For each of these rows, which of the others is nearest to it or to its mirror image: row, distance in bits, place."""
    step = max(1, BLOCK // max(1, len(others)))
    for start in range(0, len(rows), step) if len(others) else ():
        part = rows[start : start + step]
        distances = np.minimum(*(_distances(hashes[part], others, bits) for hashes in (images.hashes, images.mirrored)))
        places = distances.argmin(1)
        yield from zip(part.tolist(), distances[np.arange(len(part)), places].tolist(), places.tolist(), strict=True)


def _distances(hashes: np.ndarray, others: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """In how many of these bits each of n hashes differs from each of m: int (n, m)."""
    found = np.zeros((len(hashes), len(others)), np.uint16)
    for word, chosen in enumerate(bits):
        found += np.bitwise_count((hashes[:, None, word] ^ others[None, :, word]) & chosen)
    return found
