"""Parts of sentences about rows of `results.pivot` and differences.csv: shares, means, p values, of how much they are."""

from collections.abc import Mapping
from typing import Any

from roclip.core.words import checkpoint_label, counted
from roclip.reporting.results import in_percent, is_known

Row = Mapping[str, Any]
LEVEL = 0.05
Models = Mapping[tuple[str, str], Mapping[str, Row]]  # rows of `pivot` by (attack, defence) and checkpoint


def attack_success(attack: str) -> str:
    """`targeted attack success (ASR)`; of a variant that a sweep makes `... at captions_per_target 20`."""
    name, *changes = attack.split("~")
    setting = ", ".join(f"{key} {value}" for key, value in zip(changes[::2], changes[1::2], strict=False))
    return f"{name.replace('_', '-')} attack success (ASR){f' at {setting}' if setting else ''}"


def tested(difference: Row | None) -> bool:
    """Whether a row of differences.csv has a p value of its family: of one training of a backdoor there is none."""
    return difference is not None and difference["p_corrected"] != ""


def change(difference: Row) -> int:
    """-1 where the second of a tested row is lower at the 5% level, Holm's correction made, 1 where higher, else 0."""
    if float(difference["p_corrected"]) >= LEVEL:
        return 0
    return -1 if float(difference["difference"]) > 0 else 1


def p_value(value: float) -> str:
    """`p = 0.021`."""
    return f"p = {value:.2g}" if value >= 1e-4 else "p < 0.0001"


def corrected(value: float, comparisons: int, what: str = "comparison") -> str:
    """A p value with its correction in words."""
    return f"{p_value(value)}, Holm-corrected over {counted(comparisons, what)}"


def evidence(difference: Row) -> str:
    """The p value of a tested row."""
    return corrected(float(difference["p_corrected"]), int(difference["comparisons"]))


def both_judged(first: Row, second: Row) -> bool:
    """Whether attack success is known of both."""
    return is_known(first, "attack_success") and is_known(second, "attack_success")


def shown(row: Row, name: str = "attack_success") -> str:
    """A share as `93.8% [69.8, 99.8]`, or `93.8% (1 training)` where one training has no interval."""
    return in_percent(row, name, "%")


def points(share: float, sign: str = "") -> str:
    """A difference of shares in percentage points, never `-0.0`."""
    return f"{round(100 * share, 1) + 0.0:{sign}.1f}"


def trials(first: Row, second: Row, second_name: str = "attack_success") -> str:
    """How many images two shares are of, and of how many trainings each: what images cannot show is how trainings differ."""
    counts = [(row[f"{name}_n"], row[f"{name}_seeds"]) for row, name in ((first, "attack_success"), (second, second_name))]
    n, trained = (" and ".join(dict.fromkeys(f"{count:.0f}" for count in column)) for column in zip(*counts, strict=True))
    return f"n = {n}, {trained} {'seed' if trained == '1' else 'seeds'}"


def over_shared(row: Row, difference: Row | None, end: str, name: str = "attack_success") -> str:
    """A share as `shown`; where the other one of a difference has fewer seeds, that on the seeds that both have.

    end: the column of differences.csv that has it then.
    """
    fewer = difference is not None and int(difference["seeds"]) < row[f"{name}_seeds"]
    return f"{points(float(difference[end]))}%" if fewer else shown(row, name)


def trials_of(difference: Row | None, first: Row, second: Row, second_name: str = "attack_success") -> str:
    """As `trials`, of the seeds that both have."""
    fewest = min(first["attack_success_seeds"], second[f"{second_name}_seeds"])
    most = max(first["attack_success_seeds"], second[f"{second_name}_seeds"])
    if difference is None or int(difference["seeds"]) == fewest == most:
        return trials(first, second, second_name)
    return f"n = {difference['n']}, {counted(int(difference['seeds']), 'seed')} that both have"


def moments(first: Row, second: Row) -> tuple[str, str]:
    """When both were measured: said once, after the second, where it is the same."""
    earlier, later = (f" {moment(row)}" for row in (first, second))
    return ("" if earlier == later else earlier), later


def moment(row: Row) -> str:
    """`at the last CLIP epoch`."""
    return f"at the {checkpoint_label(row['checkpoint'])}"


def mean(row: Row, name: str) -> str:
    """A mean accuracy as `94.6%`, or `94.6% (sd 0.3)`."""
    spread = f" (sd {100 * row[f'{name}_sd']:.1f})" if is_known(row, f"{name}_sd") else ""
    return f"{100 * row[name]:.1f}%{spread}"


def seeds(first: Row, second: Row) -> str:
    """Over how many seeds the means are; what one seed cannot show is said."""
    fewest = min(first["seeds"], second["seeds"])
    return f"{counted(fewest, 'seed')}{', so no significance is claimed' if fewest == 1 else '; no significance is claimed'}"
