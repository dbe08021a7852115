"""Image files as no honest data set has them, and what is to become of each.

`files` writes them into a folder. What shows the quadrants of `PICTURE` has to be decoded to them, whatever the encoding; of
the rest each has to be left out for a reason that holds a given word.
"""

import os
import socket
import struct
import tarfile
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

RED, GREEN, BLUE, YELLOW = (230, 30, 30), (30, 200, 30), (30, 30, 230), (230, 230, 30)
PICTURE = np.zeros((48, 64, 3), np.uint8)  # 64 x 48 pixels: upper left, upper right, lower left, lower right
for place, colour in zip(((0, 0), (0, 32), (24, 0), (24, 32)), (RED, GREEN, BLUE, YELLOW), strict=True):
    PICTURE[place[0] : place[0] + 24, place[1] : place[1] + 32] = colour
GREY = PICTURE.mean(axis=2).astype(np.uint8)

Expected = np.ndarray | str  # the picture, or a word of the reason


def encoded(image: Image.Image | np.ndarray, kind: str, **options) -> bytes:
    file = BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, rows: bytes, bits: int = 8, colour: int = 2, extra: bytes = b"") -> bytes:
    """A PNG of compressed rows, each with its filter byte before it."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def blank(width: int, height: int, bits: int = 8, colour: int = 2) -> bytes:
    """A black PNG of any size in a few bytes of memory."""
    row = bytes(1 + width * bits * {0: 1, 2: 3, 4: 2, 6: 4}[colour] // 8)
    packer = zlib.compressobj(1)
    return png(width, height, b"".join(packer.compress(row) for _ in range(height)) + packer.flush(), bits, colour)


def resized_header(jpeg: bytes, width: int, height: int) -> bytes:
    """A JPEG that says that it is of another size."""
    frame = max(jpeg.find(b"\xff\xc0"), jpeg.find(b"\xff\xc2"))
    return jpeg[: frame + 5] + struct.pack(">HH", height, width) + jpeg[frame + 9 :]


def turned() -> Iterator[tuple[int, np.ndarray]]:
    """PICTURE as it is stored under each orientation of EXIF, which says where its first row and first column are."""
    sides = {
        1: PICTURE, 2: PICTURE[:, ::-1], 3: PICTURE[::-1, ::-1], 4: PICTURE[::-1], 5: PICTURE.swapaxes(0, 1),
        6: PICTURE[:, ::-1].swapaxes(0, 1), 7: PICTURE[::-1, ::-1].swapaxes(0, 1), 8: PICTURE[::-1].swapaxes(0, 1),
    }  # fmt: skip
    for orientation, stored in sides.items():
        yield orientation, np.ascontiguousarray(stored)


def exif(orientation: int) -> bytes:
    return b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + bytes([orientation]) + bytes(7)


def cut() -> Iterator[tuple[str, bytes, Expected | None]]:
    """Files that end too early; None: whole or left out, as the cut falls in what does not matter."""
    whole = {
        "jpg": encoded(PICTURE, "JPEG", quality=95), "progressive.jpg": encoded(PICTURE, "JPEG", progressive=True),
        "png": encoded(PICTURE, "PNG"), "webp": encoded(PICTURE, "WEBP", lossless=True),
    }  # fmt: skip
    for suffix, content in whole.items():
        step = 1 if suffix.endswith("jpg") else 5
        for percent in range(0, 100, step):
            early = "" if percent < 90 else None
            yield f"cut{percent}.{suffix}", content[: len(content) * percent // 100], early
        yield f"whole.{suffix}", content, PICTURE


def encodings() -> Iterator[tuple[str, bytes, Expected]]:
    """What is to be decoded."""
    image = Image.fromarray(PICTURE)
    for orientation, stored in turned():
        yield f"turned{orientation}.jpg", encoded(stored, "JPEG", quality=95, subsampling=0, exif=exif(orientation)), PICTURE
        yield f"turned{orientation}.png", encoded(stored, "PNG", exif=exif(orientation)), PICTURE
        yield f"turned{orientation}.webp", encoded(stored, "WEBP", lossless=True, exif=exif(orientation)), PICTURE
    for orientation in (0, 9, 255):
        yield f"turned{orientation}.jpg", encoded(PICTURE, "JPEG", exif=exif(orientation)), PICTURE
    for number, broken in enumerate((b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0" + b"\xff" * 40)):
        yield f"exif{number}.jpg", encoded(PICTURE, "JPEG", exif=broken), PICTURE
        yield f"exif{number}.png", encoded(PICTURE, "PNG", exif=broken), PICTURE

    cmyk = encoded(image.convert("CMYK"), "JPEG", quality=95)
    adobe = cmyk.index(b"\xff\xee")
    yield "cmyk.jpg", cmyk, PICTURE  # Adobe's: its marker, and values inverted
    yield "no_marker.jpg", cmyk[:adobe] + cmyk[adobe + 2 + int.from_bytes(cmyk[adobe + 2 : adobe + 4]) :], PICTURE
    yield "grey.jpg", encoded(GREY, "JPEG", quality=95), GREY
    for sampling in (0, 1, 2):
        yield f"sampled{sampling}.jpg", encoded(PICTURE, "JPEG", subsampling=sampling, quality=95), PICTURE
    yield "restarts.jpg", encoded(PICTURE, "JPEG", restart_marker_rows=1), PICTURE
    yield "comment.jpg", encoded(PICTURE, "JPEG", comment=b"<script>" * 100), PICTURE
    yield "profile.jpg", encoded(PICTURE, "JPEG", icc_profile=b"no profile" * 20_000), PICTURE
    two = BytesIO()
    image.save(two, "MPO", save_all=True, append_images=[Image.new("RGB", image.size)])
    yield "two.mpo.jpg", two.getvalue(), PICTURE

    yield "plain.png", encoded(image, "PNG"), PICTURE
    yield "no_suffix", encoded(image, "PNG"), PICTURE
    yield "suffix_lies.gif", encoded(image, "PNG"), PICTURE
    yield "alpha.png", encoded(image.convert("RGBA"), "PNG"), PICTURE
    see_through = image.convert("RGBA")
    see_through.putalpha(90)
    yield "see_through.png", encoded(see_through, "PNG"), PICTURE  # transparency is dropped
    yield "see_through.webp", encoded(see_through, "WEBP", lossless=True, exact=True), PICTURE
    palette = image.quantize(4, dither=Image.Dither.NONE)
    yield "palette.png", encoded(palette, "PNG"), PICTURE
    yield "palette_bits.png", encoded(palette, "PNG", bits=2), PICTURE
    yield "palette_alpha.png", encoded(palette, "PNG", transparency=bytes([255, 128, 64, 0])), PICTURE
    yield "palette_one_clear.png", encoded(palette, "PNG", transparency=0), PICTURE
    yield "grey.png", encoded(GREY, "PNG"), GREY
    yield "grey_alpha.png", encoded(Image.fromarray(GREY).convert("LA"), "PNG"), GREY
    yield "one_bit.png", encoded(Image.fromarray(GREY > 128), "PNG"), np.uint8(255) * (GREY > 128)
    for name, array in (("grey16", GREY), ("colour16", PICTURE[..., ::-1])):
        written = cv2.imencode(".png", array.astype(np.uint16) * 257)[1].tobytes()
        yield f"{name}.png", written, GREY if name == "grey16" else PICTURE
    deep = np.dstack([PICTURE[..., ::-1], np.full(GREY.shape, 255)]).astype(np.uint16) * 257
    yield "alpha16.png", cv2.imencode(".png", deep)[1].tobytes(), PICTURE
    yield "dark16.png", cv2.imencode(".png", np.full((48, 64), 300, np.uint16))[1].tobytes(), np.full((48, 64), 1, np.uint8)
    # 20 rows of 48 in a whole stream: the rest is black, as in viewers
    yield "too_few_rows.png", png(64, 48, zlib.compress(bytes(193 * 20))), np.zeros((48, 64), np.uint8)
    yield "interlaced.png", interlaced(), np.full((48, 64), 200, np.uint8)
    other = Image.new("RGB", image.size)
    yield "animated.png", encoded(image, "PNG", save_all=True, append_images=[other, other]), PICTURE
    yield "animated.webp", encoded(image, "WEBP", save_all=True, append_images=[other, other], lossless=True), PICTURE
    yield "lossy.webp", encoded(image, "WEBP", quality=95), PICTURE
    yield "quiet.webp", encoded(image, "WEBP", lossless=True, xmp=b"<x>" * 1000), PICTURE

    jpeg = encoded(PICTURE, "JPEG", quality=95)
    for number, tail in enumerate((b"PK\x03\x04" + bytes(500), b"<?php evil() ?>", b"\xff\xda" * 2000, jpeg, bytes(1_000_000))):
        yield f"tail{number}.jpg", jpeg + tail, PICTURE  # a JPEG that is a ZIP, a script, ... too
        yield f"tail{number}.png", encoded(image, "PNG") + tail, PICTURE


def interlaced() -> bytes:
    """A grey PNG in Adam7, which Pillow cannot write: seven passes of 64 x 48 pixels of value 200."""
    passes = [(8, 6), (8, 6), (16, 6), (16, 12), (32, 12), (32, 24), (64, 24)]
    rows = b"".join(b"\0" + bytes([200]) * width for width, height in passes for _ in range(height))
    header = struct.pack(">IIBBBBB", 64, 48, 8, 0, 0, 0, 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


NEITHER = "no JPEG, PNG or WebP"


def refused() -> Iterator[tuple[str, bytes, str]]:
    """What is to be left out, whatever its name says."""
    image = Image.fromarray(PICTURE)
    for kind in ("GIF", "BMP", "TIFF", "ICO", "PPM", "TGA", "JPEG2000", "EPS", "PDF", "PCX", "SGI", "DDS", "ICNS"):
        yield f"{kind}.png", encoded(image, kind), NEITHER
    yield "animated.gif", encoded(image, "GIF", save_all=True, append_images=[image]), NEITHER
    for number, content in enumerate((
        b"", b"\0", bytes(4096), b"<!DOCTYPE html><html><body>404</body></html>", b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"GIF89a=1;alert(1)//", b"GIF89a" + bytes(40), b"%PDF-1.7\n%%EOF", b"%!PS-Adobe-3.0\nquit\n",
        b"\xc5\xd0\xd3\xc6" + bytes(40), b"PK\x03\x04" + bytes(100), b"\x7fELF" + bytes(100),
        b"#!/bin/sh\nreboot\n", b"MZ" + bytes(99),
        b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n" + bytes(100), b"\xff\xd8\xff", b"\xff\xd8" + bytes(5000),
        b"\xff\xd8\xff\xd9",
        b"RIFF\0\0\0\0WEBP", b"BM" + bytes(60),
        b"id=ImageMagick\n", b"8BPS" + bytes(60),
        b"\0\0\0\x1cftypavif" + bytes(60), b"cos\nsystem\n(S'touch x'\ntR.", b"\x80\x04\x95" + bytes(30), b"\xff" * 3000,
    )):  # fmt: skip
        yield f"content{number}.jpg", content, NEITHER

    yield "webp.webp", b"RIFF\xff\xff\xff\xffWEBPVP8 " + bytes(60), ""
    small, pixels = encoded(PICTURE, "JPEG"), "pixels"
    yield "says65500.jpg", resized_header(small, 65500, 65500), pixels
    yield "says65500.progressive.jpg", resized_header(encoded(PICTURE, "JPEG", progressive=True), 65500, 65500), pixels
    yield "says65500.png", png(65500, 65500, zlib.compress(bytes(1000))), pixels
    yield "says16383.webp", b"RIFF\x16\0\0\0WEBPVP8L\x0a\0\0\0\x2f\xfe\xbf\xff\x0f\0\0\0\0\0", pixels
    yield "says10000.jpg", resized_header(small, 10_000, 10_000), pixels
    yield "says10000.png", png(10_000, 10_000, zlib.compress(bytes(1000))), pixels
    yield "wide.png", png(41_000_000, 1, zlib.compress(bytes(1000))), pixels
    yield "bomb.png", blank(20_000, 20_000, colour=0), pixels
    yield "more_than_limit.png", blank(6400, 6400, colour=0), pixels
    yield "more_than_limit.webp", encoded(Image.new("RGB", (4600, 4600)), "WEBP", lossless=True, quality=0, method=0), pixels
    yield "no_width.png", png(0, 10, zlib.compress(bytes(10))), ""
    yield "no_rows.png", png(64, 48, b""), ""
    yield "no_zlib.png", png(64, 48, b"not compressed"), ""
    for name, kind in (("text", b"zTXt"), ("profile", b"iCCP")):  # 100 MB of zeros in 100 KB, before the picture
        bomb = chunk(kind, b"x\0\0" + zlib.compress(bytes(100_000_000), 1))
        yield f"{name}_bomb.png", png(8, 8, zlib.compress(bytes(25 * 8)), extra=bomb), ""
    scans = encoded(Image.new("L", (3000, 3000)), "JPEG", progressive=True)
    last = scans.rindex(b"\xff\xda")
    yield "scans.jpg", scans[:last] + scans[last:-2] * 3000 + scans[-2:], "too many scans"


def large() -> Iterator[tuple[str, bytes, Expected]]:
    """As large as is allowed, in the encodings that take most memory."""
    black = np.zeros((48, 64), np.uint8)
    yield "large.png", blank(6324, 6324, colour=6), black
    yield "large16.png", blank(6324, 6324, bits=16, colour=0), black
    yield "large.webp", encoded(Image.new("RGB", (4472, 4472)), "WEBP", lossless=True, quality=0, method=0), black
    yield "large.jpg", encoded(Image.new("RGB", (6324, 6324)), "JPEG", progressive=True, subsampling=0), black


def places(inside: Path, outside: Path) -> Iterator[tuple[str, Expected]]:
    """Paths that are no ordinary files, and files in tars. `inside` is a data root, `outside` is not."""
    good = encoded(PICTURE, "PNG")
    (inside / "good.png").write_bytes(good)
    (outside / "secret.png").write_bytes(good)
    (outside / "folder").mkdir()
    (outside / "folder/secret.png").write_bytes(good)
    (inside.parent / f"{inside.name}_2").mkdir()
    (inside.parent / f"{inside.name}_2/secret.png").write_bytes(good)

    def link(name: str, target: str | Path) -> str:
        (inside / name).symlink_to(target)
        return str(inside / name)

    def member(tar: Path, content: bytes, name: str = "a.png") -> tuple[int, int]:
        with tarfile.open(tar, "w") as archive:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, BytesIO(content))
        return 512, len(content)

    away = "outside the data roots"
    yield link("to_inside.png", inside / "good.png"), PICTURE
    yield link("to_inside_too.png", "good.png"), PICTURE
    yield f"{inside}/../{inside.name}/./good.png", PICTURE
    yield os.path.relpath(inside / "good.png"), PICTURE
    yield link("to_outside.png", outside / "secret.png"), away
    yield link("to_link.png", inside / "to_outside.png"), away
    yield link("loop.png", inside / "loop.png"), ""
    yield link("dangling.png", outside / "absent.png"), away
    yield f"{link('folder', outside / 'folder')}/secret.png", away
    yield f"{link('folder2', '..')}/{outside.name}/secret.png", away
    yield str(outside / "secret.png"), away
    yield f"{inside}/../{outside.name}/secret.png", away
    yield f"{inside}_2/secret.png", away
    yield f"{inside}/../{inside.name}_2/secret.png", away
    for path in ("/etc/passwd", "/etc/shadow", "../../x", "x.png", "", ".", "/", "/dev/zero", "/dev/stdin", "/proc/self/mem"):
        yield path, away
    yield link("zero.png", "/dev/zero"), away
    yield link("stdin.png", "/dev/stdin"), away
    yield "http://h/a.png", away
    yield "file:///etc/passwd", away
    yield "/etc/shadow.tar/x@0+10", away

    os.mkfifo(inside / "pipe.png")
    yield str(inside / "pipe.png"), "pipe"
    os.mkfifo(inside / "pipe.tar")
    yield f"{inside}/pipe.tar/x@0+10", "pipe"
    (inside / "folder.png").mkdir()
    yield str(inside / "folder.png"), "folder"
    yield f"{inside}/..", ""
    server = socket.socket(socket.AF_UNIX)
    server.bind(os.path.relpath(inside / "socket.png"))
    server.close()
    yield str(inside / "socket.png"), "device"
    with open(inside / "huge.png", "wb") as file:
        file.write(good)
        file.truncate(100_000_000_000)  # a file with a hole: it takes no disk
    yield str(inside / "huge.png"), "64 MB"
    with open(inside / "junk.jpg", "wb") as file:
        file.write(b"\xff\xd8")
        file.truncate(2_000_000)
    yield str(inside / "junk.jpg"), NEITHER
    yield str(inside / "absent.png"), "No such file"
    yield f"{inside}/good.png/x.png", "Not a directory"
    yield f"{inside}/{'a' * 300}.png", "File name too long"
    yield f"{inside}/{'a/' * 3000}a.png", ""
    yield f"{inside}/a\0.png", "null"
    yield f"{inside}/two\nlines.png", "No such file"

    offset, size = member(inside / "00000.tar", good)
    yield f"{inside}/00000.tar/a.png@{offset}+{size}", PICTURE
    yield f"{inside}/00000.tar/../../x@{offset}+{size}", PICTURE  # a name in a tar leads nowhere
    for place, why in (
        (f"{offset}+{size - 30}", ""), (f"{offset + 1}+{size}", NEITHER), (f"0+{size}", NEITHER), (f"{offset}+0", NEITHER),
        (f"{10**9}+{size}", NEITHER), (f"{10**30}+{size}", ""), (f"{offset}+{10**12}", "64 MB"), (f"{'9' * 5000}+1", ""),
        (f"{offset}+{'9' * 5000}", ""),
    ):  # fmt: skip
        yield f"{inside}/00000.tar/a.png@{place}", why
    yield f"{inside}/00000.tar/a.png", "Not a directory"
    yield f"{inside}/absent.tar/a.png@0+10", "No such file"
    member(outside / "00000.tar", good)
    yield f"{outside}/00000.tar/a.png@{offset}+{size}", away
    yield f"{link('00001.tar', outside / '00000.tar')}/a.png@{offset}+{size}", away
    yield f"{inside}/../{outside.name}/00000.tar/a.png@{offset}+{size}", away


def files(inside: Path, outside: Path) -> list[tuple[str, Expected | None]]:
    """Write them all; path, and what is to become of it: an array is to be seen, a word is in the reason, None is either."""
    cases: list[tuple[str, Expected | None]] = []
    for group in (cut, encodings, refused, large):
        folder = inside / group.__name__
        folder.mkdir()
        for name, content, expected in group():
            (folder / name).write_bytes(content)
            cases.append((str(folder / name), expected))
    return cases + list(places(inside, outside))
