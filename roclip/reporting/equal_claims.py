"""Attack success at equal accuracy in sentences and in the report's table, from the tables that the stage gather wrote.

Both are about defences that are no variants, under all attacks, and about the weights after each kind of epoch, for each can
be deployed: a defence's main curve, whose rows come first, and others, such as that of matching epochs. Each is set beside the
main curve of every recipe that shows what it adds: the baseline, the controls, and those whose filter reads which pairs are
poisoned. These have no sentences of their own. All comparisons of an experiment are a family with Holm's correction.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isnan, nan

from roclip.core.words import counted
from roclip.experiment.plan import Plan, base
from roclip.reporting.best_control import yardsticks
from roclip.reporting.labels import defence_label
from roclip.reporting.phrases import LEVEL, attack_success, corrected, points
from roclip.reporting.significance import holm

ABOUT = "equal_accuracy"  # in claims.json
HEADINGS = (
    "attack", "defence", "accuracy that all reach", "success there", "accuracy at the end", "success at the end",
)  # fmt: skip
Row = Mapping[str, str]


def equal_claims(equal: Sequence[Row], differences: Iterable[Row], plan: Plan) -> list[dict[str, str]]:
    """The sentences; equal and differences: rows of equal_accuracy.csv and equal_differences.csv."""
    common, own = over_seeds(equal, "common"), over_seeds(equal, "own")
    pairs: dict[tuple[str, str, str], dict[str, Row]] = {}
    for row in differences:
        if row["at"] == "common" and is_plain(row):
            pairs.setdefault((row["attack"], row["defence"], row["kind"]), {})[row["other"]] = row
    measures = yardsticks(plan)
    beside = {
        recipe: [others[name] for name in measures if name in others and int(others[name]["reached"])]
        for recipe, others in pairs.items()
        if recipe[1] not in measures
    }
    values = holm([float(pair["p"] or nan) if is_whole(pair) else nan for its in beside.values() for pair in its])
    m, left, texts = sum(not isnan(p) for p in values), iter(values), []
    for (attack, defence, kind), its in beside.items():
        texts += [compared(pair, common, next(left), m) for pair in its]
        if kind == main_kind(common, attack, defence):
            texts += at_its_own(attack, defence, [row for row in own if (row["attack"], row["of"]) == (attack, defence)])
    return [{"about": ABOUT, "text": text} for text in texts]


def is_plain(row: Row) -> bool:
    return row["defence"] == base(row["defence"])


def over_seeds(rows: Iterable[Row], at: str) -> list[Row]:
    """Rows over all seeds; of a defence those of its main curve come first."""
    return [row for row in rows if (row["seed"], row["at"]) == ("all", at) and is_plain(row)]


def main_kind(rows: Iterable[Row], attack: str, defence: str) -> str:
    """The kind of epoch of a defence's main curve."""
    return next((row["kind"] for row in rows if (row["attack"], row["defence"]) == (attack, defence)), "")


def after(row: Row, rows: Iterable[Row]) -> str:
    """` after matching epochs`, nothing of a defence's main curve; rows: as `over_seeds` gives them."""
    return "" if row["kind"] == main_kind(rows, row["attack"], row["defence"]) else f" after {row['kind']} epochs"


def is_whole(pair: Row) -> bool:
    """Whether all pairs of trainings were measured at the accuracy."""
    return int(pair["reached"]) == int(pair["seeds"])


def compared(pair: Row, common: Sequence[Row], p: float, m: int) -> str:
    """Two defences at the accuracy that all reach; p: with Holm's correction over m comparisons."""
    its = [row for row in common if row["attack"] == pair["attack"]]
    mine = next(row for row in its if (row["defence"], row["kind"]) == (pair["defence"], pair["kind"]))
    other = next(row for row in its if row["defence"] == pair["other"])
    name, second = defence_label(pair["defence"]) + after(mine, its), defence_label(pair["other"])
    return (
        f"At the zero-shot accuracy that all defences which learned reach, {mean_over(pair)}, "
        f"{attack_success(pair['attack'])} is {sized(mine)} with {name} and {sized(other)} with {second}; "
        f"difference {points(float(pair['difference']))} points{interval(pair)}{over_pairs(pair, mine, other)}: "
        f"{verdict(pair, name, p, m)}."
    )


def over_pairs(pair: Row, *ends: Row) -> str:
    """` on 2 seeds that both have`, where one has more."""
    most = max(int(row["reached"]) for row in ends)
    return f" on {counted(int(pair['reached']), 'seed')} that both have" if int(pair["reached"]) < most else ""


def mean_over(pair: Row) -> str:
    """`38.7%`; the accuracy is chosen seed by seed, so of several seeds it is a mean."""
    return f"{percent(pair, 'accuracy')}%{' on average over seeds' if int(pair['reached']) > 1 else ''}"


def verdict(pair: Row, name: str, p: float, m: int) -> str:
    """What the paired difference shows; nothing where not all pairs have one, or there is one pair."""
    if not is_whole(pair):
        whole = counted(int(pair["seeds"]), "pair")
        return f"{pair['reached']} of {whole} of trainings were measured there, so nothing is concluded"
    if isnan(p):
        return "one training shows no difference"
    evidence = f"{counted(int(pair['seeds']), 'seed')}, paired; {corrected(p, m)}"
    if p < LEVEL:
        return f"{name} is {'lower' if float(pair['difference']) < 0 else 'higher'} ({evidence})"
    return f"it is not shown that {name} is lower ({evidence})"


def at_its_own(attack: str, defence: str, rows: Sequence[Row]) -> Iterator[str]:
    """What all had when they first had the accuracy that a defence has at its end."""
    mine = [row for row in rows if row["defence"] == defence]
    if not mine or mine[0]["state"]:
        return
    ordered = (*mine, *(row for row in rows if row["defence"] != defence))
    parts = [f"{sized(row)} with {defence_label(row['defence'])}{after(row, rows)}" for row in ordered]
    yield (
        f"When training first had the accuracy that {defence_label(defence)} has at its end, "
        f"{percent(mine[0], 'accuracy')}%, {attack_success(attack)} was {', '.join(parts)}."
    )


def sized(row: Row) -> str:
    """Success as `4.2% [0.0, 13.1]`, and in how many trainings; or why there is none."""
    few = f" ({row['reached']} of {counted(int(row['seeds']), 'seed')})" if int(row["reached"]) < int(row["seeds"]) else ""
    return row["state"] or f"{percent(row, 'success')}%{interval(row)}{few}"


def percent(row: Row, name: str) -> str:
    """A share in percent."""
    return points(float(row[name] or nan))


def interval(row: Row) -> str:
    """` [0.0, 13.1]`; nothing of one training."""
    return f" [{percent(row, 'low')}, {percent(row, 'high')}]" if row["low"] else ""


def equal_table(equal: Sequence[Row]) -> list[list[str]]:
    """Cells under HEADINGS, a row for each attack, defence and kind of epoch."""
    common, end = (
        {(r["attack"], r["defence"] + after(r, rows)): r for r in rows}
        for rows in (over_seeds(equal, at) for at in ("common", "end"))
    )
    rows = []
    for model in dict.fromkeys((*common, *end)):
        there, last = (
            [f"{percent(of[model], 'accuracy')}%", sized(of[model])] if model in of else ["–"] * 2 for of in (common, end)
        )
        rows.append([*model, *there, *last])
    return rows
