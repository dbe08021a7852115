"""Where the images lie that a list of captions names: in a folder beside the list, whatever it is called."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from roclip.core.errors import UserError

LOOKED_FOR = 20  # images, for some may be missing


def folders_in(folder: Path | str) -> list[str]:
    """The names of the folders in a folder, links to folders among them, in their order."""

    def is_folder(each: os.DirEntry) -> bool:
        try:
            return each.is_dir()
        except OSError:  # a link that leads back to itself
            return False

    with os.scandir(folder) as found:
        return sorted(each.name for each in found if is_folder(each))


def _folders(source: Path) -> Iterator[str]:
    """The list's own folder and those in it, the one above and those in that, each in the order of their names."""
    parent = str(source.parent)
    for above in (parent, os.path.normpath(os.path.join(parent, ".."))):  # noqa: PTH118 (Path keeps the ..)
        yield above  # names may hold a folder, such as train2014/
        yield from (os.path.join(above, name) for name in folders_in(above))  # noqa: PTH118


def folder_of(source: Path, names: Sequence[str]) -> str:
    """The folder that holds images of these names. Raises UserError where none does."""
    some = names[:LOOKED_FOR]
    for folder in _folders(source):
        if any(os.path.isfile(os.path.join(folder, name)) for name in some):  # noqa: PTH113, PTH118
            return folder
    raise UserError(f"{source}: its images, such as {some[0]}, lie neither beside it nor in a folder there; put them there")


def in_rounds(captions: dict[str, list[str]]) -> Iterator[tuple[str, str]]:
    """Image and caption: the first caption of every image, then the second of every image that has one, and so on.

    So the first n pairs are of n images, where there are as many.
    """
    for turn in range(max(map(len, captions.values()), default=0)):
        yield from ((image, texts[turn]) for image, texts in captions.items() if turn < len(texts))
