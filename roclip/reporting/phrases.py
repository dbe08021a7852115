"""Parts of sentences about rows of `results.pivot`: shares with their intervals, means, and of how much they are."""

from collections.abc import Mapping
from typing import Any

from roclip.core.words import checkpoint_label, counted
from roclip.reporting.results import is_known

Row = Mapping[str, Any]
Models = Mapping[tuple[str, str], Mapping[str, Row]]  # rows of `pivot` by (attack, defence) and checkpoint


def attack_success(attack: str) -> str:
    """`targeted attack success (ASR)`."""
    return f"{attack.replace('_', '-')} attack success (ASR)"


def change(first: Row, second: Row, first_name: str = "attack_success", second_name: str = "attack_success") -> int:
    """-1 where the second share's interval lies below the first's, 1 where above, 0 where they overlap or touch."""
    if second[f"{second_name}_high"] < first[f"{first_name}_low"]:
        return -1
    return int(second[f"{second_name}_low"] > first[f"{first_name}_high"])


def both_judged(first: Row, second: Row) -> bool:
    """Whether attack success is known of both."""
    return is_known(first, "attack_success") and is_known(second, "attack_success")


def shown(row: Row, name: str = "attack_success") -> str:
    """A share as `93.8% [69.8, 99.8]`."""
    share, low, high = (f"{100 * row[key]:.1f}" for key in (name, f"{name}_low", f"{name}_high"))
    return f"{share}% [{low}, {high}]"


def points(share: float, sign: str = "") -> str:
    """A difference of shares in percentage points, never `-0.0`."""
    return f"{round(100 * share, 1) + 0.0:{sign}.1f}"


def trials(first: Row, second: Row, second_name: str = "attack_success") -> str:
    """How many images two shares are of, and of how many trainings: what images cannot show is how trainings differ."""
    n = " and ".join(dict.fromkeys((f"{first['attack_success_n']:.0f}", f"{second[f'{second_name}_n']:.0f}")))
    return f"n = {n}, {counted(min(first['seeds'], second['seeds']), 'seed')}"


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
