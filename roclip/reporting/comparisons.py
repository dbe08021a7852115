"""Sentences about two defences, and about a defence and chance. A change is said where the corrected p value is below 5%."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations

from roclip.experiment.plan import base
from roclip.reporting.labels import defence_label
from roclip.reporting.phrases import (
    Models,
    Row,
    attack_success,
    both_judged,
    change,
    evidence,
    moment,
    moments,
    over_shared,
    points,
    tested,
    trials_of,
)
from roclip.reporting.results import at, is_known

# rows of differences.csv by what they are about, the attack and defence of the first, and attack, checkpoint and defence
Differences = Mapping[tuple[str, ...], Row]
PAIR = "pair"  # of two defences, for which of them soever
FEW = "of one training each no difference is claimed"


def key(first: Row, second: Row, about: str = PAIR) -> tuple[str, ...]:
    """Of the difference between two rows of `pivot`."""
    return about, first["attack"], first["defence"], second["attack"], second["checkpoint"], second["defence"]


def by_pair(rows: Iterable[Row]) -> Differences:
    """The rows of differences.csv for looking up."""
    found = {}
    for row in rows:
        about = PAIR if row["about"] in ("defence", "others", "") else row["about"]
        first = row["baseline_attack"], row["baseline"]
        found[(about, *first, row["attack"], row["checkpoint"], row["defence"])] = row
    return found


def plain(models: Models) -> dict[str, list[str]]:
    """By attack its defences, both without variants."""
    found: dict[str, list[str]] = {}
    for attack, defence in models:
        if attack == base(attack) and defence == base(defence):
            found.setdefault(attack, []).append(defence)
    return found


def beside(first: Mapping[str, Row], second: Mapping[str, Row]) -> list[tuple[Row, Row]]:
    """Every checkpoint of the second with the first's."""
    return [(at(first, checkpoint), row) for checkpoint, row in second.items()]


def against_baseline(models: Models, baseline: str) -> Iterator[tuple[Row, Row]]:
    """The baseline and every other defence at each of its checkpoints, on every attack; no variants."""
    for attack, defences in plain(models).items():
        for defence in defences:
            if baseline in defences and defence != baseline:
                yield from beside(models[attack, baseline], models[attack, defence])


def others(models: Models, baseline: str, differences: Differences) -> Iterator[str]:
    """Every two defences that are not the baseline: a sentence for each change, and one for all pairs without any."""
    for attack, defences in plain(models).items():
        alike: dict[bool, list[str]] = {True: [], False: []}
        for one, two in combinations([defence for defence in defences if defence != baseline], 2):
            for first, second in beside(models[attack, one], models[attack, two]):
                difference = differences.get(key(first, second))
                if both_judged(first, second) and tested(difference) and change(difference):
                    yield compared_in_words(first, second, differences)
                elif both_judged(first, second):
                    earlier, later = moments(first, second)
                    alike[tested(difference)].append(f"{defence_label(one)}{earlier} and {defence_label(two)}{later}")
        if alike[True]:
            yield f"The data do not show a difference in {attack_success(attack)} between {'; nor between '.join(alike[True])}."
        if alike[False]:
            yield f"On {attack_success(attack)} {FEW} between {'; nor between '.join(alike[False])}."


def compared_in_words(first: Row, second: Row, differences: Differences) -> str:
    """What the second defence does to the success of an attack on the first."""
    before, after = (defence_label(row["defence"]) for row in (first, second))
    difference = differences.get(key(first, second))
    what, n = attack_success(first["attack"]), trials_of(difference, first, second)
    earlier, later = moments(first, second)
    one, two = over_shared(first, difference, "baseline_success"), over_shared(second, difference, "success")
    both = f"between {before}, {one}{earlier}, and {after}, {two}{later}"
    if not tested(difference):
        return f"On {what} {FEW} {both} ({n})."
    n += f"; difference {interval(difference)}; {evidence(difference)}"
    direction = change(difference)
    if direction == 0:
        return f"The data do not show a difference in {what} {both} ({n})."
    verb = "lowered" if direction < 0 else "raised"
    return f"{after} {verb} {what} from {one} with {before}{earlier} to {two}{later} ({n})."


def interval(difference: Row) -> str:
    """`100.0 points [72.6, 100.0]`."""
    by, low, high = (points(float(difference[name])) for name in ("difference", "low", "high"))
    return f"{by} points [{low}, {high}]"


def against_chance(models: Models, differences: Differences) -> Iterator[str]:
    """Every defence against its control, on every attack; no variants."""
    for attack, defences in plain(models).items():
        for row in (row for defence in defences for row in models[attack, defence].values()):
            if is_known(row, "attack_success") and is_known(row, "control"):
                nobody = {"attack": "", "defence": ""}
                yield against_control(row, differences.get(key(nobody, row, "controls")))


def against_control(row: Row, difference: Row | None) -> str:
    """Whether an attack succeeds more often than models see its classes by chance."""
    what, when, n = attack_success(row["attack"]), moment(row), trials_of(difference, row, row, "control")
    share, of_control = over_shared(row, difference, "success"), over_shared(row, difference, "baseline_success", "control")
    beginning, control = f"With {defence_label(row['defence'])},", f"its control, {of_control}, {when}"
    if not tested(difference):
        return f"{beginning} {FEW} between {what}, {share}, and {control} ({n})."
    direction, n = change(difference), f"{n}; {evidence(difference)}"
    if direction == 0:
        return f"{beginning} the data do not show a difference between {what}, {share}, and {control} ({n})."
    return f"{beginning} {what}, {share}, is {'above' if direction > 0 else 'below'} {control} ({n})."
