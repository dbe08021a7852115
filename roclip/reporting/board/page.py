"""What the page of the leaderboard shows: from checked rows to matrices, cells and details. The template escapes every text."""

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from math import isnan
from pathlib import Path
from typing import Any

from markupsafe import Markup

from roclip.core.errors import one_line
from roclip.core.words import checkpoint_label, counted
from roclip.experiment.plan import base
from roclip.reporting.board.curves import curves
from roclip.reporting.labels import defence_label
from roclip.reporting.learned import NOT_LEARNED
from roclip.reporting.published import ASR_DEFINITIONS, BENCH
from roclip.reporting.report import render
from roclip.reporting.results import six_digits

TEMPLATE = Path(__file__).parents[3] / "workflow/report/leaderboard.html"
SCRIPT = TEMPLATE.with_suffix(".js")
BINS = (0.05, 0.25, 0.5, 0.75)  # attack success from which on a cell has the next colour
VIEWS = {
    "success": "attack success after training",
    "equal": "attack success at equal accuracy",
    "accuracy": "clean accuracy",
    "cost": "cost in CLIP epochs",
}
Row = Mapping[str, Any]
Cell = dict[str, Any]


def attack_label(name: str) -> str:
    """An attack in a heading; of a variant with what it changes: `targeted, captions_per_target 20`."""
    first, *changes = name.split("~")
    return ", ".join([first, *(" ".join(changes[i : i + 2]) for i in range(0, len(changes), 2))])


def percent(value: float) -> str:
    return "" if isnan(value) else f"{100 * value:.1f}"


def interval(row: Row, name: str) -> str:
    """`[0.0, 11.1]`; nothing where there is none."""
    low, high = (row[f"{name}{end}"] for end in ("_low", "_high"))
    return "" if isnan(low) else f"[{percent(low)}, {percent(high)}]"


def with_interval(row: Row, name: str) -> str:
    """`2.1% [0.0, 11.1]`; nothing where the number is not known."""
    return " ".join(filter(None, (f"{percent(row[name])}%", interval(row, name)))) if not isnan(row[name]) else ""


def colour(value: float) -> int | None:
    """The number of the colour of an attack success, 0 to 4; None where there is no number."""
    return None if isnan(value) else sum(value >= edge for edge in BINS)


def views(row: Row) -> dict[str, Cell]:
    """What a cell shows in each view: a number, what stands small below it, the value to sort by, the colour."""
    accuracy = f"accuracy {percent(row['zero_shot'])}" if not isnan(row["zero_shot"]) else ""
    unknown = "–" if row["learned"] else NOT_LEARNED
    reached = f"at accuracy {percent(row['equal_accuracy'])}"
    cells = {
        "success": (row["attack_success"], percent(row["attack_success"]), (interval(row, "attack_success"), accuracy)),
        "equal": (row["equal_success"], percent(row["equal_success"]), (interval(row, "equal_success"), reached)),
        "accuracy": (row["zero_shot"], percent(row["zero_shot"]), (interval(row, "zero_shot"),)),
        "cost": (row["cost"], "" if isnan(row["cost"]) else f"{row['cost']:.1f}", (row["cost_from"],)),
    }
    return {
        view: {
            "number": number or (unknown if view in ("success", "equal") else "–"),
            "small": [text for text in small if text] if number else [accuracy] * bool(accuracy and view == "success"),
            "value": six_digits(value),
            "colour": colour(value) if view in ("success", "equal") else None,
        }
        for view, (value, number, small) in cells.items()
    }


def details(row: Row) -> list[tuple[str, str]]:
    """The facts of an entry in words, those that are known."""
    rate = f", {100 * row['poisons'] / row['pairs']:.2g}% of the clean ones" if row["pairs"] and row["poisons"] else ""
    images = {"targeted": "target", "backdoor": "image"}.get(row["family"], "image")
    judged = f" of {counted(row['judged'], images)}" if row["judged"] else ""
    equal = f" when validation accuracy first was {percent(row['equal_accuracy'])}%, which all that learned reached"
    facts = {
        "Attack success": with_interval(row, "attack_success") + judged if not isnan(row["attack_success"]) else "",
        "Control": with_interval(row, "control"),
        "Clean accuracy": with_interval(row, "zero_shot"),
        "At equal accuracy": with_interval(row, "equal_success") + equal if not isnan(row["equal_success"]) else "",
        "Cost": f"{row['cost']:.1f} CLIP epochs, {row['cost_from']}" if not isnan(row["cost"]) else "",
        "Poisoned pairs": f"{row['poisons']:,}{rate}" if row["poisons"] else "",
        "Model": f"{row['model']}, {checkpoint_label(row['checkpoint'])}, {counted(row['seeds'], 'seed')}",
        "Data set": row["dataset"],
        "Computed by": row["computed_by"],
        "Experiment": row["experiment"],
        "Config": row["config"],
        "Commit": row["commit"],
    }
    if not row["learned"]:
        facts["Attack success"] = f"{NOT_LEARNED}: clean accuracy is hardly above chance, so this is no defence"
    return [(name, text) for name, text in facts.items() if text]


def published_beside(row: Row, reference: Iterable[Row]) -> list[list[str]]:
    """Published attack success of the same defence against the same attack, which goes by its name or its kind."""
    attacks = {base(row["attack"]), row["kind"]}
    found = [
        r for r in reference if r["measure"] == "attack_success" and r["defence"] == row["defence"] and r["attack"] in attacks
    ]
    return [published(r) for r in found]


def published(row: Row) -> list[str]:
    texts = (f"{float(row['value']):g}%", row["dataset"], row["source"], row["note"], row["asr_definition"])
    return [one_line(text) for text in texts]


def entries(rows: Sequence[Row], reference: Sequence[Row]) -> list[Cell]:
    """Of every row what its cell and its details show; a picture stands with every entry of its attack."""
    images = {(row["experiment"], row["dataset"], row["attack"]): row["pictures"] for row in rows if row["pictures"]}
    return [
        {
            "id": f"entry-{number}",
            "row": row,
            "attack": attack_label(row["attack"]),
            "defence": defence_label(row["defence"]),
            "views": views(row),
            "details": details(row),
            "curves": curves(row["curve"]),
            "pictures": images.get((row["experiment"], row["dataset"], row["attack"]), []),
            "published": (beside := published_beside(row, reference)),
            "sources": list(dict.fromkeys(definition for *_, definition in beside)),
        }
        for number, row in enumerate(rows, 1)
    ]


def boards(shown: Sequence[Cell]) -> list[Cell]:
    """A matrix for each data set: a line for each defence, in it the entries against each attack and the worst of each view."""
    found = []
    for dataset in dict.fromkeys(entry["row"]["dataset"] for entry in shown):
        mine = [entry for entry in shown if entry["row"]["dataset"] == dataset]
        attacks, names = grouped(mine, "attack", "defence"), grouped(mine, "defence", "attack")
        lines = [line(name, its, attacks) for name, its in names.items()]
        headings = [{"label": its[0]["attack"], "family": its[0]["row"]["family"]} for its in attacks.values()]
        found.append({"dataset": dataset, "attacks": headings, "lines": lines})
    return found


def grouped(shown: Iterable[Cell], name: str, other: str) -> dict[str, list[Cell]]:
    """The entries by attack or defence; first come those that were tried with most of the other."""
    found: dict[str, list[Cell]] = {}
    for entry in shown:
        found.setdefault(entry["row"][name], []).append(entry)
    return dict(sorted(found.items(), key=lambda item: -len({entry["row"][other] for entry in item[1]})))


def line(defence: str, mine: Sequence[Cell], attacks: Iterable[str]) -> Cell:
    cells = [[entry for entry in mine if entry["row"]["attack"] == attack] for attack in attacks]
    return {"label": defence_label(defence), "cells": cells, "worst": {view: worst(mine, view) for view in VIEWS}}


def worst(mine: Sequence[Cell], view: str) -> Cell:
    """The worst cell of a line: the lowest accuracy, the highest of all else."""
    chosen = min if view == "accuracy" else max
    known = [entry["views"][view] for entry in mine if entry["views"][view]["value"]]
    cell = chosen(known or [entry["views"][view] for entry in mine], key=lambda cell: float(cell["value"] or 0))
    return {name: cell[name] for name in ("number", "value", "colour")}


def experiments(rows: Iterable[Row]) -> list[list[str]]:
    """Name, data set, who computed it, config, commits and number of cells of every experiment."""
    found: dict[tuple[str, str, str, str], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[name] for name in ("experiment", "dataset", "computed_by", "config")), []).append(row)
    return [
        [*key, " ".join(dict.fromkeys(word for row in mine for word in row["commit"].split())), str(len(mine))]
        for key, mine in found.items()
    ]


def page(rows: Sequence[Row], reference: Sequence[Row], folder: Path) -> str:
    """The page of all rows of the folder; reference: published numbers."""
    shown, script = entries(rows, reference), SCRIPT.read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    success = [row for row in reference if row["measure"] == "attack_success"]
    edges = [f"{100 * edge:g}" for edge in (0, *BINS, 1)]
    return render(
        TEMPLATE,
        {
            "boards": boards(shown),
            "entries": shown,
            "experiments": experiments(rows),
            "published": [
                [one_line(attack_label(row["attack"])), one_line(defence_label(row["defence"])), *published(row)]
                for row in success
            ],
            "definitions": ASR_DEFINITIONS,
            "bench": BENCH,
            "families": [name for name in ("targeted", "backdoor", "clean") if any(row["family"] == name for row in rows)],
            "views": VIEWS,
            "colours": [f"{low} to {high}%" for low, high in pairwise(edges)],
            "folder": one_line(str(folder)),
            "script": Markup(script),
            "digest": digest,
        },
    )
