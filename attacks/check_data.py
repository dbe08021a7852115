"""Looks at an experiment's data before any training: broken images, cut or repeated captions, and whether each attack can take.

`roclip check-data --configfile config/mine.yaml` reads captions and labels, and looks whether images are there; with `--images`
it opens each of them: which are broken, and which images of the evaluation splits are copies of training images. Writes
results/EXPERIMENT/data_check/: findings.csv, attacks.csv, classes.csv, copies.csv with --images, and index.html. The
exit status is 1 where a fault is found.
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attacks import ATTACKS
from attacks.data_findings import (
    mentions,
    of_attack,
    of_broken,
    of_captions,
    of_classes,
    of_missing,
    of_overlap,
    of_shared,
    sample,
    verdict,
)
from attacks.findings import FAULT, FINE, Finding, rows_of
from attacks.token_lengths import token_lengths
from roclip.core.columns import CHECK, CLASS_MENTIONS, COPIES, VERDICTS
from roclip.core.deferred import Deferred
from roclip.core.errors import UserError, log_lines, one_line
from roclip.core.files import read_columns, read_lines, write_table
from roclip.data.image_paths import Roots, is_looked_for, is_there
from roclip.data.near_duplicates import Hashed, copies, hashed
from roclip.data.pairs import for_training
from roclip.data.sources import Split, is_packed, read_split, sharing
from roclip.data.url_list import SPLITS, TEXT, USUAL, paths, read_entries, words
from roclip.experiment.config import check
from roclip.experiment.files import read_config, together
from roclip.experiment.plan import Plan
from roclip.experiment.run_lock import folder_of

data_page = Deferred("roclip.reporting.data_page")
log = logging.getLogger(__name__)

HOME = Path(__file__).resolve().parent.parent
Data = dict[str, tuple[list[str], list[str]]]  # by split: paths or URLs, and captions or labels


def read_data(config: Mapping[str, Any], results: Path) -> Data:
    """The splits that are there: the config's tables, its lists, and what was taken over or downloaded before.

    Raises UserError for a table or list that cannot be read.
    """
    data, found = config["data"], {}
    listed = paths(words(data["url_list"])) if data["url_list"] else {}
    for split in SPLITS:
        source, there = data["tables"].get(split), results / f"data/{split}.csv"
        if source and not is_packed(Path(source), TEXT[split]):
            among, classes_file = sharing(data["tables"], split), Path(data["classes"])
            lists = {name: tuple(read_lines(Path(data[name]))) for name in ("classes", "templates")}
            rows = read_split(Split(split, Path(source), there.parent, **lists, classes_file=classes_file, among=among))
        elif there.exists():
            columns = read_columns(there, ("path", TEXT[split]))
            rows = zip(columns["path"], columns[TEXT[split]], strict=True)
        elif split in listed and not source:
            rows = ((_place(each.url, listed[split]), each.text) for each in read_entries(words(data["url_list"]), [split]))
        else:
            continue
        if columns := tuple(map(list, zip(*rows, strict=True))):
            found[split] = columns
        elif source or there.exists():
            raise UserError(f"{source or there}: no rows; the split '{split}' needs some")
    return found


def _place(url: str, listed: Path) -> str:
    """A URL; of an image in the folder of its list the path."""
    name = url.removeprefix("file:")
    return url if name == url or name.startswith("/") else str(listed.parent / name)


def overlaps(data: Data) -> Iterator[Finding]:
    """Images of evaluation splits that training, or those of the test that another split names too, by their real paths."""
    real = Roots(()).real
    images = {split: set(map(real, columns[0])) for split, columns in data.items()}

    def shared(split: str, other: str) -> tuple[int, int, str]:
        both = [path for path in dict.fromkeys(data[split][0]) if real(path) in images[other]]
        return len(both), len(set(data[split][0])), both[0] if both else ""

    for split in (split for split in SPLITS[1:] if split in data):
        yield of_overlap(split, "files", *shared(split, "train"))
    for other in (other for other in ("validation", "probe") if {"test", other} <= data.keys()):
        yield of_shared("test", other, *shared("test", other))


def of_places(data: Data, limit: float) -> Iterator[Finding]:
    """Whether the images are there, of some rows; limit: the share that may be missing."""
    for split, (places, _) in data.items():
        looked_for = [path for row, path in enumerate(places, 1) if is_looked_for(row) and not USUAL.fullmatch(path)]
        if looked_for:  # else nothing of it is downloaded yet
            missing = [path for path in looked_for if not is_there(path)]
            yield of_missing(split, missing, len(looked_for), limit)


def of_images(data: Data, config: Mapping[str, Any], threads: int) -> tuple[list[Finding], list[dict[str, str]]]:
    """Findings of all images, and a row of COPIES for each that is broken or a copy."""
    seen: dict[str, Hashed] = {}
    findings, rows = [], []
    for split in (split for split in data if not USUAL.fullmatch(data[split][0][0])):  # what is not downloaded yet
        unique = list(dict.fromkeys(data[split][0]))
        seen[split] = hashed(unique, config["data"]["roots"], threads)
        broken = [(path, fault) for path, fault in zip(unique, seen[split].faults, strict=True) if fault]
        rows += [{"split": split, "path": path, "what": "broken", "of": fault} for path, fault in broken]
        findings.append(of_broken(split, broken, len(unique), config["data"]["max_bad_fraction"]))
        if split != "train" and "train" in seen:
            first = list(dict.fromkeys(data["train"][0]))
            found = {unique[row]: first[of] for row, of in copies(seen[split], seen["train"]).items()}
            rows += [{"split": split, "path": path, "what": "copy", "of": of} for path, of in found.items()]
            example = next((f"{path} of {of}" for path, of in found.items()), "")
            findings.append(of_overlap(split, "copies", len(found), len(unique), example))
    return findings, rows


def verdicts(
    config: Mapping[str, Any], plan: Plan, train: tuple[Sequence[str], Sequence[str]], counts: Mapping[str, tuple[int, int]]
) -> Iterator[dict]:
    """A row of VERDICTS for each attack that is run. train: paths and captions."""
    paths, captions = train
    usable = [captions[row] for row in for_training(paths, config["data"]["held_out"])]
    for name in plan.attacks():
        settings = plan.attack[name]
        clean = usable[: settings["clean_pairs"] or len(usable)]
        found = of_attack(settings, plan.family[name], clean, counts)
        worst = [each for each in found if each.severity != FINE] or found
        if worst:
            said = {"can_take": verdict(found), "why": worst[0].meaning, "change": worst[0].change}
        elif plan.family[name] == "clean":
            said = {"can_take": "yes", "why": "It poisons nothing.", "change": ""}
        else:
            said = {"can_take": "perhaps", "why": "Only a training can tell: its settings are its own.", "change": ""}
        yield {"attack": name, "kind": settings["kind"], **said}


def look(config: Mapping[str, Any], plan: Plan, results: Path, images: bool, threads: int) -> dict[str, Any]:
    """All that is found. Raises UserError where there are no training pairs yet."""
    data = read_data(config, results)
    if "train" not in data:
        raise UserError(
            "no training pairs are there yet: name them in data.tables, or run `snakemake --cores all data` with the same "
            "config files first"
        )
    captions, limit = data["train"][1], config["data"]["max_bad_fraction"]
    lengths, context = token_lengths(config["train"]["model"], sample(captions))
    counts = mentions(captions, read_lines(Path(config["data"]["classes"])))
    findings = [
        *of_captions(captions, lengths, context, limit),
        of_classes(counts),
        *overlaps(data),
    ]
    seen, rows = of_images(data, config, threads) if images else (of_places(data, limit), None)
    return {
        "pairs": {split: len(columns[0]) for split, columns in data.items()}, "findings": [*findings, *seen],
        "verdicts": list(verdicts(config, plan, data["train"], counts)), "classes": counts, "copies": rows,
        "lengths": lengths, "context": context, "experiment": plan.experiment,
    }  # fmt: skip


def write(found: Mapping[str, Any], out: Path) -> None:
    """Write the tables and the page."""
    write_table(out / "findings.csv", tuple(CHECK), rows_of(found["findings"]))
    write_table(out / "attacks.csv", tuple(VERDICTS), found["verdicts"])
    rows = [{"class": name, "captions": alone, "with_plural": either} for name, (alone, either) in found["classes"].items()]
    write_table(out / "classes.csv", tuple(CLASS_MENTIONS), rows)
    if found["copies"] is not None:
        write_table(out / "copies.csv", tuple(COPIES), found["copies"])
    data_page.write_page(found, HOME / "workflow/report/data.html", out / "index.html")


def lines_of(found: Mapping[str, Any]) -> Iterator[str]:
    """What is said of it: the pairs, what is no fine finding, and each attack's verdict."""
    yield "data: " + ", ".join(f"{count} {TEXT[split]}s in {split}" for split, count in found["pairs"].items())
    for each in (each for each in found["findings"] if each.severity != FINE):
        yield f"{each.severity}: {each.meaning} To change it, {each.change}."
    for row in found["verdicts"]:
        change = f" To change it, {row['change']}." if row["change"] else ""
        yield f"can {row['attack']} take? {row['can_take']}: {row['why']}{change}"


def main(argv: Sequence[str]) -> int:
    """The exit status. Raises UserError for a config or data that cannot be used."""
    log_lines("%(message)s")
    parser = argparse.ArgumentParser("roclip check-data", description=__doc__.partition("\n\n")[0], allow_abbrev=False)
    parser.add_argument("--configfile", nargs="+", default=[], metavar="FILE", help="as snakemake takes them")
    parser.add_argument("--images", action="store_true", help="read every image too: some minutes for 100,000")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, metavar="N", help="that decode images")
    options = parser.parse_args(argv)
    if options.threads < 1:
        parser.error(f"argument --threads: {options.threads} is less than 1")
    given, home = together(options.configfile), Path() if Path.cwd() == HOME else HOME
    config, plan = check(read_config(home, given, options.configfile), ATTACKS)
    results = Path(folder_of(plan.experiment))
    found = look(config, plan, results, options.images, options.threads)
    write(found, results / "data_check")
    print(*map(one_line, lines_of(found)), f"wrote {results / 'data_check/index.html'}", sep="\n")
    return int(any(each.severity == FAULT for each in found["findings"]))
