"""Images that are copies of others: the same bytes, or re-encoded, resized or flipped, by a perceptual hash.

The hash is imagehash's pHash of 16 x 16 bits: signs of the lowest frequencies of the grey image. Copies of Flickr8k's
photographs, re-encoded, resized or flipped, differed in at most 22 of the 256 bits, two of its photographs in 68 or more, in
all of its 32.7 million pairs but one: of a photograph that is there twice.
"""

from __future__ import annotations

from collections.abc import Sequence
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
BLOCK = 1 << 22  # comparisons at a time


@dataclass(frozen=True)
class Hashed:
    """Hashes of images, uint64 (n, 4), those of their mirror images, and why an image has none: empty where it has one."""

    hashes: np.ndarray
    mirrored: np.ndarray
    faults: list[str]


def _hash(image: np.ndarray) -> np.ndarray:
    """uint64 (4,)."""
    return np.packbits(imagehash.phash(Image.fromarray(image), SIDE).hash).view(np.uint64)


def hashed(paths: Sequence[str], roots: Sequence[str], threads: int) -> Hashed:
    """The hashes of images; each is read to its end, so those that cannot be decoded are known too."""
    inside = Roots(roots)
    found = Hashed(np.zeros((len(paths), 4), np.uint64), np.zeros((len(paths), 4), np.uint64), [""] * len(paths))

    def work(place: int) -> None:
        try:
            inside.check(paths[place])
            image = decode_squeezed(paths[place], PIXELS)
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
    there = np.flatnonzero([not fault for fault in of.faults])
    others = of.hashes[there]
    found: dict[int, int] = {}
    step = max(1, BLOCK // max(1, len(others)))
    for start in range(0, len(images.faults), step) if len(others) else ():
        part = slice(start, start + step)
        either = (_distances(hashes[part], others) for hashes in (images.hashes, images.mirrored))
        bits = np.minimum(*either)
        nearest = bits.argmin(1)
        for row in np.flatnonzero(bits[np.arange(len(bits)), nearest] < FAR):
            if not images.faults[start + row] and np.bitwise_count(images.hashes[start + row]).sum() >= STRUCTURE:
                found[start + int(row)] = int(there[nearest[row]])
    return found


def _distances(hashes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The bits in which each of n hashes differs from each of m: int (n, m)."""
    bits = np.zeros((len(hashes), len(others)), np.uint16)
    for word in range(hashes.shape[1]):
        bits += np.bitwise_count(hashes[:, None, word] ^ others[None, :, word])
    return bits
