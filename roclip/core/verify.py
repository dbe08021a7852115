"""Compares an experiment with the records that its stages left: `roclip verify results/embedded`.

Prints a line for each file that was changed, is missing or is in no record, one for each stage that read other files than are
there now, and a summary. Ends with status 1 when there is more to say than the summary.
"""

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from roclip.core.errors import UserError, one_line
from roclip.core.files import sha256
from roclip.core.provenance import SUFFIX, TIMES, below, files, read_record

# what is new with each run of the workflow
UNRECORDED = ("config.yaml", "plan.json", "report.html", "logs", "benchmarks", "data_check")
KERNEL = ("/proc/", "/sys/")  # what it makes as it is read, without an end or after a wait
UNFINISHED = "state"  # what a training resumes from


def compare(results: Path) -> tuple[list[str], str]:
    """What is not as it was written, a line each, and a summary. Raises UserError for a folder without records."""
    records, wrong, lines = {}, set(), []

    @cache
    def digest(path: Path) -> str | None:
        """Of a file that can be read; a record may name anything."""
        try:
            readable = os.path.isfile(path) and not os.path.realpath(path).startswith(KERNEL)  # noqa: PTH113
            return sha256(path) if readable else None
        except OSError:
            return None

    def report(path: Path, what: str) -> None:
        wrong.add(path)
        lines.append(f"{path}: {what}")

    places = sorted(path for path in below(results) if path.name.endswith(SUFFIX))
    if not places:
        raise UserError(
            f"{results}: no records (*{SUFFIX}) in this folder; name the folder of an experiment, results/EXPERIMENT"
        )
    for place in places:
        try:
            records[place] = read_record(place)
        except UserError:
            report(place, "this record was changed; what it says is not looked at")
    unread = [place.parent for place in wrong]
    known, unfinished = set(), set()
    for place, record in records.items():
        for name, written in record["outputs"].items():
            path = place.parent / name
            known.add(path)
            if digest(path) is None:
                report(path, f"{'cannot be read' if os.path.exists(path) else 'missing'}; {record['stage']} wrote it")  # noqa: PTH110
            elif digest(path) != written:
                report(path, f"changed after {record['stage']} wrote it")
    for path in files(results):
        parts = path.relative_to(results).parts
        if parts[0] == "models" and len(parts) > 5 and parts[4] == UNFINISHED:  # models/ATTACK/DEFENCE/seedN/state/
            unfinished.add(results.joinpath(*parts[:5]))
            continue
        expected = path in known or path.name == TIMES or parts[0] in UNRECORDED
        if not expected and not any(folder in path.parents for folder in unread):
            report(path, "no record knows it")
    lines += [f"{path}: of a training that has not ended; the workflow goes on with it" for path in sorted(unfinished)]
    for place, record in records.items():
        inputs = {Path(os.path.normpath(place.parent / name)): read for name, read in record["inputs"].items()}
        # of a file that was named already, nothing is said again for all that was made from it
        others = [path for path, read in inputs.items() if path not in wrong and digest(path) != read]
        # nor of the files of another record that is named
        told = {other.parent / name for other in others if other in records for name in records[other]["outputs"]}
        if others:
            unknown = (path for path in others if path not in told)
            now = ", ".join(f"{path}{'' if os.path.exists(path) else ' (missing)'}" for path in unknown)  # noqa: PTH110
            lines.append(f"{place}: {record['stage']} read other files than are there now: {now}")
    summary = f"{len(known - wrong)} files of {len(records)} stages are as they were written"
    return lines, f"{summary}; {len(lines)} lines above say what is not" if lines else summary


def main(argv: Sequence[str]) -> int:
    """The exit status. Raises UserError as `compare`."""
    if len(argv) != 1 or argv[0] in ("-h", "--help"):
        raise UserError("usage: roclip verify results/EXPERIMENT")
    lines, summary = compare(Path(os.path.normpath(argv[0])))
    print(*map(one_line, lines), summary, sep="\n")
    return 1 if lines else 0
