"""Decoding images into uint8 arrays; the files and the tables that name them are untrusted.

Every way in takes this decoder: tables, folders, members of tars, downloads, bytes out of a Parquet file. JPEG, PNG and WebP
only, of animations the first picture, turned as the EXIF data say, what is transparent on white, of 16 bits the upper 8. A file
is refused before it is decoded when it lies outside data.roots, is no regular file, or would take too much memory or time.
"""

import logging
import math
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from roclip.core.columns import QUARANTINE
from roclip.core.errors import UserError, one_line
from roclip.core.files import write_rows
from roclip.data.crops import FLIP_P, crop_box
from roclip.data.image_bounds import BadImage, exif_orientation, look
from roclip.data.image_paths import Roots, content_of
from roclip.data.jpeg_end import EARLY, lacks_scans, to_decode
from roclip.data.png_rows import lacks_rows

log = logging.getLogger(__name__)
warnings.filterwarnings("ignore", module=r"PIL\.")  # a broken file could fill the log with thousands of them

FORMATS = ("JPEG", "PNG", "WEBP")
PIXELS = 40_000_000  # of the largest image, as of downloads: each that is decoded at a time takes up to 12 bytes a pixel
SIDE = 1 << 20  # pixels of the longest side, as of downloads: what a resize holds of it grows with the side
WEBP_PIXELS = 20_000_000  # of the largest WebP, which takes up to 16
# of the largest image; a smaller JPEG may have more, it has about 10. Each goes over all pixels and may be a few bytes
SCANS = 100
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip
SIDEWAYS = (5, 6, 7, 8)  # width and height change places
IN_XMP = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
DEPTH = 24  # where in a PNG the bits of a channel stand


@contextmanager
def _opened(content: bytes) -> Iterator[Image.Image]:
    """An image of which the header has been read, or a PNG to its end.

    Raises BadImage, OSError or what else Pillow raises on a broken file.
    """
    look(content)
    wanted = to_decode(content) if content.startswith(b"\xff\xd8\xff") else content
    try:
        image = Image.open(BytesIO(wanted), formats=FORMATS)
    except UnidentifiedImageError:
        raise BadImage("no JPEG, PNG or WebP, or its header is broken") from None
    with image:
        pixels, most = image.width * image.height, WEBP_PIXELS if image.format == "WEBP" else PIXELS
        if max(image.size) > SIDE:
            raise BadImage(f"{image.width} x {image.height} pixels, one side of more than {SIDE}")
        if pixels > most:
            raise BadImage(f"{image.width} x {image.height} pixels, more than {most / 1e6:.0f} million")
        # a scan has 10 bytes or more, so most files need not be searched
        jpeg = image.format not in ("PNG", "WEBP")
        many = jpeg and pixels * len(content) // 10 > PIXELS * SCANS
        if many and pixels * content.count(b"\xff\xda") > PIXELS * SCANS:
            raise BadImage("a JPEG of too many scans")
        if jpeg and wanted is content and lacks_scans(content):
            raise BadImage(EARLY)
        if image.format == "PNG":
            if "transparency" in image.info:
                _scale_key(image, content[DEPTH])
            image.load()  # a PNG is decoded whole in any case, and what is said of it may stand behind the picture
            if image.mode == "P" and image.palette is None:
                raise BadImage("a PNG that lacks its palette")
            if lacks_rows(image, content):
                raise BadImage("a PNG whose picture lacks rows")
        yield image


def _scale_key(image: Image.Image, bits: int) -> None:
    """Scale the value that is transparent as Pillow scales the pixels, which it leaves out."""
    if image.mode == "RGB" and bits == 16:  # Pillow keeps 8, by which other colours would be transparent too
        raise BadImage("a transparent colour of 16 bits")
    if image.mode == "L" and bits < 8:
        image.info["transparency"] *= 255 // (2**bits - 1)


def _orientation(image: Image.Image) -> int:
    """As in EXIF or XMP data, 1 to 8; 1, upright, where they are broken or say nothing of it."""
    info, found = image.info, None
    if isinstance(exif := info.get("exif"), bytes):
        found = exif_orientation(exif)
    elif isinstance(profile := info.get("Raw profile type exif"), str):  # as ImageMagick wrote it
        with suppress(ValueError):
            found = exif_orientation(bytes.fromhex("".join(profile.split("\n")[3:])))
    if found is None and isinstance(xmp := info.get("xmp"), bytes) and (said := IN_XMP.search(xmp)):
        found = int(said[1])
    return found if found in TURNS else 1


def _on_white(image: Image.Image) -> Image.Image:
    """The image in RGB, what is transparent on white."""
    clear = image.info.get("transparency")
    if isinstance(clear, str):  # Pillow keeps texts in the same place as what the format says
        raise BadImage("a text in place of its transparency")
    if image.mode == "I;16":  # Pillow would clip it to 255
        values = np.asarray(image)
        grey = (values >> 8).astype(np.uint8)
        if clear is not None:
            grey[values == clear] = 255
        return Image.fromarray(grey).convert("RGB")
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    image = image if image.mode == "RGBA" else image.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image)
    return white


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    """The whole image in RGB, on white, the right way up."""
    image = _on_white(image)
    return image.transpose(TURNS[orientation]) if orientation > 1 else image


def decode_whole(content: bytes) -> Image.Image:
    """The whole image of a file's bytes: RGB, upright, on white. Raises as `decode`."""
    with _opened(content) as opened:
        image = _upright(opened, _orientation(opened))
        image.load()
        return image


def decode_bytes(content: bytes, size: int) -> np.ndarray:
    """`decode` of a file's bytes."""
    with _opened(content) as image:
        image = _upright(image, _orientation(image))
        if image.size != (size, size):
            image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
        return np.asarray(image)


def decode(path: Path | str, size: int) -> np.ndarray:
    """One image as uint8 (size, size, 3): shorter side resized to `size` (bicubic), centre square, RGB.

    Raises BadImage, OSError or what else Pillow raises on a broken file; `fault` makes a reason of it.
    """
    return decode_bytes(content_of(path), size)


def fault(error: Exception) -> str:
    """Why an image could not be decoded, in a line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, BadImage) else f"{type(error).__name__}: {text}"


def decode_squeezed(path: Path | str, size: int) -> tuple[np.ndarray, int]:
    """The whole of one image as uint8 (size, size, 3), whatever its aspect ratio; and the pixels of its shorter side.

    Of a large JPEG a part of the resolution is decoded. Raises as `decode`.
    """
    with _opened(content_of(path)) as image:
        orientation, side = _orientation(image), min(image.size)
        image.draft("RGB", (2 * size, 2 * size))
        return np.asarray(_upright(image, orientation).resize((size, size), Image.Resampling.BICUBIC)), side


def decode_crop(path: Path | str, size: int, draws: Sequence[float], min_area: float) -> np.ndarray:
    """A random crop of one image as uint8 (size, size, 3): `augmentation.crop_and_flip` of the whole image, not of its square.

    The crop has an area of [min_area, 1] of the image's and is resized (bilinear, with antialiasing). draws: 5 numbers in
    [0, 1): area, aspect ratio, place along x and y, flip. Raises as `decode`.
    """
    return decode_views(path, size, [draws], min_area)[0]


def decode_views(path: Path | str, size: int, views: Sequence[Sequence[float] | None], min_area: float) -> list[np.ndarray]:
    """Views of one image that is decoded once: `decode_crop` for the draws of each, `decode` where they are None."""
    whole = [draws is None for draws in views]
    if whole == [True]:
        return [decode(path, size)]
    with _opened(content_of(path)) as image:
        orientation = _orientation(image)
        width, height = image.size[::-1] if orientation in SIDEWAYS else image.size
        boxes = [(0, 0, width, height) if draws is None else crop_box(width, height, draws, min_area) for draws in views]
        # JPEGs far larger than needed are decoded at 1/2, 1/4 or 1/8; what is left to resize is still a factor of 2
        shrink = min(min(right - left, bottom - top) for left, top, right, bottom in boxes) / (2 * size)
        if shrink >= 2 and not any(whole):
            image.draft("RGB", tuple(math.ceil(side / shrink) for side in image.size))
        image = _upright(image, orientation)
        x, y = image.width / width, image.height / height
        found = []
        for draws, (left, top, right, bottom) in zip(views, boxes, strict=True):
            if draws is None:
                view = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC) if image.size != (size, size) else image
            else:
                view = image.resize((size, size), Image.Resampling.BILINEAR, (left * x, top * y, right * x, bottom * y))
                view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if draws[4] < FLIP_P else view
            found.append(np.asarray(view))
    return found


class Intake:
    """Takes in the images that tables name, and keeps a list of those that it leaves out.

    More than `max_bad_fraction` of the images of a table, or of the part of it that is read at a time, are a UserError.
    """

    def __init__(self, roots: Sequence[str], max_bad_fraction: float) -> None:
        self.roots, self.max_bad_fraction = Roots(roots), max_bad_fraction
        self.quarantine: list[tuple[Path, int, str, str]] = []  # cells of QUARANTINE; rows are counted from 1

    def load(
        self, table: Path, paths: Sequence[str], size: int, threads: int, rows: Sequence[int] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """All images of `paths` that can be decoded: (uint8 (n, 3, size, size), their places in `paths` (n,), counted from 0).

        rows: where in the table each of the paths stands, counted from 0; None: they are all of the table.
        """
        images = np.empty((len(paths), size, size, 3), np.uint8)

        def fill(row: int) -> None:
            images[row] = decode(paths[row], size)

        good = self._good_places(table, paths, fill, threads, rows)
        if len(good) < len(paths):
            images = images[good]
        return images.transpose(0, 3, 1, 2), good

    def readable(self, table: Path, paths: Sequence[str], threads: int, rows: Sequence[int] | None = None) -> np.ndarray:
        """The places (n,), counted from 0, whose images can be decoded; they are the same that `load` keeps.

        Every file is read to its end, JPEGs in an eighth of their resolution, about three times as fast as `load`.
        """

        def look(row: int) -> None:
            with _opened(content_of(paths[row])) as image:
                orientation = _orientation(image)  # before all else, as `decode` does: it may change what is known of the image
                image.draft("RGB", (1, 1))
                _upright(image, orientation).load()

        return self._good_places(table, paths, look, threads, rows)

    def _good_places(
        self, table: Path, paths: Sequence[str], read: Callable[[int], None], threads: int, rows: Sequence[int] | None
    ) -> np.ndarray:
        """The places for which `read` raises nothing."""
        rows = range(len(paths)) if rows is None else rows

        def reason(place: int) -> str | None:
            try:
                self.roots.check(paths[place])
                read(place)
            except Exception as error:  # Pillow raises many kinds; each of them is a bad image
                return fault(error)
            return None

        chunks = [range(start, min(start + 1000, len(paths))) for start in range(0, len(paths), 1000)]
        with ThreadPoolExecutor(threads) as pool:  # Pillow decodes without holding the interpreter's lock
            faults = [found for part in pool.map(lambda chunk: [reason(place) for place in chunk], chunks) for found in part]
        bad = sorted((int(rows[place]) + 1, place) for place, found in enumerate(faults) if found)
        for row, place in bad[:20]:
            log.warning("%s, row %d: left out %s: %s", table, row, one_line(paths[place]), faults[place])
        if len(bad) > self.max_bad_fraction * len(paths):
            row, place = bad[0]
            raise UserError(
                f"{table}: {len(bad)} of {len(paths)} images are missing or broken, first in row {row} "
                f"({paths[place]}: {faults[place]}); max_bad_fraction allows {self.max_bad_fraction:g}"
            )
        self.quarantine += [(table, row, paths[place], faults[place]) for row, place in bad]
        return np.flatnonzero([found is None for found in faults])

    def write(self, path: Path) -> None:
        """Write the list of what was left out (QUARANTINE); with nothing left out, its header alone."""
        write_rows(path, QUARANTINE, self.quarantine)
