"""The results of an experiment: what each attack achieved against each method, and how methods differ on the same images.

Rows of measures come in as dictionaries (attack, method, seed, checkpoint, exam, measure, hits, n). Shares are 0 to 1, and
what was not counted is empty.
"""

from collections.abc import Iterable, Mapping, Sequence
from statistics import mean, stdev
from typing import TypeVar

from roclip.core.errors import UserError
from roclip.experiment.plan import base
from roclip.reporting.intervals import clopper_pearson, paired_difference

SUCCESS = "attack_success_top1"
RESULTS = (
    "attack", "method", "checkpoint", "seeds",
    "success", "success_n", "success_low", "success_high", "control", "control_n", "control_low", "control_high",
    "zero_shot", "zero_shot_sd", "linear_probe", "linear_probe_sd",
)  # fmt: skip
DIFFERENCES = (
    "attack", "checkpoint", "baseline", "method", "n", "baseline_success", "success", "difference", "low", "high",
)  # fmt: skip
Value = TypeVar("Value")


def families(kinds: Sequence[str]) -> dict[str, str]:
    """The family of each attack of `NAME=KIND`: targeted, clean, or backdoor.

    Two attacks of one family can share target images, or trigger and target class, so one is no control for the other.
    """
    named = (kind.partition("=") for kind in kinds)
    return {name: kind if kind in ("clean", "targeted") else "backdoor" for name, _, kind in named}


def at(checkpoints: Mapping[str, Value], checkpoint: str) -> Value:
    """What a method has at a checkpoint; at the one it has, where training had only CLIP or only matching epochs."""
    return checkpoints[checkpoint] if checkpoint in checkpoints else next(iter(checkpoints.values()))


def results(rows: Sequence[dict], family: Mapping[str, str]) -> list[dict]:
    """One row for each attack, method and checkpoint, in the order of the rows.

    success: the attack's own exam, its images pooled over seeds; control: the same exam sat by models of the same method and
    checkpoint that were trained on no attack or on one of another family, see `control_of`; accuracies: on the experiment's
    own test images, means and sample standard deviations over seeds.
    """
    found = []
    for attack, method, checkpoint in dict.fromkeys((r["attack"], r["method"], r["checkpoint"]) for r in rows):
        judged = [r for r in rows if r["method"] == method and r["checkpoint"] == checkpoint]
        own = [r for r in judged if r["attack"] == attack]
        exam = [r for r in judged if r["exam"] == attack and r["measure"] == SUCCESS]
        found.append(
            {"attack": attack, "method": method, "checkpoint": checkpoint, "seeds": len({r["seed"] for r in own})}
            | _share("success", [r for r in exam if r["attack"] == attack])
            | _share("control", control_of(attack, exam, family))
            | spread("zero_shot", shares(own, "zero_shot_top1"))
            | spread("linear_probe", shares(own, "linear_probe"))
        )
    return found


def control_of(attack: str, exam: Iterable[dict], family: Mapping[str, str]) -> list[dict]:
    """Of the rows of an attack's exam the control: one for each seed, so that every image counts once for a seed.

    That of the model without an attack; where there is none, of the first attack of another family that is no variant.
    """
    chosen: dict[str, dict] = {}
    for r in exam:
        if family[r["attack"]] == family[attack] or r["attack"] != base(r["attack"]):
            continue
        if r["seed"] not in chosen or (family[r["attack"]] == "clean" != family[chosen[r["seed"]]["attack"]]):
            chosen[r["seed"]] = r
    return list(chosen.values())


def _share(name: str, rows: Sequence[dict]) -> dict:
    """Pooled share, n and Clopper-Pearson interval as cells."""
    hits, n = sum(r["hits"] for r in rows), sum(r["n"] for r in rows)
    if n == 0:
        return dict.fromkeys((name, f"{name}_n", f"{name}_low", f"{name}_high"), "")
    low, high = clopper_pearson(hits, n)
    return {name: f"{hits / n:.6f}", f"{name}_n": n, f"{name}_low": f"{low:.6f}", f"{name}_high": f"{high:.6f}"}


def shares(rows: Iterable[dict], measure: str) -> list[float]:
    """A measure on the experiment's own test images, one a row."""
    return [r["hits"] / r["n"] for r in rows if r["exam"] == "test" and r["measure"] == measure]


def spread(name: str, shares: Sequence[float]) -> dict:
    """Mean and standard deviation over seeds, one share a seed, as cells."""
    return {
        name: f"{mean(shares):.6f}" if shares else "",
        f"{name}_sd": f"{stdev(shares):.6f}" if len(shares) > 1 else "",
    }


def differences(rows: Iterable[dict], baseline: str) -> list[dict]:
    """Attack success of the baseline minus that of every other method, on the same exam images of the same seeds.

    Each checkpoint of a method is compared with the baseline's, or with the one that the baseline has. Raises UserError when
    outcomes are missing or two methods were judged on different numbers of images.
    """
    outcomes: dict[tuple[str, str], dict[str, dict[str, str]]] = {}  # (attack, method), checkpoint, seed
    for r in rows:
        if r["exam"] == r["attack"] and r["measure"] == SUCCESS:
            if len(r.get("outcomes", "")) != r["n"]:
                model = f"{r['attack']}/{r['method']}/seed{r['seed']}"
                raise UserError(f"{model}: no outcome for each of {r['n']} exam images; run its attack_success stage again")
            outcomes.setdefault((r["attack"], r["method"]), {}).setdefault(r["checkpoint"], {})[r["seed"]] = r["outcomes"]
    found = []
    for (attack, method), checkpoints in outcomes.items():
        if method == baseline or (attack, baseline) not in outcomes:
            continue
        for checkpoint, seconds in checkpoints.items():
            firsts = at(outcomes[attack, baseline], checkpoint)
            pairs: list[tuple[str, str]] = []
            for seed in firsts.keys() & seconds.keys():
                first, second = firsts[seed], seconds[seed]
                if len(first) != len(second):
                    sizes = f"{baseline} was judged on {len(first)} exam images and {method} on {len(second)}"
                    raise UserError(f"attack {attack}, seed {seed}: {sizes}")
                pairs += zip(first, second, strict=True)
            if pairs:
                row = {"attack": attack, "checkpoint": checkpoint, "baseline": baseline, "method": method, "n": len(pairs)}
                found.append(row | _difference(pairs))
    return found


def _difference(pairs: Sequence[tuple[str, str]]) -> dict:
    """Both shares, their difference and its interval as cells; a pair is the two outcomes of an image, `1` for a hit."""
    both, first, second, neither = (pairs.count(pair) for pair in (("1", "1"), ("1", "0"), ("0", "1"), ("0", "0")))
    low, high = paired_difference(both, first, second, neither)
    shares = {
        "baseline_success": (both + first) / len(pairs),
        "success": (both + second) / len(pairs),
        "difference": (first - second) / len(pairs),
        "low": low,
        "high": high,
    }
    return {name: f"{share:.6f}" for name, share in shares.items()}


def percent(row: Mapping, name: str) -> str:
    """A share of a row in percent with its interval, `93.8 [69.8, 99.8]`; nothing when it was not counted."""
    if row[name] == "":
        return ""
    share, low, high = (f"{100 * float(row[key]):.1f}" for key in (name, f"{name}_low", f"{name}_high"))
    return f"{share} [{low}, {high}]"


def accuracy(row: Mapping, name: str) -> str:
    """A mean accuracy of a row in percent, `94.6 ± 0.3` if there is a standard deviation; nothing when it was not counted."""
    return " ± ".join(f"{100 * float(row[key]):.1f}" for key in (name, f"{name}_sd") if row[key] != "")
