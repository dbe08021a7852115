"""What a number of seeds can show: said before a run and in its report, from the plan and, where it was measured, a spread.

A targeted attack's targets are one draw each, so its power is that of McNemar's exact test on all targets. Of a backdoor the
training is the unit, and its power that of a t test of two means. Both at the 5% level, two-sided, without a correction for
several comparisons, which takes more seeds. Imported before a run, so nothing slow in here.
"""

from collections.abc import Callable, Iterable
from math import isnan, sqrt
from statistics import mean
from typing import Any

from roclip.core.deferred import Deferred
from roclip.core.words import counted
from roclip.experiment.plan import Plan, base

np = Deferred("numpy")
stats = Deferred("scipy.stats")

LEVEL, POWER = 0.05, 0.8
BASELINE = 0.9  # attack success of the baseline that is assumed of targeted attacks
SPREAD = 0.1  # standard deviation of a backdoor's success between trainings, where none was measured
USUAL = 0.2  # a difference whose seeds are said
MOST = 200  # seeds that are tried


def power_of_targets(n: int, difference: float) -> float:
    """That McNemar's exact test finds so much less than BASELINE on n targets, which two defences lose independently."""
    second = BASELINE - difference
    first_only, second_only = BASELINE * (1 - second), (1 - BASELINE) * second
    discordant = np.arange(n + 1)
    shares = stats.binom.pmf(discordant, n, first_only + second_only)
    # at most so many of them the second's alone, and p is below the level
    most = stats.binom.ppf(LEVEL / 2, discordant, 0.5) - 1
    most += stats.binom.cdf(most + 1, discordant, 0.5) <= LEVEL / 2
    return float((shares * stats.binom.cdf(most, discordant, second_only / (first_only + second_only))).sum())


def power_of_trainings(seeds: int, difference: float, spread: float) -> float:
    """That a t test finds a difference of two means of so many trainings, by the noncentral t distribution."""
    if seeds < 2:
        return 0.0
    degrees, shift = 2 * seeds - 2, difference / (spread * sqrt(2 / seeds))
    return float(stats.nct.sf(stats.t.ppf(1 - LEVEL / 2, degrees), degrees, shift))


def smallest(power: Callable[[float], float], most: float = 1.0) -> float | None:
    """The smallest difference, in whole points, that is found with POWER; None where not even the largest is."""
    return next((points / 100 for points in range(1, round(100 * most) + 1) if power(points / 100) >= POWER), None)


def seeds_needed(power: Callable[[int], float]) -> int | None:
    """The fewest seeds with which a difference of USUAL is found with POWER; None for more than MOST."""
    return next((seeds for seeds in range(1, MOST + 1) if power(seeds) >= POWER), None)


def seeds_of(plan: Plan, family: str) -> int:
    """The fewest seeds of any attack of a family, variants and the seeds of sweeps alone left out; 0 where none is run."""
    trained: dict[str, set[int]] = {}
    for attack, defence, seed in plan.runs:
        if plan.family[attack] == family and attack == base(attack) and defence == base(defence):
            trained.setdefault(attack, set()).add(seed)
    return min(map(len, trained.values()), default=0)


def targets_of(plan: Plan) -> int | None:
    """The fewest targets of any targeted attack that is no variant; None where none has a setting `targets`."""
    settings = [plan.attack[name] for name in plan.attacks() if name == base(name) and plan.family[name] == "targeted"]
    return min((each["targets"] for each in settings if "targets" in each), default=None)


def measured_spread(rows: Iterable[dict[str, Any]], plan: Plan) -> float | None:
    """The standard deviation of a backdoor's success between trainings, the root mean square over rows of `results.pivot`.

    None where no row has one above 0.
    """
    found = [row["attack_success_sd"] for row in rows if plan.family[row["attack"]] == "backdoor"]
    squares = [spread**2 for spread in found if not isnan(spread)]
    return sqrt(mean(squares)) if any(squares) else None


def power(plan: Plan, spread: float | None = None) -> list[str]:
    """A sentence for each family that is run; spread: of a backdoor's success between trainings, where it was measured."""
    lines = []
    if (seeds := seeds_of(plan, "targeted")) and (targets := targets_of(plan)):
        least = smallest(lambda difference: power_of_targets(seeds * targets, difference), BASELINE)
        enough = seeds_needed(lambda count: power_of_targets(count * targets, USUAL))
        what = f"Targeted attacks: {counted(seeds, 'seed')} of {counted(targets, 'target')}"
        lines.append(f"{what} {_shown(least, f'a baseline at {BASELINE:.0%}')}; {_needed(enough)}.")
    if seeds := seeds_of(plan, "backdoor"):
        known = spread or SPREAD
        least = smallest(lambda difference: power_of_trainings(seeds, difference, known))
        enough = seeds_needed(lambda count: power_of_trainings(count, USUAL, known))
        whence = "measured here" if spread else "assumed"
        apart = f"with a standard deviation of {100 * known:.0f} points between trainings ({whence})"
        shown = _shown(least, "the baseline") if seeds > 1 else "shows nothing of the next training"
        lines.append(f"Backdoors: {counted(seeds, 'seed') if seeds > 1 else 'one seed'} {shown}; {apart}, {_needed(enough)}.")
    return lines


def _shown(least: float | None, whom: str) -> str:
    if least is None:
        return f"would not show any difference from {whom} with {POWER:.0%} power"
    return f"would show {100 * least:.0f} points below {whom} with {POWER:.0%} power"


def _needed(seeds: int | None) -> str:
    need = f"{100 * USUAL:.0f} points need"
    return f"{need} more than {MOST} seeds" if seeds is None else f"{need} {counted(seeds, 'seed')}"


def what_seeds_show(plan: Plan) -> str:
    """What the seeds of a plan can and cannot show: the first paragraph of the report."""
    targeted, backdoor = (seeds_of(plan, family) for family in ("targeted", "backdoor"))
    fewest = min(filter(None, (targeted, backdoor)), default=0)
    if not fewest:
        return "No attack is run, so nothing is claimed of any defence."
    if fewest == 1:
        start = "One seed: the numbers below are directions, not sizes, for another training may end elsewhere."
    else:
        start = f"{fewest} seeds: the sizes of the numbers below are as sure as their intervals are short."
    parts = [start]
    if targeted and (targets := targets_of(plan)):
        n = counted(targeted * targets, "target")
        also = "; they say nothing of how trainings differ" if targeted == 1 else ""
        parts.append(f"Differences of targeted attacks are tested on {n}{also}.")
    if backdoor == 1:
        parts.append("Of backdoors no difference is claimed: all images of an evaluation set share the one training.")
    elif backdoor:
        parts.append(f"Differences of backdoors are tested on {backdoor} trainings each, whatever the number of images.")
    return " ".join([*parts, _against_controls(plan)])


def _against_controls(plan: Plan) -> str:
    """Whether it can be said that a defence does more than weaker training."""
    run = [name for name in plan.controls if name in plan.defences()]
    if not run:
        return "No control is run, so that a defence does more than weaker training cannot be shown."
    return f"That a defence defends is said only where it does more than {' and '.join(run)} at no lower accuracy."
