"""img2dataset's downloader, fetching through the guard.

This is a separate module because the class is pickled by its name on the way to the worker processes of a distributor.
"""

import io
import os
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.response import addinfourl

from img2dataset.downloader import Downloader

from roclip.data.safe_http import Guard, fetch


class GuardedDownloader(Downloader):
    """img2dataset calls `urllib.request.urlopen`; in the processes where it does, this object is what that asks.

    At the start of a shard and after each URL, gained or lost, the file `progress` is touched: what the watchdog looks at.
    """

    def __init__(self, guard: Guard, progress: Path, **settings: Any):
        super().__init__(**settings)
        self.guard, self.progress, self.touched = guard, progress, 0.0

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
