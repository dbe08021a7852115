"""img2dataset's downloader, fetching through the guard and decoding as all images are decoded here.

This is a separate module because the classes are pickled by their names on the way to the worker processes of a distributor.
"""

import io
import os
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.response import addinfourl

from img2dataset.downloader import Downloader
from img2dataset.resizer import Resizer

from roclip.data.images import decode_whole, fault
from roclip.data.safe_http import Guard, fetch


class Decoder:
    """Stands before img2dataset's resizer, which would leave images as they lie, cut 16 bits and know no tags.

    It gives the resizer the pixels of `decode_whole`, as a file without compression, and returns what the resizer returns.
    """

    def __init__(self, resizer: Resizer):
        self.resizer = resizer

    def __call__(self, downloaded: io.BytesIO, boxes: None) -> tuple:
        try:
            image = decode_whole(downloaded.getvalue())
        except Exception as error:  # Pillow raises many kinds; each of them is a bad image
            return None, None, None, None, None, fault(error)
        plain = io.BytesIO()
        image.save(plain, "PPM")
        return self.resizer(plain, boxes)


class GuardedDownloader(Downloader):
    """img2dataset calls `urllib.request.urlopen`; in the processes where it does, this object is what that asks.

    At the start of a shard and after each URL, gained or lost, the file `progress` is touched: what the watchdog looks at.
    """

    def __init__(self, guard: Guard, progress: Path, **settings: Any):
        super().__init__(**settings)
        self.guard, self.progress, self.touched = guard, progress, 0.0
        self.resizer = Decoder(self.resizer)

    def __call__(self, row: tuple[int, str]) -> tuple[bool, tuple[int, str]]:
        urllib.request.install_opener(self)
        os.utime(self.progress)
        return super().__call__(row)

    def open(self, request: urllib.request.Request, data: None = None, timeout: float | None = None) -> addinfourl:
        """What `urlopen` returns for a request of img2dataset. Raises FetchError; the limit in time is `fetch`'s."""
        try:
            body, headers = fetch(request.full_url, dict(request.header_items()), self.guard)
            return addinfourl(io.BytesIO(body), headers, request.full_url, 200)
        finally:
            if time.monotonic() - self.touched > 1:
                self.touched = time.monotonic()
                os.utime(self.progress)
