"""Samples of shards, an image and its caption each, in a tar or a folder; names are understood as webdataset does.

The key of a file is its name up to the first dot, with the folders before it; the rest, in lower case, says what it is. Of two
images of a key the first of IMAGES is taken, as open_clip does. Of all that is not read but img2dataset's records it is
noted why: links and devices may lead anywhere, a name twice says two things.
"""

import io
import os
import re
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

from roclip.core.errors import UserError, one_line
from roclip.core.files import CELL, open_file
from roclip.core.not_text import PACKED, kind_of
from roclip.data.annotations import one_line_of
from roclip.data.image_paths import member_path

Entry = TypeVar("Entry")
LeftOut = list[tuple[Path, int, str, str]]  # cells of QUARANTINE: shard, number of the file in it, its name, reason

IMAGES = ("jpg", "png", "jpeg", "webp")
CAPTION, RECORD = "txt", "json"
MAY_HOLD = re.compile(r"\.(tar(\.\w+)?|tgz|zip|" + "|".join(IMAGES) + ")$", re.IGNORECASE)
END_OF_TAR = 1024  # bytes of zeros
END_OF_COPY = 1 << 16  # bytes by which copies are told, at both ends
FIRST = 100  # files of a tar among which a caption is sought
FAULTS = {  # what is wrong with a tar, where tarfile does not say it; each header before a header costs it a call inside a call
    RecursionError: "a long chain of headers", OverflowError: "a size that no file has",
}  # fmt: skip


class _Headers(io.FileIO):
    """A tar of which nothing is read at once that is longer than a caption may be: headers can say any length."""

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= CELL:
            raise tarfile.ReadError(f"a header or caption of more than {CELL} bytes")
        return super().read(size)


def split_name(name: str) -> tuple[str, str]:
    """Key and suffix of a file. The key is empty for a name that begins with a dot, which webdataset does not read."""
    folder, slash, file = name.rpartition("/")
    stem, _, suffix = file.partition(".")
    return f"{folder}{slash}{stem}" if stem else "", suffix.lower()


def _samples(shard: Path, files: Iterable[tuple[int, str, Entry]], left_out: LeftOut) -> Iterator[tuple[Entry, Entry]]:
    """(image, caption) of each key, of files as (number, name, entry), in the order in which keys come first."""

    def leave_out(file: tuple[int, str, Entry], reason: str) -> None:
        left_out.append((shard, file[0], one_line(file[1]), reason))

    samples: dict[str, dict[str, tuple[int, str, Entry]]] = {}
    for file in files:
        key, suffix = split_name(file[1])
        if suffix == RECORD:
            continue
        if not key:
            leave_out(file, "its name begins with a dot")
        elif suffix not in (*IMAGES, CAPTION):
            leave_out(file, f"what follows its first dot is none of {', '.join(IMAGES)}, {CAPTION}")
        else:
            sample = samples.setdefault(key, {})
            if suffix in sample:
                leave_out(sample[suffix], "a duplicate name; the later file is read")
            sample[suffix] = file
    for sample in samples.values():
        images = [sample[suffix] for suffix in IMAGES if suffix in sample]
        caption = sample.get(CAPTION)
        if images and caption:
            yield images[0][2], caption[2]
        elif caption:
            leave_out(caption, "a caption without an image")
        for image in images[1:] if caption else images:
            leave_out(image, "another image of its key is read" if caption else "no caption")


def _unreadable(member: tarfile.TarInfo) -> str | None:
    """Why a member of a tar is not read, whatever its name."""
    if member.islnk() or member.issym():
        return "a link"
    if not member.isreg():
        return "a pipe or device"
    if member.issparse() or any(key.startswith("GNU.sparse") for key in member.pax_headers):
        return "a sparse file"
    # in the path of an image (image_paths.MEMBER) its tar would be looked for elsewhere
    return "a line break or .tar/ in its name" if "\n" in member.name or ".tar/" in member.name else None


def _members(tar: Path, archive: tarfile.TarFile, left_out: LeftOut) -> list[tuple[int, str, tarfile.TarInfo]]:
    """Number, name and header of each plain file, by name."""
    found = []
    for number, member in enumerate(archive, 1):
        if member.size < 0:  # the next header would be an earlier one
            raise tarfile.ReadError("a negative size")
        if reason := None if member.isdir() else _unreadable(member):
            left_out.append((tar, number, one_line(member.name), reason))
        elif not member.isdir():
            found.append((number, member.name, member))
    return sorted(found, key=lambda file: file[1])


def samples_of_tar(tar: Path, left_out: LeftOut) -> Iterator[tuple[str, str]]:
    """Path and caption of each image of a tar. Raises UserError for one that is cut short or broken."""
    try:
        with open_file(tar) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - END_OF_TAR))
            if file.read() != bytes(END_OF_TAR):  # cut between two members, it would read as a whole tar
                raise tarfile.ReadError("unexpected end of data")
        with _Headers(tar) as opened, tarfile.TarFile(fileobj=opened) as archive:
            members = _members(tar, archive, left_out)
            _refuse_rest(opened, archive.offset)
            for image, text in _samples(tar, members, left_out):
                if text.size > CELL:
                    raise UserError(f"{tar}: {text.name} has more than {CELL} bytes; take it out")
                yield member_path(tar, image), _caption_of(tar, text.name, archive.extractfile(text).read())
    except (tarfile.TarError, OSError, ValueError, *FAULTS) as error:
        if kind := kind_of(tar, PACKED) if tar.is_file() else None:
            raise UserError(f"{tar}: {kind}") from None
        said = FAULTS.get(type(error), error)
        raise UserError(f"{tar}: not a whole shard ({said}); delete it and download it again") from None


def _refuse_rest(opened: io.FileIO, place: int) -> None:
    """Raises ReadError for anything but zeros from the place on where tarfile, without a word, finds no more headers."""
    opened.seek(place)
    for block in iter(lambda: opened.read(CELL), b""):
        if block.count(0) < len(block):
            raise tarfile.ReadError(f"neither a header nor the end at byte {place}")


def _caption_of(tar: Path, name: str, content: bytes) -> str:
    try:
        return _line(content)
    except UnicodeDecodeError:
        raise UserError(f"{tar}: its {one_line(name)} is not UTF-8; take it out, or save it as UTF-8") from None


def samples_of_folder(folder: Path, left_out: LeftOut) -> Iterator[tuple[str, str]]:
    """Path and caption of each image of a folder."""
    files = []
    for number, name in enumerate(sorted(os.listdir(folder)), 1):  # noqa: PTH208 (names)
        if (folder / name).is_dir():
            left_out.append((folder, number, one_line(name), "a folder in a shard"))
        else:
            files.append((number, name, name))
    for image, text in _samples(folder, files, left_out):
        yield str(folder / image), _caption(folder / text)


def _line(content: bytes) -> str:
    """A caption without a byte-order mark, in one line; what is a line already stays to the letter."""
    text = content.decode("utf-8-sig")
    return one_line_of(text) if "\n" in text or "\r" in text else text


def _caption(path: Path) -> str:
    """The text of a file. Raises UserError for a link, which may lead anywhere, and a broken text."""
    if path.is_symlink():
        raise UserError(f"{path}: a link, which may lead outside the shard; put the caption itself there")
    with open_file(path) as file:
        if os.fstat(file.fileno()).st_size > CELL:
            raise UserError(f"{path}: more than {CELL} bytes; take it out")
        content = file.read()
    try:
        return _line(content)
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8; delete the shard and download it again") from None


def shards_of(folder: Path) -> list[Path]:
    """The tars of a folder, or where it has none the folders in it, in their order; hidden ones are none.

    Of links to one, and of its copies, as a second download leaves them, one is taken: no link, and the shortest name.
    """
    folders = sorted(path for path in folder.iterdir() if path.name[0] != "." and path.is_dir())
    found = sorted(folder.glob("[!.]*.tar")) or folders
    kinds: dict[Path, tuple] = {path: () for path in found if path.is_file()}
    for look in (_size, _begin, _ends):  # of thousands of tars few are as large as another, and fewer begin as one
        alike = Counter(kinds.values())
        kinds = {path: (*kind, look(path)) if alike[kind] > 1 else kind for path, kind in kinds.items()}
    same = {path: kinds.get(path) or os.path.realpath(path) for path in found}
    once = {same[path]: path for path in sorted(found, key=lambda path: (path.is_symlink(), len(path.name)), reverse=True)}
    return [path for path in found if once[same[path]] == path]


def _size(tar: Path) -> int:
    return tar.stat().st_size


def _begin(tar: Path) -> bytes:
    """The header of a tar's first file."""
    with open(tar, "rb") as file:
        return file.read(tarfile.BLOCKSIZE)


def _ends(tar: Path) -> tuple[bytes, bytes]:
    """How a tar begins and ends: of two as large that do so alike, one is a copy."""
    with open(tar, "rb") as file:
        begin = file.read(END_OF_COPY)
        file.seek(max(0, _size(tar) - END_OF_COPY))
        return begin, file.read()


def is_of_samples(tar: Path) -> bool:
    """Whether captions are among the first files of a tar, or it cannot be read; an archive of images alone is no shard."""
    try:
        with _Headers(tar) as opened, tarfile.TarFile(fileobj=opened) as archive:
            return any(split_name(member.name)[1] == CAPTION for member in islice(archive, FIRST))
    except (tarfile.TarError, OSError, ValueError, *FAULTS):
        return True


def beside(folder: Path, shards: Sequence[Path]) -> LeftOut:
    """What else lies in a folder of shards and may hold samples: folders, archives and images."""
    known, suffixes = {shard.name for shard in shards}, {shard.suffix for shard in shards}

    def reason(path: Path) -> str:
        if path.suffix not in suffixes or path.is_dir() == (".tar" in suffixes):
            return "beside the shards, which are all .tar or all folders"
        return f"a {'link to' if path.is_symlink() else 'copy of'} a shard that is read"

    return [
        (folder, number, one_line(path.name), reason(path))
        for number, path in enumerate(sorted(folder.iterdir()), 1)
        if path.name not in known and path.name[0] not in "._" and (path.is_dir() or MAY_HOLD.search(path.name))
    ]


def samples_of(shard: Path, left_out: LeftOut) -> Iterator[tuple[str, str]]:
    """Path and caption of each image of a shard; what is not read is added to `left_out`."""
    return samples_of_folder(shard, left_out) if shard.is_dir() else samples_of_tar(shard, left_out)
