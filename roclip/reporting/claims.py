"""Stage: say in sentences what the tables show. Writes `claims.json`, a list of {about, text}; no number is typed in here.

`about` is `defence` (every defence against the baseline), `others` (the others against each other), `controls` (every defence
against chance), `not_learned` (models of which no attack success is claimed, for they see nothing), `price` (what a defence
costs in accuracy), `equal_accuracy` (defences at equal accuracy), `published` (where all published numbers lie outside the
interval), or the name of a sweep. Of weights at the end a change of attack success (ASR) is claimed only where the two
Clopper-Pearson intervals do not overlap.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import nan
from pathlib import Path

from roclip.core.columns import DIFFERENCES, EQUAL_ACCURACY, EQUAL_DIFFERENCES, REFERENCE
from roclip.core.files import read_lines, read_table, write_json
from roclip.core.options import Stage, option
from roclip.experiment.plan import Plan, base, read_plan
from roclip.reporting.equal_claims import equal_claims
from roclip.reporting.labels import defence_label
from roclip.reporting.learned import has_learned
from roclip.reporting.phrases import (
    Models,
    Row,
    attack_success,
    both_judged,
    change,
    mean,
    moment,
    moments,
    points,
    seeds,
    shown,
    trials,
)
from roclip.reporting.results import at, is_known, pivot, read_results
from roclip.reporting.sweep_claims import of_sweeps

Differences = Mapping[tuple[str, ...], Row]  # rows of differences.csv by attack, checkpoint, baseline and defence


@dataclass(frozen=True)
class ClaimsOptions:
    plan: Path = option("plan.json of the experiment")
    results: Path = option("results.csv of the stage gather")
    differences: Path = option("differences.csv of the stage gather")
    equal_accuracy: Path = option("equal_accuracy.csv of the stage gather")
    equal_differences: Path = option("equal_differences.csv of the stage gather")
    reference: Path = option("CSV of published numbers")
    classes: Path = option("file of the experiment's class names, one a line: chance is one in as many")
    out: Path = option("the JSON file to write", role="output")


def without_success(row: Row) -> Row:
    """A row of which no attack success is claimed."""
    return {**row, "attack_success": nan, "control": nan}


def by_model(rows: Iterable[Row]) -> Models:
    models: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows:
        models.setdefault((row["attack"], row["defence"]), {})[row["checkpoint"]] = row
    return models


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
        alike = []
        for one, two in combinations([defence for defence in defences if defence != baseline], 2):
            for first, second in beside(models[attack, one], models[attack, two]):
                if both_judged(first, second) and change(first, second):
                    yield compared(first, second, differences)
                elif both_judged(first, second):
                    earlier, later = moments(first, second)
                    alike.append(f"{defence_label(one)}{earlier} and {defence_label(two)}{later}")
        if alike:
            yield f"The data do not show a difference in {attack_success(attack)} between {'; nor between '.join(alike)}."


def compared(first: Row, second: Row, differences: Differences) -> str:
    """What the second defence does to the success of an attack on the first."""
    before, after = (defence_label(row["defence"]) for row in (first, second))
    what, n = attack_success(first["attack"]), trials(first, second)
    earlier, later = moments(first, second)
    if paired := differences.get((second["attack"], second["checkpoint"], first["defence"], second["defence"])):
        by, low, high = (points(float(paired[key])) for key in ("difference", "low", "high"))
        n += f"; paired difference {by} points [{low}, {high}]"
    direction = change(first, second)
    if direction == 0:
        return (
            f"The data do not show a difference in {what} between {before}, {shown(first)}{earlier}, "
            f"and {after}, {shown(second)}{later} ({n})."
        )
    verb = "lowered" if direction < 0 else "raised"
    return f"{after} {verb} {what} from {shown(first)} with {before}{earlier} to {shown(second)}{later} ({n})."


def controls(models: Models) -> Iterator[str]:
    """Every defence against its control, on every attack; no variants."""
    for attack, defences in plain(models).items():
        for row in (row for defence in defences for row in models[attack, defence].values()):
            if is_known(row, "attack_success") and is_known(row, "control"):
                yield against_control(row)


def against_control(row: Row) -> str:
    """Whether an attack succeeds more often than models see its classes by chance."""
    what, when, n = attack_success(row["attack"]), moment(row), trials(row, row, "control")
    direction = change(row, row, second_name="control")
    beginning, control = f"With {defence_label(row['defence'])},", f"its control, {shown(row, 'control')}, {when} ({n})."
    if direction == 0:
        return f"{beginning} the data do not show a difference between {what}, {shown(row)}, and {control}"
    return f"{beginning} {what}, {shown(row)}, is {'above' if direction < 0 else 'below'} {control}"


def not_learned(rows: Iterable[Row], classes: int) -> Iterator[str]:
    """The models that see no more than chance would, on all attacks, variants included."""
    for row in rows:
        if not has_learned(row, classes):
            yield (
                f"With {defence_label(row['defence'])}, trained on {row['attack']}, nothing was learned {moment(row)}: "
                f"zero-shot accuracy, {mean(row, 'zero_shot')}, is not three standard errors above chance, "
                f"{100 / classes:.1f}%. No attack success (ASR) and no defence is claimed of this model."
            )


def price(first: Row, second: Row, family: Mapping[str, str]) -> Iterator[str]:
    """What the second defence costs in accuracy, as means."""
    before, after = (defence_label(row["defence"]) for row in (first, second))
    earlier, later = moments(first, second)
    attack = first["attack"]
    setting = "Without an attack" if family[attack] == "clean" else f"Under the {attack.replace('_', '-')} attack"
    for name, measure in (("zero_shot", "zero-shot accuracy"), ("linear_probe", "linear probe accuracy")):
        if is_known(first, name) and is_known(second, name):
            yield (
                f"{setting}, mean {measure} is {mean(first, name)} with {before}{earlier} and {mean(second, name)} with "
                f"{after}{later}, {points(second[name] - first[name], '+')} points ({seeds(first, second)})."
            )


def against_published(models: Models, reference: Iterable[Row]) -> Iterator[str]:
    """Where the interval of attack success leaves out all published numbers of that attack and defence."""
    published: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in reference:
        if row["measure"] == "attack_success":
            published[row["attack"], row["defence"]].append(row)
    for model, rows in models.items():
        values = sorted(float(row["value"]) / 100 for row in published[model])
        for row in (row for row in rows.values() if values and is_known(row, "attack_success")):
            side = {"above": values[-1] < row["attack_success_low"], "below": values[0] > row["attack_success_high"]}
            for word in (word for word, apart in side.items() if apart):
                span = " to ".join(dict.fromkeys(f"{100 * value:g}%" for value in (values[0], values[-1])))
                sources = " and ".join(dict.fromkeys(known["source"] for known in published[model]))
                what = attack_success(row["attack"])
                yield (
                    f"{what[:1].upper()}{what[1:]} with {defence_label(row['defence'])}, {shown(row)} {moment(row)} "
                    f"(n = {row['attack_success_n']:.0f}), is {word} every published value, {span} ({sources})."
                )


def claims(
    plan: Plan, rows: Sequence[Row], differences: Iterable[Row], reference: Iterable[Row], classes: int
) -> list[dict[str, str]]:
    """All sentences, from the rows of the tables; `rows` are those of results.csv."""
    measured = pivot(rows)
    models = by_model(row if has_learned(row, classes) else without_success(row) for row in measured)
    paired = {(row["attack"], row["checkpoint"], row["baseline"], row["defence"]): row for row in differences}
    pairs = list(against_baseline(models, plan.baseline))
    texts = {
        "defence": [compared(*pair, paired) for pair in pairs if both_judged(*pair)],
        "others": others(models, plan.baseline, paired) if plan.baseline in plan.defences() else [],
        "controls": controls(models),
        "not_learned": not_learned(measured, classes),
        "price": [text for pair in pairs for text in price(*pair, plan.family)],
        "published": against_published(models, reference),
        **of_sweeps(plan.sweeps, models),
    }
    return [{"about": about, "text": text} for about, sentences in texts.items() for text in sentences]


def run(options: ClaimsOptions) -> None:
    tables = [(options.differences, tuple(DIFFERENCES)), (options.reference, tuple(REFERENCE))]
    differences, reference = (read_table(path, columns) for path, columns in tables)
    classes = len(read_lines(options.classes))
    plan, equal = read_plan(options.plan), read_table(options.equal_accuracy, tuple(EQUAL_ACCURACY))
    found = claims(plan, read_results(options.results), differences, reference, classes)
    pairs = read_table(options.equal_differences, tuple(EQUAL_DIFFERENCES))
    write_json(options.out, [*found, *equal_claims(equal, pairs, plan.baseline)])


STAGE = Stage(ClaimsOptions, run)
