"""How defences differ in attack success (ASR), and whether that is more than chance: the rows of differences.csv.

Targets of a targeted attack are one draw each: McNemar's exact test on the same targets of the same seeds, because its level
holds at any number of targets, and Newcombe's interval for the size. Ends of a sweep with other attacks may have other targets:
Fisher's test. Of a backdoor the training is the unit: Welch's test on the logits of the trainings' rates. All comparisons under
one `about` are a family, within which Holm's correction is made; the plan fixes it, before anything is known of the results.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from math import isnan, nan

from roclip.core.errors import UserError
from roclip.evaluation import SUCCESS, attack_set
from roclip.experiment.plan import Plan, base
from roclip.reporting import trainings
from roclip.reporting.intervals import paired_difference
from roclip.reporting.planned import series
from roclip.reporting.results import TARGETED, Row, at, control_of, six_digits
from roclip.reporting.significance import fisher, holm, mcnemar
from roclip.reporting.trainings import Count

Seeds = Mapping[str, Row]  # by seed the row of a measure
Judged = dict[tuple[str, str], dict[str, dict[str, Row]]]  # (attack, defence), checkpoint, seed
SHARES = ("baseline_success", "success", "difference", "low", "high")


def differences(rows: Sequence[Row], plan: Plan) -> list[Row]:
    """Every defence beside each that is no variant, and beside its control, and the ends of sweeps; with corrected p values.

    rows: of the measures, with outcomes. Raises UserError when outcomes are missing or two were judged on different numbers of
    images.
    """
    on_sets = [r for r in rows if r["measure"] in SUCCESS and r["evaluation_set"].startswith(attack_set(""))]
    judged: Judged = {}
    for r in on_sets:
        if r["evaluation_set"] == attack_set(r["attack"]):
            judged.setdefault((r["attack"], r["defence"]), {}).setdefault(r["checkpoint"], {})[r["seed"]] = r
    found = [*_between(judged, plan), *_controls(judged, on_sets, plan), *_sweeps(judged, plan)]
    return written(corrected(found))


def _between(judged: Judged, plan: Plan) -> Iterator[Row]:
    """Each checkpoint of a defence with that of every other that is no variant, or with the one that it has."""
    firsts = list(dict.fromkeys(defence for _, defence in judged if defence == base(defence)))
    for first in firsts:
        for (attack, defence), checkpoints in judged.items():
            if defence != first and (attack, first) in judged:
                names = {
                    "about": _about(attack, first, defence, firsts, judged, plan),
                    "baseline_attack": attack,
                    "attack": attack,
                }
                for checkpoint, seconds in checkpoints.items():
                    pair = names | {"checkpoint": checkpoint, "baseline": first, "defence": defence}
                    yield from same_images(pair, at(judged[attack, first], checkpoint), seconds, plan)


def _about(attack: str, first: str, second: str, order: Sequence[str], judged: Judged, plan: Plan) -> str:
    """Of variants nothing is claimed but in sweeps, and of two defences in one of the two directions: with all checkpoints of
    the one that has more, so that their order in the config changes no p value.
    """
    if attack != base(attack) or second != base(second) or second == plan.baseline:
        return ""
    if first == plan.baseline:
        return "defence"
    sides = [(len(judged[attack, defence]), order.index(defence)) for defence in (first, second)]
    return "others" if plan.baseline in plan.defences() and sides[0] < sides[1] else ""


def _controls(judged: Judged, on_sets: Sequence[Row], plan: Plan) -> Iterator[Row]:
    """Each checkpoint of a defence with its control, on every attack; no variants."""
    for (attack, defence), checkpoints in judged.items():
        if attack != base(attack) or defence != base(defence):
            continue
        for checkpoint, seconds in checkpoints.items():
            like = [r for r in on_sets if (r["defence"], r["checkpoint"]) == (defence, checkpoint)]
            on_set = [r for r in like if r["evaluation_set"] == attack_set(attack)]
            firsts = {r["seed"]: r for r in control_of(attack, on_set, plan.family)}
            names = {"about": "controls", "baseline_attack": "", "attack": attack, "checkpoint": checkpoint}
            yield from same_images(names | {"baseline": "", "defence": defence}, firsts, seconds, plan)


def _sweeps(judged: Judged, plan: Plan) -> Iterator[Row]:
    """The last point of every series of a sweep with its first."""
    for name, points in plan.sweeps.items():
        for first, last in series(points):
            firsts, lasts = (judged.get((point.attack, point.defence), {}) for point in (first, last))
            names = {"about": f"sweep {name}", "baseline_attack": first.attack, "attack": last.attack}
            for checkpoint, seconds in lasts.items() if firsts else ():
                pair = names | {"checkpoint": checkpoint, "baseline": first.defence, "defence": last.defence}
                compared = same_images if first.attack == last.attack else other_images
                yield from compared(pair, at(firsts, checkpoint), seconds, plan)


def same_images(names: Row, firsts: Seeds, seconds: Seeds, plan: Plan) -> Iterator[Row]:
    """The row of two that were judged on the same images of the same seeds; none where they share no seed."""
    shared = [seed for seed in firsts if seed in seconds]
    pairs = [(firsts[seed], seconds[seed]) for seed in shared]
    for first, second in pairs:
        check(names, first, second)
    if pairs:
        compare = paired_targets if plan.family[names["attack"]] == TARGETED else unpaired_trainings
        n = sum(second["n"] for _, second in pairs)
        yield {**names, "n": n, "seeds": len(shared), **compare(*zip(*pairs, strict=True))}


def other_images(names: Row, firsts: Seeds, seconds: Seeds, plan: Plan) -> Iterator[Row]:
    """The row of two ends of a sweep that were judged on images of their own."""
    one, two = list(firsts.values()), list(seconds.values())
    compare = pooled_targets if plan.family[names["attack"]] == TARGETED else unpaired_trainings
    yield {**names, "n": sum(r["n"] for r in two), "seeds": min(len(one), len(two)), **compare(one, two)}


def check(names: Row, first: Row, second: Row) -> None:
    """Raises UserError when outcomes are missing or the numbers of images differ."""
    for r in (first, second):
        if len(r.get("outcomes", "")) != r["n"]:
            model = f"{r['attack']}/{r['defence']}/seed{r['seed']}"
            raise UserError(
                f"{model}: no outcome for each of {r['n']} images; run its measure {r['measure'].removesuffix('_top1')} again"
            )
    if first["n"] != second["n"]:
        sizes = f"{first['defence']} was judged on {first['n']} images and {second['defence']} on {second['n']}"
        raise UserError(f"attack {names['attack']}, seed {first['seed']}: {sizes}; run encode and measure of both again")


def paired_targets(firsts: Sequence[Row], seconds: Sequence[Row]) -> Row:
    """Newcombe's interval and McNemar's test; an outcome is `1` for a hit."""
    outcomes = ("".join(r["outcomes"] for r in rows) for rows in (firsts, seconds))
    pairs = list(zip(*outcomes, strict=True))
    both, first, second, neither = (pairs.count(pair) for pair in (("1", "1"), ("1", "0"), ("0", "1"), ("0", "0")))
    shares = (both + first) / len(pairs), (both + second) / len(pairs), (first - second) / len(pairs)
    ends = paired_difference(both, first, second, neither)
    return {**dict(zip(SHARES, (*shares, *ends), strict=True)), "test": "mcnemar", "p": mcnemar(first, second)}


def pooled_targets(firsts: Sequence[Row], seconds: Sequence[Row]) -> Row:
    """Fisher's test of two sets of targets; no interval is given."""
    (hits, n), (other_hits, other_n) = ((sum(r["hits"] for r in rows), sum(r["n"] for r in rows)) for rows in (firsts, seconds))
    shares = hits / n, other_hits / other_n, hits / n - other_hits / other_n, nan, nan
    return {**dict(zip(SHARES, shares, strict=True)), "test": "fisher", "p": fisher(hits, n, other_hits, other_n)}


def unpaired_trainings(firsts: Sequence[Row], seconds: Sequence[Row]) -> Row:
    """Interval of the difference of means and Welch's test on logits; neither of a single training."""
    one, two = ([Count(r["hits"], r["n"]) for r in rows] for rows in (firsts, seconds))
    shares = trainings.rate(one), trainings.rate(two), trainings.rate(one) - trainings.rate(two)
    p = trainings.welch(one, two)
    ends = trainings.difference(one, two)
    return {**dict(zip(SHARES, (*shares, *ends), strict=True)), "test": "" if isnan(p) else "welch", "p": p}


def corrected(rows: Iterable[Row]) -> list[Row]:
    """The rows with Holm's correction within each `about`, and how many were tested; not those of which nothing is claimed."""
    found = []
    for about, members in groupby(sorted(rows, key=lambda row: row["about"]), lambda row: row["about"]):
        family = list(members)
        tested = sum(not isnan(row["p"]) for row in family) if about else 0
        values = holm([row["p"] for row in family]) if about else [nan] * len(family)
        found += [row | {"comparisons": tested, "p_corrected": p} for row, p in zip(family, values, strict=True)]
    return found


def written(rows: Iterable[Row]) -> list[Row]:
    """Rows as they are written: shares with six digits, p values with four that count, empty for what there is not."""
    shares = [row | {name: six_digits(row[name]) for name in SHARES} for row in rows]
    return [row | {name: "" if isnan(row[name]) else f"{row[name]:.4g}" for name in ("p", "p_corrected")} for row in shares]
