"""Stage: download the images of a URL list with img2dataset and write the tables that all other stages read.

Reads a list of URLs (see roclip.data.url_list), and tables or shards of splits that are on this disk. Writes the images, and
`train.csv`, `validation.csv` (path, caption), `test.csv`, `probe.csv` (path, label) in the order of the list, and
`quarantine.csv`, the URLs that gave no image and the files that are not read of shards on this disk. All data sets take this
way, drawn scenes too: its list has file: URLs relative to the list's folder, which are followed inside it only.

img2dataset works in a separate process (roclip.data.img2dataset_worker), through a guard (roclip.data.safe_http), in shards. A
shard that is whole stays when the stage is stopped or killed, and a later run with the same list and settings resumes after it.
"""

import logging
import os
import re
import shlex
import shutil
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import pyarrow
import pyarrow.parquet as parquet

from roclip.core.atomic import completed
from roclip.core.columns import QUARANTINE
from roclip.core.errors import UserError, one_line
from roclip.core.files import read_lines, sha256, write_json, write_rows, write_table
from roclip.core.locks import alone
from roclip.core.options import Stage, flags, option, same_option
from roclip.core.provenance import fingerprint
from roclip.data.image_paths import Roots
from roclip.data.img2dataset_worker import SHARD
from roclip.data.labels import unknown
from roclip.data.settings import QUALITY, DataSettings
from roclip.data.shards import MARK, UNFINISHED, Shard, are_whole
from roclip.data.take_over import splits_of, take_over
from roclip.data.url_list import SPLITS, TEXT, by_split, paths, read_entries
from roclip.data.watchdog import run_watched

log = logging.getLogger(__name__)

QUIET = 120.0  # seconds without a URL gained or lost after which img2dataset is taken to hang, on a machine with cores to spare
START = 900.0  # seconds that it has until the first URL
RUNS = 3  # of img2dataset in a row that finish no shard before the stage gives up
BATCH = 40 * SHARD  # rows of a list held in memory
TAKEN = "taken"  # folder of the images that lay in parquet files
SHOWN = 20  # failed URLs, and kinds of errors, in the log


@dataclass(frozen=True, kw_only=True)
class DownloadOptions:
    url_list: tuple[str, ...] = option(
        "TSV with the columns split, url, caption, label; or split=TSV (text, url) for each split", (), role="files"
    )
    tables: tuple[str, ...] = option(
        "split=SOURCE of each split that is on this disk, in any of the forms that roclip/data/sources.py finds",
        (),
        role="files",
    )
    classes: Path | None = option("file with one class name a line, which labels must be", None, role="setting")
    templates: Path | None = option(
        "file with one prompt template a line, of which captions of class folders are made", None, role="setting"
    )
    data: Path = option("folder that receives images/ and the tables", role="output")
    image_size: int = same_option(DataSettings, "image_size")
    image_format: str = same_option(DataSettings, "image_format")
    output_format: str = same_option(DataSettings, "output_format")
    roots: tuple[str, ...] = same_option(DataSettings, "roots")
    max_bad_fraction: float = same_option(DataSettings, "max_bad_fraction")
    allow: tuple[str, ...] = same_option(DataSettings, "allow")
    distributor: str = same_option(DataSettings, "distributor")
    threads: int = option("downloading processes", 1, minimum=1, role="neutral")


def listed_splits(options: DownloadOptions) -> list[str]:
    """The splits that have to be downloaded. Raises UserError for one that is neither listed nor on this disk."""
    on_disk, listed = by_split(options.tables, "tables"), paths(options.url_list)
    for split in SPLITS:
        if split not in on_disk and split not in listed:
            raise UserError(f"the split '{split}' is neither in data.url_list nor in data.tables; name it in one of them")
    return [split for split in SPLITS if split not in on_disk]


def write_lists(options: DownloadOptions, folder: Path) -> None:
    """Write the list of each split as img2dataset takes it: `folder`/{split}.parquet (url, row, caption), a group a shard."""
    schema = pyarrow.schema([("url", pyarrow.string()), ("row", pyarrow.int64()), ("caption", pyarrow.string())])
    splits = listed_splits(options)
    roots = {split: path.parent.resolve() for split, path in paths(options.url_list).items()}
    waiting = defaultdict(list)
    folder.mkdir(parents=True)
    classes = read_lines(options.classes) if options.classes else []
    writers = {split: parquet.ParquetWriter(folder / f"{split}.parquet", schema) for split in splits}

    def flush(split: str) -> None:
        columns = zip(*waiting.pop(split), strict=True)
        table = pyarrow.table(dict(zip(schema.names, columns, strict=True)), schema)
        writers[split].write_table(table, row_group_size=SHARD)

    for split, row, url, text in read_entries(options.url_list, splits):
        if classes and TEXT[split] == "label" and text not in classes:
            raise UserError(unknown(paths(options.url_list)[split], row, text, options.classes, classes))
        if url.startswith("file:") and not url.startswith("file:/"):
            url = (roots[split] / url.removeprefix("file:")).as_uri()  # the guard sees to it that it stays inside
        waiting[split].append((url, row, text))
        if len(waiting[split]) == BATCH:
            flush(split)
    for split in list(waiting):
        flush(split)
    for writer in writers.values():
        writer.close()


def identity(options: DownloadOptions) -> dict[str, str | int]:
    """What the shards depend on; from shards of another identity a run does not resume."""
    lists = sorted(set(paths(options.url_list).values()))
    # file: URLs may lead to new files under old names; then at least the list was written anew
    dates = [path.stat().st_mtime_ns for path in lists] if "file" in options.allow else []
    lists = fingerprint([sha256(path) for path in lists], dates, sorted(options.url_list))
    settings = {
        "image_size": options.image_size,
        "image_format": options.image_format,
        "quality": QUALITY[options.image_format],
        "decoder": "upright, on white, 8 bits",
    }
    splits = " ".join(listed_splits(options))
    allowed = " ".join(sorted(options.allow))
    return {**settings, "rows_per_group": SHARD, "lists": lists, "splits": splits, "allow": allowed}


def plan_shards(options: DownloadOptions, folder: Path) -> list[Shard]:
    """The shards that img2dataset makes of the lists: it takes the files by name, and none of its shards holds two splits."""
    lists, wanted = folder / "list", identity(options)
    if not are_whole(lists, listed_splits(options), wanted):
        shutil.rmtree(folder, ignore_errors=True)
        write_lists(options, lists)
        write_json(lists / MARK, wanted)
    shards: list[Shard] = []
    for split in sorted(listed_splits(options)):
        rows = parquet.read_metadata(lists / f"{split}.parquet").num_rows
        if rows == 0:
            raise UserError(f"{paths(options.url_list)[split]}: no row of the split '{split}'")
        shards += [Shard(folder, len(shards) + n, split, min(SHARD, rows - n * SHARD), n) for n in range(-(-rows // SHARD))]
    return shards


def faults(shards: list[Shard], max_bad_fraction: float) -> dict[Shard, str]:
    """What is wrong with each shard that has to be made again; more failures than allowed is wrong too."""
    found = {}
    for shard in shards:
        if fault := shard.fault():
            found[shard] = fault
        elif (failed := shard.failures()) > max_bad_fraction * shard.rows:
            found[shard] = f"{failed} of {shard.rows} URLs failed"
    return found


def complete_shards(options: DownloadOptions, shards: list[Shard], folder: Path) -> None:
    """Have img2dataset make every shard that is not there and whole. Raises UserError when it makes no progress."""
    roots = sorted({str(path.parent.resolve()) for path in paths(options.url_list).values()})
    settings = {
        "shards": folder, "image_size": options.image_size, "image_format": options.image_format,
        "loopback": "loopback" in options.allow, "roots": roots if "file" in options.allow else [],
        "progress": folder / "list/progress", "distributor": options.distributor, "threads": options.threads,
    }  # fmt: skip
    if any(os.environ.get(name) for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")):
        log.warning("the proxy that the environment names is not used: behind it, addresses could not be checked")
    temporary = folder / "list/tmp"  # img2dataset's libraries leave folders there when they are stopped
    temporary.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "roclip.data.img2dataset_worker", *shlex.split(flags(settings))]
    environment = {**os.environ, "TMPDIR": str(temporary.resolve())}
    todo, idle = faults(shards, options.max_bad_fraction), 0
    while todo:
        for shard, fault in todo.items():
            if fault != UNFINISHED:
                log.warning("shard %d is downloaded again: %s", shard.number, fault)
            shard.remove()
        shutil.rmtree(folder / "_tmp", ignore_errors=True)
        log.info("downloading %d of %d shards", len(todo), len(shards))
        status = run_watched(command, settings["progress"], QUIET, START, folder / "list/img2dataset.log", environment)
        if status is None:
            log.warning("img2dataset made no progress for %g s or more and was stopped", QUIET)
        elif status:
            log.warning("img2dataset ended with status %d", status)
        left = faults(list(todo), 1)
        idle = 0 if len(left) < len(todo) else idle + 1
        if idle == RUNS:
            shard, fault = next(iter(left.items()))
            raise UserError(
                f"shard {shard.number} of {len(shards)}: {fault}, and {RUNS} runs of img2dataset in a row finished none; "
                f"look at {folder / 'list/img2dataset.log'} and run the stage again, it resumes with the shards that are left"
            )
        if idle:
            time.sleep(5.0**idle)
        todo = left


def judge(options: DownloadOptions, shards: list[Shard]) -> int:
    """Log a histogram of the errors, and raise UserError for a split of which too many URLs failed; the number of images.

    Each split is judged by its own share of failures: among millions of training images, a lost test set would not show.
    """
    files = paths(options.url_list)
    errors, failed, total, first = Counter(), Counter(), Counter(), {}
    for shard in shards:
        bad = list(shard.failed())
        errors.update(re.sub(r"(?<=').*(?=')|(?<=\().*(?=\))", "...", reason) for _, _, reason in bad)
        lost = shard.rows - parquet.read_metadata(shard.table).num_rows
        if lost:
            errors["lost by img2dataset"] += lost
        for row, url, _ in bad[: max(0, SHOWN - failed.total())]:
            log.warning("%s, row %d: no image from %s", files[shard.split], row, one_line(url))
        if bad:
            first.setdefault(shard.split, f", first in {files[shard.split]}, row {bad[0][0]}")
        failed[shard.split] += len(bad) + lost
        total[shard.split] += shard.rows
    for message, count in errors.most_common(SHOWN):
        log.warning("%7d %5.1f%%  %s", count, 100 * count / total.total(), message)
    for split, count in failed.items():
        if count > options.max_bad_fraction * total[split]:
            raise UserError(
                f"{count} of {total[split]} images of the split '{split}' could not be downloaded{first.get(split, '')}; "
                f"data.max_bad_fraction allows {options.max_bad_fraction:g}. Raise it, or run the stage again: it retries the "
                "shards that have more failures"
            )
    return total.total() - failed.total()


def place(options: DownloadOptions, shards: list[Shard], split: str, images: Path) -> Iterator[dict[str, str]]:
    """The rows of a split's table. With files as the format, its images are taken out of the shards on the way."""
    index = 0
    for shard in shards:
        if shard.split != split:
            continue
        files = options.output_format == "files"
        # by key: the content of each image, or the place in the shard where it stays
        members = {key: content for key, _, content in shard.images()} if files else shard.paths()
        for outcome in shard.outcomes():
            if outcome["status"] != "success":
                continue
            path = found = members[outcome["key"]]
            if files:
                path = images / split / f"{index // 1000:05d}" / f"{index:08d}.{options.image_format}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(found)
            yield {"path": str(path), TEXT[split]: outcome["caption"]}
            index += 1


def download(options: DownloadOptions, left_out: list[tuple[Path, int, str, str]]) -> None:
    """Download the splits that are listed; write their tables and, after the rows of it that are known, quarantine.csv."""
    images = options.data / "images"
    folder = images if options.output_format == "webdataset" else options.data / "download"
    shards = plan_shards(options, folder)
    complete_shards(options, shards, folder)
    files = paths(options.url_list)
    failed = ((files[shard.split], *cells) for shard in shards for cells in shard.failed())
    write_rows(options.data / "quarantine.csv", QUARANTINE, chain(left_out, failed))
    kept = judge(options, shards)
    if folder != images:
        shutil.rmtree(images, ignore_errors=True)
    for split in listed_splits(options):
        write_table(options.data / f"{split}.csv", ("path", TEXT[split]), place(options, shards, split, images))
    completed.append(images)
    if folder != images:
        done = folder.with_name("download.done")  # renamed first: a kill on the way leaves nothing that looks like shards
        shutil.rmtree(done, ignore_errors=True)
        os.replace(folder, done)
        shutil.rmtree(done)
    log.info("kept %d of %d images", kept, sum(shard.rows for shard in shards))


def run(options: DownloadOptions) -> None:
    """Raises UserError when more than `max_bad_fraction` of a split's URLs gave no image, or a split is missing."""
    if options.distributor != "multiprocessing" and not find_spec(options.distributor):
        raise UserError(f"data.distributor: {options.distributor} is not installed; `pip install {options.distributor}`")
    with alone(options.data, ".download.lock", "another download"):
        shutil.rmtree(options.data / TAKEN, ignore_errors=True)
        left_out, roots = [], Roots(options.roots)
        store = options.data / TAKEN
        for split in splits_of(by_split(options.tables, "tables"), store, options.templates, options.classes):
            table = options.data / f"{split.name}.csv"
            left_out += take_over(split, table, roots, options.max_bad_fraction)
        if listed_splits(options):
            download(options, left_out)
        else:
            write_rows(options.data / "quarantine.csv", QUARANTINE, left_out)


STAGE = Stage(DownloadOptions, run)
