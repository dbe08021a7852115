"""Stage: say in sentences what the tables show. Writes `claims.json`, a list of {about, text}; no number is typed in here.

`about` is `defence` (RoCLIP against CLIP), `controls` (both against chance), `price` (what RoCLIP costs in accuracy), `halves`
(augmentation and matching alone), `others` (every further method against RoCLIP), `published` (where all published numbers lie
outside the interval), or the name of a sweep. A change of attack success is claimed only where the two Clopper-Pearson
intervals do not overlap.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from roclip.core.files import read_table, write_json
from roclip.core.options import Stage, option
from roclip.experiment.plan import base, settings_of
from roclip.reporting.gather import SWEEPS
from roclip.reporting.labels import CHECKPOINTS, METHODS, counted, method_name
from roclip.reporting.paper_tables import REFERENCE
from roclip.reporting.results import DIFFERENCES, RESULTS, at

HALVES = (
    ("clip", "clip_augmented"), ("clip", "roclip_unaugmented"),
    ("clip_augmented", "roclip"), ("roclip_unaugmented", "roclip"),
)  # fmt: skip
Row = Mapping[str, str]
Models = Mapping[tuple[str, str], Mapping[str, Row]]  # rows of results.csv by (attack, method) and checkpoint


@dataclass(frozen=True)
class ClaimsOptions:
    results: Path = option("results.csv of the table stage")
    differences: Path = option("differences.csv of the table stage")
    sweeps: Path = option("sweeps.csv of the table stage")
    reference: Path = option("CSV of published numbers")
    out: Path = option("the JSON file to write", role="output")


def change(first: Row, second: Row, first_name: str = "success", second_name: str = "success") -> int:
    """-1 where the second share's interval lies below the first's, 1 where above, 0 where they overlap or touch."""
    if float(second[f"{second_name}_high"]) < float(first[f"{first_name}_low"]):
        return -1
    return int(float(second[f"{second_name}_low"]) > float(first[f"{first_name}_high"]))


def shown(row: Row, name: str = "success") -> str:
    """A share as `93.8% [69.8, 99.8]`."""
    share, low, high = (f"{100 * float(row[key]):.1f}" for key in (name, f"{name}_low", f"{name}_high"))
    return f"{share}% [{low}, {high}]"


def points(share: str | float, sign: str = "") -> str:
    """A difference of shares in percentage points, never `-0.0`."""
    return f"{round(100 * float(share), 1) + 0.0:{sign}.1f}"


def trials(first: Row, second: Row, second_n: str = "success_n") -> str:
    """How many images two shares are of, and of how many trainings: what images cannot show is how trainings differ."""
    n = " and ".join(dict.fromkeys((first["success_n"], second[second_n])))
    return f"n = {n}, {counted(min(int(first['seeds']), int(second['seeds'])), 'seed')}"


def moments(first: Row, second: Row) -> tuple[str, str]:
    """When both were measured: said once, after the second, where it is the same epoch."""
    earlier, later = (f" at the {CHECKPOINTS[row['checkpoint']]}" for row in (first, second))
    return ("" if earlier == later else earlier), later


def beside(first: Mapping[str, Row], second: Mapping[str, Row]) -> list[tuple[Row, Row]]:
    """Every checkpoint of the second with the first's."""
    return [(at(first, checkpoint), row) for checkpoint, row in second.items()]


def between_methods(first: Row, second: Row, difference: Row | None) -> str:
    """What the second method does to the success of an attack on the first."""
    before, after = (method_name(row["method"]) for row in (first, second))
    what = f"{first['attack'].replace('_', '-')} attack success"
    earlier, later = moments(first, second)
    n = trials(first, second)
    if difference:
        by, low, high = (points(difference[key]) for key in ("difference", "low", "high"))
        n += f"; paired difference {by} points [{low}, {high}]"
    direction = change(first, second)
    if direction == 0:
        return (
            f"The data do not show a difference in {what} between {before}, {shown(first)}{earlier}, "
            f"and {after}, {shown(second)}{later} ({n})."
        )
    verb = "lowered" if direction < 0 else "raised"
    return f"{after} {verb} {what} from {shown(first)} with {before}{earlier} to {shown(second)}{later} ({n})."


def against_control(row: Row) -> str:
    """Whether an attack succeeds more often than its exam does by chance."""
    what = f"{row['attack'].replace('_', '-')} attack success"
    method, when = method_name(row["method"]), f"at the {CHECKPOINTS[row['checkpoint']]}"
    n = trials(row, row, "control_n")
    direction = change(row, row, second_name="control")
    if direction == 0:
        return (
            f"With {method}, the data do not show a difference between {what}, {shown(row)}, and its control, "
            f"{shown(row, 'control')}, {when} ({n})."
        )
    side = "above" if direction < 0 else "below"
    return f"With {method}, {what}, {shown(row)}, is {side} its control, {shown(row, 'control')}, {when} ({n})."


def mean(row: Row, name: str) -> str:
    """A mean accuracy as `94.6%`, or `94.6% (sd 0.3)`."""
    spread = f" (sd {100 * float(row[f'{name}_sd']):.1f})" if row[f"{name}_sd"] else ""
    return f"{100 * float(row[name]):.1f}%{spread}"


def seeds(first: Row, second: Row) -> str:
    """Over how many seeds the means are; what one seed cannot show is said."""
    fewest = min(int(first["seeds"]), int(second["seeds"]))
    return f"{counted(fewest, 'seed')}{', so no significance is claimed' if fewest == 1 else '; no significance is claimed'}"


def price(first: Row, second: Row) -> Iterator[str]:
    """What the second method costs in accuracy, as means."""
    before, after = (method_name(row["method"]) for row in (first, second))
    earlier, later = moments(first, second)
    # the clean pairs alone have no exam
    setting = f"Under the {first['attack'].replace('_', '-')} attack" if first["success"] else "Without an attack"
    for name, measure in (("zero_shot", "zero-shot accuracy"), ("linear_probe", "linear probe accuracy")):
        if first[name] and second[name]:
            by = points(float(second[name]) - float(first[name]), "+")
            yield (
                f"{setting}, mean {measure} is {mean(first, name)} with {before}"
                f"{earlier} and {mean(second, name)} with {after}{later}, {by} points ({seeds(first, second)})."
            )


def side_by_side(models: Models) -> Iterator[tuple[Row, Row]]:
    """CLIP and RoCLIP at each checkpoint, on every attack that is not a variant."""
    for attack in dict.fromkeys(attack for attack, _ in models if attack == base(attack)):
        if (attack, "clip") in models and (attack, "roclip") in models:
            yield from beside(models[attack, "clip"], models[attack, "roclip"])


def controls(models: Models) -> Iterator[str]:
    """CLIP and RoCLIP against their controls, on every attack that is not a variant."""
    for (attack, method), rows in models.items():
        if attack == base(attack) and method in ("clip", "roclip"):
            yield from (against_control(row) for row in rows.values() if row["success"] and row["control"])


def halves(models: Models, differences: Mapping[tuple, Row]) -> Iterator[str]:
    """Augmentation and matching alone beside CLIP, and RoCLIP beside each, on every attack on which they were run."""
    for attack in dict.fromkeys(attack for attack, _ in models):
        for first, second in HALVES:
            if (attack, first) in models and (attack, second) in models:
                pairs = beside(models[attack, first], models[attack, second])
                yield from (compared(*pair, differences) for pair in pairs if both_judged(*pair))


def others(models: Models, differences: Mapping[tuple, Row]) -> Iterator[str]:
    """Every further method, such as RoCLIP with a choice of the authors' release, beside RoCLIP, in success and accuracy."""
    for (attack, method), rows in models.items():
        if method == base(method) and method not in METHODS and (attack, "roclip") in models:
            for pair in beside(models[attack, "roclip"], rows):
                if both_judged(*pair):
                    yield compared(*pair, differences)
                yield from price(*pair)


def both_judged(first: Row, second: Row) -> bool:
    return bool(first["success"] and second["success"])


def compared(first: Row, second: Row, differences: Mapping[tuple, Row]) -> str:
    key = (second["attack"], second["checkpoint"], first["method"], second["method"])
    return between_methods(first, second, differences.get(key))


def against_published(models: Models, reference: Iterable[Row]) -> Iterator[str]:
    """Where the interval of attack success leaves out all published numbers of that attack and method."""
    published: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in reference:
        if row["measure"] == "attack_success":
            published[row["attack"], row["method"]].append(row)
    for model, rows in models.items():
        values = sorted(float(row["value"]) / 100 for row in published[model])
        for row in (row for row in rows.values() if row["success"] and values):
            side = {"above": values[-1] < float(row["success_low"]), "below": values[0] > float(row["success_high"])}
            for word in (word for word, apart in side.items() if apart):
                span = " to ".join(dict.fromkeys(f"{100 * value:g}%" for value in (values[0], values[-1])))
                sources = " and ".join(dict.fromkeys(known["source"] for known in published[model]))
                attack, method = row["attack"].replace("_", "-").capitalize(), method_name(row["method"])
                yield (
                    f"{attack} attack success with {method}, {shown(row)} at the {CHECKPOINTS[row['checkpoint']]} "
                    f"(n = {row['success_n']}), is {word} every published value, {span} ({sources})."
                )


def numbers(setting: str) -> dict[str, float]:
    """The settings of a point that are numbers."""
    return {key: float(value) for key, value in settings_of(setting).items() if re.fullmatch(r"-?[\d.]+(e-?\d+)?", value)}


def ordered(settings: Sequence[str]) -> bool:
    """Whether some setting takes another number at every one of two points or more, so that there is a first and a last."""
    found = [numbers(setting) for setting in settings]
    shared = set.intersection(*map(set, found))
    return len(found) > 1 and any(len({point[key] for point in found}) == len(found) for key in shared)


def along(sweep: Sequence[Row], models: Models) -> Iterator[str]:
    """The first and the last point of a series, whose points differ in their settings only."""
    ends = [(point["setting"], models.get((point["attack"], point["method"]), {})) for point in (sweep[0], sweep[-1])]
    (start, firsts), (end, lasts) = ends
    if not firsts or not lasts:
        return
    start, end = (" and ".join(setting.rsplit(", ", 1)) for setting in (start, end))
    method = method_name(sweep[0]["base_method"])
    attack = sweep[0]["base_attack"].replace("_", "-")
    for first, last in beside(firsts, lasts):
        earlier, later = moments(first, last)
        if both_judged(first, last):
            n, direction = trials(first, last), change(first, last)
            what = f"{attack} attack success with {method}"
            if direction:
                verb = "falls" if direction < 0 else "rises"
                yield f"{what} {verb} from {shown(first)} at {start}{earlier} to {shown(last)} at {end}{later} ({n})."
            else:
                yield (
                    f"the data do not show a difference in {what} between {start}, {shown(first)}{earlier}, "
                    f"and {end}, {shown(last)}{later} ({n})."
                )
        if first["zero_shot"] and last["zero_shot"]:
            yield (
                f"mean zero-shot accuracy with {method} under the {attack} attack is {mean(first, 'zero_shot')} at {start}"
                f"{earlier} and {mean(last, 'zero_shot')} at {end}{later} ({seeds(first, last)})."
            )


def claims(
    results: Iterable[Row], differences: Iterable[Row], sweeps: Iterable[Row], reference: Iterable[Row]
) -> list[dict[str, str]]:
    """All sentences, from the rows of the tables."""
    models: dict[tuple[str, str], dict[str, Row]] = {}
    for row in results:
        models.setdefault((row["attack"], row["method"]), {})[row["checkpoint"]] = row
    paired = {(row["attack"], row["checkpoint"], row["baseline"], row["method"]): row for row in differences}
    pairs = list(side_by_side(models))
    texts = {
        "defence": [compared(*pair, paired) for pair in pairs if both_judged(*pair)],
        "controls": controls(models),
        "price": [text for pair in pairs for text in price(*pair)],
        "halves": halves(models, paired),
        "others": others(models, paired),
        "published": against_published(models, reference),
    }
    found = [{"about": about, "text": text} for about, sentences in texts.items() for text in sentences]

    def series(row: Row) -> tuple[str, str, str]:
        return row["sweep"], row["base_attack"], row["base_method"]

    for (name, *_), members in groupby(sweeps, series):
        sweep = list(members)
        if ordered([point["setting"] for point in sweep]):
            found += [{"about": name, "text": f"In the sweep {name}, {text}"} for text in along(sweep, models)]
    return found


def run(options: ClaimsOptions) -> None:
    tables = (
        (options.results, RESULTS),
        (options.differences, DIFFERENCES),
        (options.sweeps, SWEEPS),
        (options.reference, REFERENCE),
    )
    write_json(options.out, claims(*(read_table(path, columns) for path, columns in tables)))


STAGE = Stage(ClaimsOptions, run)
