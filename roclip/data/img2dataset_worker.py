"""The process in which img2dataset works; the stage download starts it, watches it and restarts it.

img2dataset exits with status 0 whether or not it is done, so the stage looks at the shards and not at the exit status.
"""

import functools
import os
import signal
import sys
import threading
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

from roclip.core.options import Stage, option, run_stage
from roclip.data.safe_http import Guard
from roclip.data.settings import DISTRIBUTORS, QUALITY

SHARD = 2500  # images a shard, the unit of work
THREADS = 32  # of a process; they mostly wait for servers


@dataclass(frozen=True)
class WorkerOptions:
    shards: Path = option("folder of the shards; its folder list/ holds one Parquet file (url, row, caption) for each split")
    image_size: int = option("shorter side to which images are shrunk, in pixels")
    image_format: str = option("format in which images are kept", choices=tuple(QUALITY))
    loopback: bool = option("whether servers on this machine are allowed")
    roots: tuple[str, ...] = option("folders inside which file: URLs are allowed")
    progress: Path = option("file that is touched after each URL")
    distributor: str = option("what spreads the shards over processes", choices=DISTRIBUTORS)
    threads: int = option("number of processes", default=1)


def die_with_parent() -> None:
    """End this process and its workers once the parent, which holds the other end of standard input, is gone."""

    def wait() -> None:
        os.read(0, 1)  # nothing is ever written: it returns when the other end is closed
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def run(options: WorkerOptions) -> None:
    """Download every shard that has no `_stats.json` yet.

    Every image is encoded again, small ones of the right format too: it has been turned upright, and put on white.
    """
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    from roclip.data.safe_downloader import GuardedDownloader  # slow to import, and what it imports reads the variable above

    img2dataset = import_module("img2dataset.main")  # the package has a function of the same name
    guard = Guard(options.loopback, tuple(map(Path, options.roots)))
    img2dataset.Downloader = functools.partial(GuardedDownloader, guard, options.progress)
    img2dataset.download(
        url_list=str(options.shards / "list"), input_format="parquet", url_col="url", caption_col="caption",
        save_additional_columns=["row"], output_folder=str(options.shards), output_format="webdataset",
        number_sample_per_shard=SHARD, processes_count=options.threads, thread_count=THREADS, distributor=options.distributor,
        image_size=options.image_size, resize_mode="keep_ratio", resize_only_if_bigger=True,
        encode_format=options.image_format, encode_quality=QUALITY[options.image_format], skip_reencode=False,
        compute_hash=None, extract_exif=False, enable_wandb=False,
    )  # fmt: skip


STAGE = Stage(WorkerOptions, run)

# also in the processes that it starts
if __name__ in ("__main__", "__mp_main__"):
    sys.modules["wandb"] = ModuleType("wandb")  # slow, writes to TMPDIR, and is switched off above
    sys.modules["torch"] = None  # webdataset does without it where it is not installed; it would be half of the start
if __name__ == "__main__":
    die_with_parent()
    run_stage("img2dataset_worker", STAGE, __doc__, sys.argv[1:])
