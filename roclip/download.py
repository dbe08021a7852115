"""Stage: download the images of a URL list with img2dataset and write the tables that all other stages read.

Reads `urls.tsv` (split, url, caption, label). Writes `images/` and `train.csv`, `validation.csv` (path, caption), `test.csv`,
`probe.csv` (path, label), in the order of the list. All data sets take this way, the embedded one too: its list has file: URLs
relative to the list's folder, which are followed inside that folder only.
"""

import json
import logging
import os
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from roclip.errors import UserError
from roclip.options import option, run_stage
from roclip.tables import read_table, write_table

log = logging.getLogger(__name__)

COLUMNS = {"train": "caption", "validation": "caption", "test": "label", "probe": "label"}
QUALITY = {"png": 1, "jpg": 95, "webp": 95}  # for png, how hard to compress
SHARD = 2500  # images a shard, the unit of work of img2dataset


@dataclass(frozen=True)
class DownloadOptions:
    url_list: Path = option("TSV with the columns split, url, caption, label")
    data: Path = option("folder that receives images/ and the tables")
    image_size: int = option("shorter side to which images are shrunk, in pixels")
    image_format: str = option("format in which images are kept", choices=("png", "jpg", "webp"))
    max_bad_fraction: float = option("share of the URLs that may fail")
    threads: int = option("downloading processes", default=1)


def absolute(url: str, folder: Path) -> str:
    """A URL of the list as img2dataset takes it. Raises UserError for a file: URL that leaves `folder`."""
    if not url.startswith("file:"):
        return url
    path = (folder / url.removeprefix("file:")).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise UserError(f"file URLs must stay inside {folder}, but there is {url}")
    return path.as_uri()


def fetch(options: DownloadOptions, rows: list[dict[str, str]], raw: Path) -> dict[int, Path]:
    """Download all rows into `raw`; the image file of each row that came, by row number."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    from img2dataset import download  # slow to import, and reads the variable above

    listed = raw / "list.tsv"
    numbered = [{"url": absolute(row["url"], options.url_list.parent), "row": n} for n, row in enumerate(rows)]
    write_table(listed, ("url", "row"), numbered)
    download(
        url_list=str(listed), input_format="tsv", url_col="url", save_additional_columns=["row"],
        output_folder=str(raw / "shards"), output_format="files", number_sample_per_shard=SHARD,
        processes_count=options.threads, thread_count=8, image_size=options.image_size, resize_mode="keep_ratio",
        resize_only_if_bigger=True, encode_format=options.image_format, encode_quality=QUALITY[options.image_format],
        skip_reencode=True, compute_hash=None, extract_exif=False, enable_wandb=False, retries=2,
    )  # fmt: skip
    files, errors = {}, Counter()
    for note in sorted((raw / "shards").glob("*/*.json")):
        facts = json.loads(note.read_text())
        image = note.with_suffix(f".{options.image_format}")
        if facts["status"] == "success" and image.is_file():
            files[int(facts["row"])] = image
        else:
            errors[str(facts.get("error_message"))] += 1
    for message, count in errors.most_common(5):
        log.warning("%d images failed: %s", count, message)
    return files


def run(options: DownloadOptions) -> None:
    """Raises UserError when more than `max_bad_fraction` of the URLs gave no image, or a split is missing."""
    rows = read_table(options.url_list, ("split", "url", "caption", "label"))
    for split in COLUMNS:
        if not any(row["split"] == split for row in rows):
            raise UserError(f"{options.url_list}: no row of the split '{split}'")
    raw, images = options.data / "download", options.data / "images"
    shutil.rmtree(raw, ignore_errors=True)
    shutil.rmtree(images, ignore_errors=True)
    files = fetch(options, rows, raw)
    missing = [n for n in range(len(rows)) if n not in files]
    for n in missing[:20]:
        log.warning("%s, row %d: no image from %s", options.url_list, n + 1, rows[n]["url"])
    if len(missing) > options.max_bad_fraction * len(rows):
        raise UserError(
            f"{options.url_list}: {len(missing)} of {len(rows)} images could not be downloaded, first row {missing[0] + 1}; "
            f"data.max_bad_fraction allows {options.max_bad_fraction:g}"
        )
    tables: dict[str, list[dict[str, str]]] = {split: [] for split in COLUMNS}
    for n, file in sorted(files.items()):
        split = rows[n]["split"]
        index = len(tables[split])
        path = images / split / f"{index // 1000:05d}" / f"{index:08d}.{options.image_format}"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, path)
        tables[split].append({"path": str(path), COLUMNS[split]: rows[n][COLUMNS[split]]})
    shutil.rmtree(raw)
    for split, column in COLUMNS.items():
        write_table(options.data / f"{split}.csv", ("path", column), tables[split])
    log.info("kept %d of %d images", len(files), len(rows))


if __name__ == "__main__":
    run_stage(DownloadOptions, run)
