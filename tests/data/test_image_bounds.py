"""Every image has a bound of time and memory: what would pass it is refused by a look at its parts."""

import time
import tracemalloc

import numpy as np
import pytest
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from roclip.data.image_bounds import BadImage, exif_orientation, look
from roclip.data.images import decode_bytes, decode_whole, fault
from tests.fixtures.image_bombs import bombs, just_allowed
from tests.fixtures.image_bytes import PICTURE, encoded

SECONDS = 4.0  # of CPU, on a slow and busy machine; the slowest takes about 1
BOMBS, ALLOWED = ({name: case for name, *case in group()} for group in (bombs, just_allowed))


@pytest.mark.parametrize("name", BOMBS)
def test_what_would_take_long_is_refused_at_once(name):
    content, reason = BOMBS[name]
    started = time.process_time()
    with pytest.raises(Exception) as caught:  # noqa: PT011 (the word below says which)
        decode_bytes(content, 32)
    assert reason in fault(caught.value)
    assert time.process_time() - started < SECONDS


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ALLOWED)
def test_what_is_allowed_is_whole_in_bounded_time(name):
    content, expected = ALLOWED[name]
    started = time.process_time()
    image = np.asarray(decode_whole(content))
    assert time.process_time() - started < SECONDS
    assert np.abs(image[0, 0].astype(int) - expected[0, 0]).max() < 12


def test_no_entries_of_exif_data_are_copied():
    content = BOMBS["overlapping.jpg"][0]
    tracemalloc.start()
    with pytest.raises(BadImage):
        look(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_orientation_is_what_pillow_finds(order):
    """Over tags and types, among others and alone."""
    rng = np.random.default_rng(0)
    for orientation in (None, *range(1, 9), 0, 77):
        exif = Image.Exif()
        exif.endian = order
        for tag in rng.choice([0x010F, 0x0110, 0x0131, 0x9C9B, 0x013B], 3, replace=False):
            exif[int(tag)] = "text" * int(rng.integers(1, 9))
        if orientation is not None:
            exif[ExifTags.Base.Orientation] = orientation
        content = exif.tobytes()
        there = Image.Exif()
        there.load(content)
        assert exif_orientation(content) == there.get(ExifTags.Base.Orientation) == orientation
        for length in range(0, len(content), 3):  # cut anywhere, it says nothing or the same
            assert exif_orientation(content[:length]) in (None, orientation)


def test_xmp_and_imagemagicks_profile_turn_an_image_too():
    sideways = Image.fromarray(np.ascontiguousarray(PICTURE[:, ::-1].swapaxes(0, 1)))
    said = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    for content in (encoded(sideways, "WEBP", lossless=True, xmp=said), encoded(sideways, "JPEG", quality=95, xmp=said)):
        assert np.abs(np.asarray(decode_whole(content)).astype(int) - PICTURE).mean() < 3
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    info = PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n{len(exif.tobytes()):8d}\n{exif.tobytes().hex()}\n", zip=True)
    assert (np.asarray(decode_whole(encoded(sideways, "PNG", pnginfo=info))) == PICTURE).all()
