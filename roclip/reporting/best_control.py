"""Whether a defence does more than weaker training does: sentences about the best control.

Whoever trains less is attacked less. `controls` in the config are defences that only train less, or without what the defence
adds, such as half the epochs. A control counts against a defence where its zero-shot accuracy is not lower by more than two
standard errors of the difference; the best control is the one of these with the lowest attack success. A repair needs a control
that is a repair, as `finetune` is, and a filter one that filters, as `random` does, among those that count: of others nothing
is learned about what the step adds. A defence is said to defend where

- its attack success is below that of every such control, each at the 5% level, so that no choice among controls can help it
  (an intersection-union test: the largest p value counts, and the number of controls needs no correction), and
- the accuracy of one of them at least is higher than its own neither by more than two standard errors nor, as few noisy
  trainings leave much within two, by more than MARGIN, because against controls that all learned more its lower success may be
  that of weaker training.

These claims are a family with Holm's correction. Nothing is said of models that learned nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import hypot, isnan, nan, sqrt

from roclip.core.words import counted
from roclip.defences.filters import FILTERS
from roclip.experiment.plan import Plan
from roclip.reporting.comparisons import Differences, key, plain
from roclip.reporting.labels import defence_label
from roclip.reporting.phrases import LEVEL, Models, Row, attack_success, corrected, mean, moment, moments, shown
from roclip.reporting.results import at, is_known
from roclip.reporting.significance import holm

ERRORS = 2.0  # standard errors by which accuracies may differ that count as no lower
# standard deviation of zero-shot accuracy between trainings that is taken for granted where there is one; measured in this
# project's tables: 1 to 6 points
SPREAD = 0.03
MARGIN = 0.03  # by which a control may be more accurate than a defence that is said to defend
# steps of a recipe, each of which needs a control with such a step, and such a control of the default config
STEPS = {"filter": "random_removal", "repair": "finetuned"}


@dataclass
class Trial:
    """A defence, at a checkpoint, and the controls that count against it, the best first; p: see the top.

    lacking: steps of its recipe that none of these has. run: whether a control that was run has the first of them.
    """

    row: Row
    controls: list[Row]
    p: float
    lacking: list[str]
    run: bool


def against_controls(models: Models, plan: Plan, differences: Differences) -> Iterator[str]:
    """A sentence for each defence that is neither baseline nor control, on each attack, or one where no control was run."""
    rows = list(_defended(models, plan))
    present = [name for name in plan.controls if name in plan.defences()]
    if present and {*plan.defences()} <= {*yardsticks(plan)}:
        yield "Only controls were run, and no defence that they could judge. Add one, such as roclip, to defences."
    if rows and not present:
        name = plan.controls[0] if plan.controls else "half"
        added = f"Add {name} to defences" if plan.controls else f"Add a defence such as {name} to defences and to controls"
        yield f"No control was run: whether the defence or weaker training lowers success cannot be told. {added}."
        return
    trials = [trial(row, _controls(models, row, present), differences, plan) for row in rows]
    family = holm([each.p for each in trials])
    m = sum(not isnan(p) for p in family)
    for each, p in zip(trials, family, strict=True):
        yield in_words(each, p, m)


def yardsticks(plan: Plan) -> list[str]:
    """What defences are set beside: the baseline, the controls, and recipes whose filter reads which pairs are poisoned."""
    read = {name for name, step in plan.filters.items() if FILTERS[step.settings["kind"]].reads_truth}
    told = [name for name in plan.defences() if any(s.name in read for s in plan.chain(name) if s.stage == "filter")]
    return list(dict.fromkeys([plan.baseline, *plan.controls, *told]))


def _defended(models: Models, plan: Plan) -> Iterator[Row]:
    judges = yardsticks(plan)
    for attack, defences in plain(models).items():
        for defence in defences:
            if defence not in judges:
                yield from (row for row in models[attack, defence].values() if is_known(row, "attack_success"))


def _controls(models: Models, row: Row, names: Sequence[str]) -> list[Row]:
    """The controls on the attack of a row, at its checkpoint, that have learned something."""
    found = [at(models[row["attack"], name], row["checkpoint"]) for name in names if (row["attack"], name) in models]
    return [control for control in found if is_known(control, "attack_success")]


def trial(row: Row, controls: Sequence[Row], differences: Differences, plan: Plan) -> Trial:
    """The controls that count, and the largest p value: 1 where one is not above the defence, NaN where one is not tested."""
    counting = sorted((c for c in controls if lead(row, c) <= ERRORS), key=lambda control: control["attack_success"])
    had, run = ({step for control in its for step in _steps(plan, control)} for its in (counting, controls))
    lacking = [step for step in _steps(plan, row) if step not in had]
    values = [_p(differences.get(key(control, row))) for control in counting]
    p = nan if lacking or not values or any(map(isnan, values)) else max(values)
    return Trial(row, counting, p, lacking, bool({*lacking[:1]} & run))


def _steps(plan: Plan, row: Row) -> list[str]:
    """Which of STEPS the recipe of a row has."""
    stages = {step.stage for step in plan.chain(row["defence"])}
    return [step for step in STEPS if step in stages]


def _p(difference: Mapping[str, str] | None) -> float:
    """The p value that a control's success is above the defence's."""
    if difference is None or not difference["p"]:
        return nan
    return float(difference["p"]) if float(difference["difference"]) > 0 else 1.0


def lead(first: Row, second: Row) -> float:
    """By how many standard errors of the difference the first's zero-shot accuracy is above the second's.

    Of each the larger of two: over trainings and over test images. Infinite where an accuracy is not known, or both are without
    error and differ.
    """
    if not (is_known(first, "zero_shot") and is_known(second, "zero_shot")):
        return float("inf")
    error, by = hypot(_error(first), _error(second)), first["zero_shot"] - second["zero_shot"]
    return by / error if error else (float("inf") if by > 0 else float("-inf") if by < 0 else 0.0)


def _ahead(first: Row, second: Row) -> float:
    """By how much the first's zero-shot accuracy is above the second's; infinite where one is not known."""
    known = is_known(first, "zero_shot") and is_known(second, "zero_shot")
    return first["zero_shot"] - second["zero_shot"] if known else float("inf")


def _error(row: Row) -> float:
    share, spread = row["zero_shot"], row["zero_shot_sd"] if is_known(row, "zero_shot_sd") else SPREAD
    return max(spread / sqrt(row["zero_shot_seeds"]), sqrt(share * (1 - share) / row["zero_shot_n"]))


def unlike_seeds(*rows: Row) -> str:
    """`, over 5 and 2 seeds; tested on those that both have`, where the numbers differ."""
    seeds = [f"{row['attack_success_seeds']:.0f}" for row in rows]
    return "" if len({*seeds}) == 1 else f", over {' and '.join(seeds)} seeds; tested on those that both have"


def in_words(each: Trial, p: float, m: int) -> str:
    """The sentence; p: with Holm's correction over m."""
    row, defence, what = each.row, defence_label(each.row["defence"]), attack_success(each.row["attack"])
    under = f"Under the {row['attack'].replace('_', '-')} attack no"
    if each.lacking:
        step = each.lacking[0]
        lack, told = f"{under} control with a {step}", f"whether it defends beyond an ordinary {step} cannot be told"
        if each.run:
            return f"{lack} that was run is as accurate as {defence} {moment(row)}: {told}."
        added = f"Add one, such as {STEPS[step]}, to defences and to controls"
        return f"{lack} was run beside {defence} {moment(row)}: {told}. {added}."
    if not each.controls:
        return (
            f"{under} control that was run is as accurate as {defence} "
            f"{moment(row)}: whether it defends beyond weaker training cannot be told."
        )
    best = each.controls[0]
    (earlier, later), name = moments(best, row), defence_label(best["defence"])
    others = (
        f", of {counted(len(each.controls), 'control')} of no lower accuracy the one with the least"
        if each.controls[1:]
        else ""
    )
    numbers = (
        f"{what} is {shown(best)} with {name}{earlier} and {shown(row)} with {defence}{later}, zero-shot accuracy "
        f"{mean(best, 'zero_shot')} and {mean(row, 'zero_shot')}{unlike_seeds(best, row)}"
    )
    beyond = f"beyond the best control, {name}{others}"
    if isnan(p):
        return f"Of one training each it is not claimed that {defence} defends {beyond}: {numbers}."
    evidence = corrected(p, m, "such claim")
    if p >= LEVEL:
        return f"The data do not show that {defence} defends {beyond}: {numbers} ({evidence})."
    if all(lead(control, row) > ERRORS or _ahead(control, row) > MARGIN for control in each.controls):
        reason = f"{defence} is less accurate, so weaker training may be the reason"
        return f"{defence} is attacked less than the best control, {name}{others}, but {reason}: {numbers} ({evidence})."
    return f"{defence} defends {beyond}: {numbers} ({evidence})."
