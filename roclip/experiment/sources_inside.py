"""Sources inside the experiment's own folder, such as its data/train.csv: a run would remove them before it reads them."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def sources_inside(config: Mapping[str, Any], results: Path) -> Iterator[tuple[str, str]]:
    """Keys that name what lies in `results`, which the run writes, and why that cannot work.

    Weights to start from may lie there: they are what a training of the experiment leaves.
    """
    folders = {os.path.abspath(results), os.path.realpath(results)}  # noqa: PTH100 (Path.resolve fails where links go round)
    for key, source in _sources(config).items():
        ways = (Path(os.path.abspath(source)), Path(os.path.realpath(source)))  # noqa: PTH100
        if any(way.is_relative_to(folder) for way in ways for folder in folders):
            yield key, f"{source} lies in {results}, which the run itself writes; name a copy that lies elsewhere"


def _sources(config: Mapping[str, Any]) -> dict[str, str]:
    """What is read, by the key that names it."""
    data = config["data"]
    several = {f"data.tables.{split}": source for split, source in data["tables"].items()}
    if isinstance(data["url_list"], Mapping):
        several |= {f"data.url_list.{split}": source for split, source in data["url_list"].items()}
    elif data["url_list"]:
        several["data.url_list"] = data["url_list"]
    single = {f"data.{name}": data[name] for name in ("classes", "templates", "captions")}
    return {**several, **single, "downstream.root": config["downstream"]["root"], "train.model": config["train"]["model"]}
