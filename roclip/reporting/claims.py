"""Stage: say in sentences what the tables show. Writes `claims.json`, a list of {about, text}; no number is typed in here.

`about` is `defence` (every defence against the baseline), `best_control` (whether a defence does more than weaker training),
`others` (the others against each other), `controls` (every defence against chance), `not_learned` (models of which no attack
success is claimed, for they see nothing), `price` (what a defence costs in accuracy), `equal_accuracy` (defences at equal
accuracy), `took` (attacks that hardly succeed on the baseline, or not, in which case no other claim is made of them),
`published` (where all published numbers lie outside the interval), or `sweep NAME`. Of weights at the end a change of
attack success (ASR) is claimed only where the corrected p value in differences.csv is below 5%.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path

from roclip.core.columns import DIFFERENCES, EQUAL_DIFFERENCES
from roclip.core.errors import UserError
from roclip.core.files import read_lines, write_json
from roclip.core.options import Stage, option
from roclip.experiment.plan import Plan, read_plan
from roclip.reporting.best_control import against_controls
from roclip.reporting.comparisons import against_baseline, against_chance, by_pair, compared_in_words, others
from roclip.reporting.equal_accuracy import read_equal
from roclip.reporting.equal_claims import equal_claims, is_plain, over_seeds
from roclip.reporting.gathered import REMOVE, check_planned, read_gathered
from roclip.reporting.labels import defence_label
from roclip.reporting.learned import has_learned, useful_above
from roclip.reporting.phrases import Models, Row, attack_success, both_judged, mean, moment, moments, points, seeds, shown
from roclip.reporting.published import read_reference
from roclip.reporting.results import is_known, pivot, read_results
from roclip.reporting.sweep_claims import of_sweeps
from roclip.reporting.took import failed, in_words, read_took


@dataclass(frozen=True)
class ClaimsOptions:
    plan: Path = option("plan.json of the experiment")
    results: Path = option("results.csv of the stage gather")
    differences: Path = option("differences.csv of the stage gather")
    equal_accuracy: Path = option("equal_accuracy.csv of the stage gather")
    equal_differences: Path = option("equal_differences.csv of the stage gather")
    took: Path = option("took.csv of the stage gather")
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


def not_learned(rows: Iterable[Row], classes: int) -> Iterator[str]:
    """The models that see hardly more than chance would, on all attacks, variants included."""
    for row in rows:
        if not has_learned(row, classes):
            least = useful_above(classes, row["zero_shot_n"])
            which = "" if row["zero_shot"] <= least else ", of one training or more"
            yield (
                f"With {defence_label(row['defence'])}, trained on {row['attack']}, too little was learned {moment(row)}: "
                f"zero-shot accuracy, {mean(row, 'zero_shot')}, is{which} not above "
                f"{100 * least:.1f}%, and chance is {100 / classes:.1f}%. "
                f"No attack success (ASR) and no defence is claimed of this model."
            )


def price(first: Row, second: Row, family: Mapping[str, str]) -> Iterator[str]:
    """What the second defence costs in accuracy, as means."""
    before, after = (defence_label(row["defence"]) for row in (first, second))
    earlier, later = moments(first, second)
    attack = first["attack"]
    setting = "Without an attack" if family[attack] == "clean" else f"Under the {attack.replace('_', '-')} attack"
    for name, measure in (("zero_shot", "zero-shot accuracy"), ("linear_probe", "linear probe accuracy")):
        alike = first[f"{name}_seeds"] == second[f"{name}_seeds"]  # or the means were of other attacks and trainings
        if is_known(first, name) and is_known(second, name) and alike:
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
    plan: Plan,
    rows: Sequence[Row],
    differences: Iterable[Row],
    reference: Iterable[Row],
    classes: int,
    took: Sequence[Row] = (),
) -> list[dict[str, str]]:
    """All sentences, from the rows of the tables; `rows` are those of results.csv, `took` those of took.csv."""
    measured, lost = pivot(rows), failed(took)
    seeing = [row if has_learned(row, classes) else without_success(row) for row in measured]
    models = by_model(without_success(row) if row["attack"] in lost else row for row in seeing)
    compared, pairs = by_pair(differences), list(against_baseline(models, plan.baseline))
    texts = {
        "defence": [compared_in_words(*pair, compared) for pair in pairs if both_judged(*pair)],
        "best_control": against_controls(models, plan, compared),
        "others": others(models, plan.baseline, compared) if plan.baseline in plan.defences() else [],
        "controls": against_chance(models, compared),
        "not_learned": not_learned(measured, classes),
        "took": in_words(took),
        "price": [text for pair in pairs for text in price(*pair, plan.family)],
        "published": against_published(models, reference),
        **{f"sweep {name}": texts for name, texts in of_sweeps(plan.sweeps, models, by_model(seeing), compared).items()},
    }
    return [{"about": about, "text": text} for about, sentences in texts.items() for text in sentences]


def read_differences(path: Path) -> list[dict[str, str]]:
    """The rows of differences.csv as text. Raises UserError as `read_gathered`."""
    numbers = ("baseline_success", "success", "difference", "low", "high", "p", "p_corrected")
    once = ("about", "baseline_attack", "baseline", "attack", "checkpoint", "defence")
    return read_gathered(path, DIFFERENCES, numbers, ("n", "seeds", "comparisons"), once)


def read_equal_differences(path: Path) -> list[dict[str, str]]:
    """The rows of equal_differences.csv as text. Raises UserError as `read_gathered`."""
    numbers = ("accuracy", "success", "other_success", "difference", "low", "high", "p")
    return read_gathered(path, EQUAL_DIFFERENCES, numbers, ("reached", "seeds"), ("attack", "defence", "kind", "at", "other"))


def check_equal(pairs: Iterable[Row], equal: Sequence[Row], options: ClaimsOptions) -> None:
    """Raises UserError for two defences in equal_differences.csv of which equal_accuracy.csv has one not."""
    recipes = {(row["attack"], row["defence"], row["kind"]) for row in over_seeds(equal, "common")}
    models = {recipe[:2] for recipe in recipes}
    for row in (row for row in pairs if row["at"] == "common" and is_plain(row)):
        attack, defence, kind, other = (row[name] for name in ("attack", "defence", "kind", "other"))
        if (attack, defence, kind) not in recipes or (attack, other) not in models:
            what = f"{attack[:50]}, {defence[:50]} beside {other[:50]}"
            raise UserError(
                f"{options.equal_differences}: has {what}, and {options.equal_accuracy} has not both: the tables are of two "
                f"runs; {REMOVE}"
            )


def run(options: ClaimsOptions) -> None:
    differences, reference = read_differences(options.differences), read_reference(options.reference)
    classes = len(read_lines(options.classes))
    plan, equal = read_plan(options.plan), read_equal(options.equal_accuracy)
    took, pairs = read_took(options.took), read_equal_differences(options.equal_differences)
    check_equal(pairs, equal, options)
    rows = read_results(options.results)
    check_planned(rows, plan, options.results)
    found = claims(plan, rows, differences, reference, classes, took)
    taking = [pair for pair in pairs if pair["attack"] not in failed(took)]
    write_json(options.out, [*found, *equal_claims(equal, taking, plan)])


STAGE = Stage(ClaimsOptions, run)
