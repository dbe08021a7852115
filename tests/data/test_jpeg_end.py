"""JPEGs that end too early are left out, as libjpeg warns of them; whatever is whole is decoded as Pillow decodes it."""

import re
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from roclip.data.image_bounds import BadImage
from roclip.data.images import Intake, decode_bytes, decode_whole
from roclip.data.jpeg_end import lacks_scans
from tests.fixtures.image_bombs import segment
from tests.fixtures.image_bytes import encoded

# another copy of libjpeg, of which the warnings can be seen
WARNS = """
import cv2, numpy as np, sys
for path in sys.argv[1:]:
    print("file", path, file=sys.stderr, flush=True)
    if cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR) is None:
        print("nothing", file=sys.stderr, flush=True)
"""
END, SCAN = b"\xff\xd9", b"\xff\xda"
ERROR_PAGE = b"<html><body>502 Bad Gateway</body></html>\n" * 500


def photograph(width: int = 150, height: int = 100) -> Image.Image:
    """Colours that wander from pixel to pixel, so that each block has many coefficients."""
    steps = np.random.default_rng(0).normal(0, 12, (height, width, 3))
    return Image.fromarray((128 + steps.cumsum(0) / 3 + steps.cumsum(1) / 3 + steps).clip(0, 255).astype(np.uint8))


def parts(jpeg: bytes) -> tuple[bytes, bytes]:
    """Tables of a grey JPEG, and the data of its scan."""
    frame, scan = jpeg.index(b"\xff\xc0"), jpeg.index(SCAN)
    tables = jpeg[jpeg.index(b"\xff\xdb") : frame] + jpeg[frame + 4 + 9 : scan]
    return tables, jpeg[scan + 10 : -2]


def in_three_scans() -> bytes:
    """A sequential JPEG of a scan for each colour (T.81, A.2.2), which Pillow cannot write: of three grey ones."""
    image = photograph().convert("YCbCr")
    made = [parts(encoded(band, "JPEG", quality=90)) for band in image.split()]
    size = image.height.to_bytes(2) + image.width.to_bytes(2)
    frame = segment(0xC0, b"\x08" + size + b"\x03\1\x11\0\2\x11\0\3\x11\0")
    scans = b"".join(segment(0xDA, bytes([1, n, 0, 0, 63, 0])) + data for n, (_, data) in enumerate(made, 1))
    return b"\xff\xd8" + made[0][0] + frame + scans + END


IMAGE = photograph()
THUMBNAIL = encoded(IMAGE.resize((16, 16)), "JPEG")
WHOLE = {
    **{f"sampled{n}": encoded(IMAGE, "JPEG", quality=90, subsampling=n) for n in range(3)},
    "own_tables": encoded(IMAGE, "JPEG", quality=90, optimize=True),
    "grey": encoded(IMAGE.convert("L"), "JPEG", quality=90),
    "cmyk": encoded(IMAGE.convert("CMYK"), "JPEG", quality=90),
    "restarts": encoded(IMAGE, "JPEG", quality=90, restart_marker_rows=1),
    "thumbnail": encoded(IMAGE, "JPEG", quality=90, exif=b"Exif\0\0" + THUMBNAIL),
    "three_scans": in_three_scans(),
    "progressive": encoded(IMAGE, "JPEG", quality=90, progressive=True),
    "progressive_grey": encoded(IMAGE.convert("L"), "JPEG", quality=90, progressive=True),
    "progressive_restarts": encoded(IMAGE, "JPEG", quality=90, progressive=True, restart_marker_rows=1),
}
SEVERAL = [name for name in WHOLE if name.startswith(("three", "progressive"))]


def refusal(content: bytes) -> str | None:
    try:
        decode_bytes(content, 64)
    except (BadImage, OSError) as error:
        return str(error)
    return None


def cuts(name: str) -> list[bytes]:
    """The start of a JPEG up to some place in its picture."""
    content = WHOLE[name]
    start = content.index(SCAN, content.index(THUMBNAIL) + len(THUMBNAIL) if name == "thumbnail" else 0) + 14
    return [content[: start + (len(content) - start) * percent // 100] for percent in range(2, 98, 5)]


def pillows(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(content)).convert("RGB"))


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_cut_before_a_marker_is_left_out_where_libjpeg_warns(tmp_path, name):
    files = {tmp_path / f"{number}.jpg": cut + END for number, cut in enumerate([*cuts(name), WHOLE[name][:-2]])}
    for path, content in files.items():
        path.write_bytes(content)
    done = subprocess.run([sys.executable, "-c", WARNS, *map(str, files)], capture_output=True, text=True, check=True)
    warned = {Path(said.split()[0]) for said in done.stderr.split("file ")[1:] if re.search("premature end|nothing", said)}
    assert len(warned) == len(files) - 1
    left_out = {path for path, content in files.items() if refusal(content)}
    last = WHOLE[name].rindex(SCAN)
    coarser = {path for path in warned - left_out if name.startswith("progressive") and len(files[path]) > last}
    assert left_out | coarser == warned
    assert len(coarser) < len(warned) / 2
    for path in coarser:
        assert np.abs(decode_bytes(files[path], 64).astype(int) - decode_bytes(WHOLE[name], 64)).mean() < 4
    _, kept = np.unique([path in left_out for path in files], return_counts=True)
    readable = Intake([str(tmp_path)], 1.0).readable(Path("t.csv"), list(map(str, files)), 1)  # at an eighth
    assert len(readable) == kept[0]


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("tail", [b"", bytes(50_000), ERROR_PAGE], ids=["nothing", "zeros", "error_page"])
def test_what_ends_without_a_marker_is_left_out(name, tail):
    assert [len(cut) for cut in cuts(name) if refusal(cut + tail) is None] == []


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("tail", [b"", bytes(9000), ERROR_PAGE, SCAN * 2000, THUMBNAIL, THUMBNAIL[:-9]])
def test_what_is_whole_is_decoded_as_pillow_decodes_it(name, tail):
    assert (np.asarray(decode_whole(WHOLE[name] + tail)) == pillows(WHOLE[name])).all()
    assert refusal(WHOLE[name][:-2] + b"\xff\xff\xff" + END) is None  # a marker may stand after more of FF (B.1.1.2)
    assert refusal(WHOLE[name][:-2] + segment(0xFE, b"a comment after the picture") + END) is None


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (16, 16), (17, 16), (16, 17), (15, 33), (65, 1), (1, 65)])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}, {"subsampling": 0, "quality": 100}])
def test_no_size_is_taken_for_cut(size, options):
    for image in (IMAGE.crop((0, 0, *size)), Image.new("RGB", size, (128, 128, 128)), Image.new("RGB", size)):
        content = encoded(image, "JPEG", **options)
        assert (np.asarray(decode_whole(content)) == pillows(content)).all()


def test_a_cut_one_is_not_whole_by_the_next_or_by_its_thumbnail():
    for name in set(WHOLE) - set(SEVERAL):
        assert refusal(cuts(name)[9] + WHOLE[name])


@pytest.mark.parametrize("name", SEVERAL)
def test_scans_that_are_whole_are_taken_though_more_might_follow(name):
    """T.81 doesn't ask for all bits of a progressive picture; of a sequential one a colour would be missing."""
    content = WHOLE[name]
    assert refusal(content[: content.rindex(b"\xff\xc4", 0, content.rindex(SCAN))] + END) is None or name == "three_scans"


def test_only_what_is_odd_is_decoded_again(monkeypatch):
    looked = []
    monkeypatch.setattr("roclip.data.jpeg_end._shown", looked.append)
    assert [name for name in WHOLE if decode_bytes(WHOLE[name], 64) is not None and looked and not looked.clear()] == [
        "three_scans"
    ]


@pytest.mark.parametrize("name", SEVERAL)
def test_scans_that_break_off_anywhere_are_no_error_of_ours(name):
    content = WHOLE[name]
    for length in range(2, len(content), 53):
        assert lacks_scans(content[:length])
        assert refusal(content[:length])
        refusal(content[:length] + END)


def test_any_number_of_segments_takes_little_time():
    first = WHOLE["progressive"].index(b"\xff\xc4", WHOLE["progressive"].index(SCAN))
    content = WHOLE["progressive"]
    assert refusal(content[:first] + segment(0xFE, b"") * 4_000_000 + content[first:]) == "a JPEG of too many segments"
