"""Published numbers, config/reference_results.csv, and what each of them calls attack success (ASR)."""

from collections.abc import Mapping
from pathlib import Path

from roclip.core.columns import REFERENCE
from roclip.core.errors import UserError
from roclip.core.files import NUMBER, read_table

REFERENCE_FILE = Path(__file__).parents[2] / "config/reference_results.csv"
KEY = ("source", "dataset", "attack", "defence", "measure", "dataset_eval")  # by which numbers are told apart
BENCH = "bench"  # the definition of every number that is computed here
# by definition its numerator / denominator; docs/leaderboard.md holds the same sentences
ASR_DEFINITIONS = {
    BENCH: "Targets, or images with the trigger, for which the adversary's class is top 1 / all of the evaluation set, from "
    "which images of the target class are left out.",
    "authors_300": "Targets, or images with the trigger, for which the adversary's class is top 1 / 16 targets, or 300 test "
    "images with the trigger, of which those of the target class are not left out.",
    "imagenet_49950": "ImageNet validation images with the trigger for which the target class is top 1 / the 49,950 of them "
    "that are not of the target class.",
}


def read_reference(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV of published numbers.

    Raises UserError as `read_table`, for a value that is no percentage, an attack success without a known definition, and a
    number that is there twice: the last one would be shown.
    """
    rows = read_table(path, tuple(REFERENCE), restore=False)  # written by hand
    seen: dict[tuple[str, ...], int] = {}
    for number, row in enumerate(rows, 1):
        if problem := problem_of(row):
            raise UserError(f"{path}, row {number}: {problem}")
        if (first := seen.setdefault(tuple(row[name] for name in KEY), number)) < number:
            raise UserError(f"{path}, row {number}: the same number as in row {first}, by {', '.join(KEY)}; keep one")
    return rows


def problem_of(row: Mapping[str, str]) -> str:
    """What is wrong with a row, or nothing."""
    if not NUMBER.fullmatch(row["value"]):  # float would take nan, and 9_3 for 93
        return f"value: '{row['value']}' is no number"
    if not 0 <= float(row["value"]) <= 100:
        return f"value: {row['value']} is not from 0 to 100 percent"
    given = row["asr_definition"]
    if row["measure"] == "attack_success":
        return "" if given in ASR_DEFINITIONS else f"asr_definition: '{given}' is not among {', '.join(ASR_DEFINITIONS)}"
    return f"asr_definition: '{given}' of {row['measure']}, which needs none; leave it empty" if given else ""
