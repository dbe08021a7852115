"""Where the images lie that a list of captions names: in a folder beside the list, whatever it is called."""

import logging
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from roclip.core.errors import UserError

log = logging.getLogger(__name__)

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


def _folders(source: Path) -> Iterator[list[str]]:
    """The list's own folder, those in it, the one above, and those in that, the nearest first."""
    parent = str(source.parent)
    for above in (parent, os.path.normpath(os.path.join(parent, ".."))):  # noqa: PTH118 (Path keeps the ..)
        yield [above]  # names may hold a folder, such as train2014/
        with suppress(PermissionError):  # of a folder that nobody may list
            inside = [os.path.join(above, name) for name in folders_in(above) if name[0] != "."]  # noqa: PTH118
            yield [folder for folder in inside if folder != parent]


def folder_of(source: Path, names: Sequence[str]) -> str:
    """The folder that holds most of the images of these names, by some of them; of several the nearest.

    Raises UserError where none holds any, or one that is equally near holds half as many or more: of names that are numbers,
    those may be other images.
    """
    some = names[:: max(1, len(names) // LOOKED_FOR)]
    most, best = 0, []
    for folders in _folders(source):
        holds, seen = {}, set()
        for folder in sorted(folders, key=os.path.islink):
            there = [path for name in some if os.path.isfile(path := os.path.join(folder, name))]  # noqa: PTH113, PTH118
            real = tuple(map(os.path.realpath, there))
            if real not in seen:  # of a folder and links to it, or to its files, one
                holds[folder] = len(there)
            seen.add(real)
        if (nearest := max(holds.values(), default=0)) > most:
            most = nearest
            best = [folder for folder, there in sorted(holds.items(), key=lambda held: -held[1]) if 2 * there >= most]
    if not best:
        raise UserError(f"{source}: its images, such as {some[0]}, lie neither beside it nor in a folder there; put them there")
    if len(best) > 1:
        raise UserError(f"{source}: its images lie in {best[0]} and in {best[1]} too; move one of both elsewhere")
    log.info("%s: its images lie in %s", source, best[0])
    return best[0]


def in_rounds(captions: dict[str, list[str]]) -> Iterator[tuple[str, str]]:
    """Image and caption: the first caption of every image, then the second of every image that has one, and so on.

    So the first n pairs are of n images, where there are as many.
    """
    for turn in range(max(map(len, captions.values()), default=0)):
        yield from ((image, texts[turn]) for image, texts in captions.items() if turn < len(texts))


def placed(source: Path, rows: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Rows of image and caption in rounds, with the images' paths. Raises UserError as `folder_of`."""
    captions = defaultdict(list)
    for image, caption in rows:
        captions[os.path.normpath(image)].append(caption)  # ./a.jpg is a.jpg
    folder = Path(folder_of(source, list(captions))) if captions else source.parent
    return in_rounds({str(folder / image): texts for image, texts in captions.items()})
