"""The labels of an evaluation set: made of captions where there are no others, and each of them a class.

A label that is no class would show after all trainings only.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from roclip.core.errors import UserError
from roclip.core.files import read_lines
from roclip.core.words import nearest
from roclip.data.class_mentions import folded, named_by
from roclip.data.image_paths import RealPaths

log = logging.getLogger(__name__)


def checked(
    rows: Iterable[tuple[str, str]], source: Path, classes_file: Path, row_of: Callable[[int], int] = int
) -> Iterator[tuple[str, str]]:
    """The rows (path, label), each image once: judged twice, it would make an interval narrower, and nothing surer.

    row_of: the row, counted from 1, in which the row stands that came last, by how many came.
    Raises UserError for the first label that is no class, with its row, and for an image that has two labels: whatever a model
    says, one of them is wrong.
    """
    classes = read_lines(classes_file)
    known, said, real, count = set(classes), {}, RealPaths(), 0
    for count, (path, label) in enumerate(rows, 1):
        number = row_of(count)
        if label not in known:
            raise UserError(unknown(source, number, label, classes_file, classes))
        before, row = said.setdefault(real(path), (label, number))
        if before != label:
            raise UserError(f"{source}, row {number}: {path} is labelled '{label}', and '{before}' in row {row}; keep one")
        if row == number:
            yield path, label
    if count > len(said):
        log.warning("%s: left out %d of %d rows: their images stand there before", source, count - len(said), count)


def unknown(source: Path, row: int, label: str, classes_file: Path, classes: Sequence[str]) -> str:
    """What is said of a label that is no class."""
    same = next((name for name in classes if folded(name) == folded(label)), None)
    like = same or nearest(label, classes)
    advice = f"did you mean '{like}'?" if like else "add it there, or take the row out"
    if same and same.casefold() != label.casefold():
        advice = f"'{same}' there has other characters (blanks, invisible ones, or another Unicode form); write both alike"
    return f"{source}, row {row}: the label '{label[:100]}' is not in {classes_file}; {advice}"


def from_captions(rows: Iterable[tuple[str, str]], classes: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Image and class, of images of which more than half of the captions name this class while none names another."""
    captions = defaultdict(list)
    for path, caption in rows:
        captions[path].append(caption)
    for path, texts in captions.items():
        times = Counter(number for found in named_by(texts, classes) for number in found)
        if len(times) == 1 and 2 * times.total() > len(texts):
            yield path, classes[next(iter(times))]
