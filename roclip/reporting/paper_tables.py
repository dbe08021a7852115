"""Stage: tables in the form of the paper's, with the published numbers in columns of their own, as Markdown, LaTeX and CSV.

Writes `attacks` (attack success), `utility` (zero-shot accuracy and linear probe), `downstream` (both on each downstream set)
where there are such sets, and `strong_attack` where sweeps vary a number of an attack, such as its poisons. A cell is empty
where only the other side has a number. The LaTeX is a fragment for a document that loads booktabs and graphicx.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from roclip.core.atomic import atomic
from roclip.core.columns import MEASURES
from roclip.core.deferred import Deferred
from roclip.core.escapes import latex, markdown
from roclip.core.files import read_table, write_rows
from roclip.core.options import Stage, option
from roclip.core.words import checkpoint_label, counted
from roclip.experiment.plan import Plan, base, read_plan
from roclip.reporting.labels import measure_label
from roclip.reporting.planned import strengths
from roclip.reporting.published import read_reference
from roclip.reporting.results import INTERVALS, MEANS, accuracy, headline, is_known, percent, pivot, plain, read_results, spread

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = Deferred("pandas")

IMAGENET = "imagenet1k"
STRONG = "_strong"  # so ends the reference's name of the strongest form of an attack, of which the options are not published
JUDGED = ("here", "judged")
NO_ATTACK = "no attack"  # no name of an attack, which has no space
Row = Mapping[str, Any]
Heading = tuple[str, str]  # a group of columns and a column
Cells = dict[Heading, str]
Lines = dict[tuple[str, ...], Cells]


@dataclass(frozen=True)
class PaperTablesOptions:
    plan: Path = option("plan.json of the experiment")
    results: Path = option("results.csv of the stage gather")
    measures: Path = option("measures.csv of the stage gather")
    reference: Path = option("CSV of published numbers")
    out: Path = option("folder of the tables", role="output")


def ours(row: Row) -> Heading:
    return "here", checkpoint_label(row["checkpoint"])


def published(row: Row) -> Heading:
    return row["source"], row["dataset"]


def number(row: Row) -> str:
    """A published number, with the counts behind it where the source gives them: `93.75 (15 of 16)`."""
    counts = f" ({row['note']})" if re.fullmatch(r"\d+ of \d+", row["note"]) else ""
    return f"{float(row['value']):g}{counts}"


def frame(names: Sequence[str], lines: Mapping[tuple[str, ...], Cells], columns: Iterable[Heading]) -> pd.DataFrame:
    """Lines of text, each under its values of `names`, as a table; a heading is named once, and a cell not given is empty."""
    headings = list(dict.fromkeys(columns))
    cells = [[*key, *(line.get(heading, "") for heading in headings)] for key, line in lines.items()]
    return pd.DataFrame(cells, columns=pd.MultiIndex.from_tuples([*(("", name) for name in names), *headings]))


def grouped(lines: Mapping[tuple[str, ...], Cells], *parts: int) -> Lines:
    """The lines with equal parts of their keys together, in the order in which each part first came."""
    first = [list(dict.fromkeys(key[part] for key in lines)) for part in parts]
    order = sorted(lines, key=lambda key: [seen.index(key[part]) for seen, part in zip(first, parts, strict=True)])
    return {key: lines[key] for key in order}


def attacks(results: Sequence[Row], reference: Iterable[Row], plan: Plan) -> pd.DataFrame:
    """Attack success, a line for each attack and defence. results: rows of `pivot`."""
    lines: Lines = defaultdict(dict)
    for row in plain(results):
        if is_known(row, "attack_success"):
            lines[row["attack"], row["defence"]] |= judged(row, plan)
    known = [row for row in reference if row["measure"] == "attack_success" and not row["attack"].endswith(STRONG)]
    for row in known:
        lines[row["attack"], row["defence"]][published(row)] = number(row)
    return frame(("attack", "defence"), grouped(lines, 0), [*map(ours, plain(results)), JUDGED, *map(published, known)])


def judged(row: Row, plan: Plan) -> Cells:
    """Attack success at a checkpoint, and how many targets or images it is a share of."""
    other = "caption" if row["attack"] in plan.of_captions else "image"
    noun = "target" if plan.family[row["attack"]] == "targeted" else other
    return {ours(row): percent(row, "attack_success"), JUDGED: counted(round(row["attack_success_n"]), noun)}


def trained_on(attack: str, plan: Plan) -> str:
    """The attack by its name, or that there was none: of what adds nothing here, the first, and the reference's `none`."""
    nothing = next((name for name in plan.attacks() if plan.family[name] == "clean"), None)
    return NO_ATTACK if attack == nothing else attack


def published_on(row: Row) -> str:
    """The attack that the published model was trained on, as `trained_on` says it."""
    return NO_ATTACK if row["attack"] == "none" else row["attack"]


def utility(results: Sequence[Row], reference: Iterable[Row], plan: Plan) -> pd.DataFrame:
    """The accuracies, a line for each measure, defence and attack; published as means over test sets."""
    lines: Lines = defaultdict(dict)
    for measure in MEANS:
        for row in plain(results):
            if is_known(row, measure):
                line = measure_label(measure), row["defence"], trained_on(row["attack"], plan)
                lines[line][ours(row)] = accuracy(row, measure)
    tested: dict[tuple[tuple[str, ...], str], list[Row]] = defaultdict(list)
    for row in reference:
        if row["measure"] in MEANS:
            line = measure_label(row["measure"]), row["defence"], published_on(row)
            tested[line, ", ".join(published(row))].append(row)
    for (line, whose), sets in tested.items():
        lines[line][whose, f"mean of {counted(len(sets), 'set')}"] = f"{mean(float(row['value']) for row in sets):.1f}"
        lines[line] |= {(whose, row["dataset_eval"]): number(row) for row in sets if row["dataset_eval"] == IMAGENET}
    here = list(map(ours, plain(results)))
    columns = [*here, *(heading for line in tested for heading in lines[line[0]] if heading not in here)]
    return frame(("measure", "defence", "attack"), grouped(lines, 0, 1), columns)


def downstream(measures: Iterable[Row], reference: Iterable[Row], plan: Plan) -> pd.DataFrame:
    """The accuracies on downstream sets, a line for each measure, set, defence and attack.

    Last come the means over all these sets, where a column has them all. measures: rows of measures.csv.
    """
    lines: Lines = defaultdict(dict)
    of_sets: dict[tuple[tuple[str, ...], Heading], list[float]] = defaultdict(list)  # by line of means, column
    means = f"mean of {counted(len(plan.sets), 'set')}"

    def add(measure: str, name: str, rest: tuple[str, str], heading: Heading, cell: str, value: float) -> None:
        lines[measure_label(measure), name, *rest][heading] = cell
        of_sets[(measure_label(measure), means, *rest), heading].append(value)

    by_seed: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for row in measures:
        measure = headline(row["measure"])
        if row["seed"] != "all" and row["evaluation_set"] in plan.sets and measure in MEANS:
            model = row["defence"], row["attack"], row["checkpoint"]
            by_seed[measure, row["evaluation_set"], *model].append(float(row["value"]))
    for (measure, name, defence, attack, checkpoint), values in by_seed.items():
        share, deviation = spread(values)
        cell = accuracy({measure: share, f"{measure}_sd": deviation}, measure)
        rest = defence, trained_on(attack, plan)
        add(measure, name, rest, ours({"checkpoint": checkpoint}), cell, 100 * mean(values))
    known = [row for row in reference if row["measure"] in MEANS and row["dataset_eval"] in plan.sets]
    for row in known:
        rest = row["defence"], published_on(row)
        add(row["measure"], row["dataset_eval"], rest, published(row), number(row), float(row["value"]))
    for (line, heading), values in of_sets.items():
        if len(values) == len(plan.sets):
            lines[line][heading] = f"{mean(values):.1f}"
    here = [ours({"checkpoint": checkpoint}) for *_, checkpoint in by_seed]
    return frame(("measure", "set", "defence", "attack"), grouped(lines, 0, 1), [*here, *map(published, known)])


def strong_attack(results: Iterable[Row], reference: Iterable[Row], plan: Plan) -> pd.DataFrame:
    """Attack success by a number of the attack that sweeps vary, a line for each number, attack and defence; then published."""
    varied, lines = strengths(plan), defaultdict(dict)
    here = [row for row in results if (row["attack"], row["defence"]) in varied and is_known(row, "attack_success")]
    for row in sorted(here, key=lambda row: varied[row["attack"], row["defence"]]):
        key, value = varied[row["attack"], row["defence"]]
        lines[f"{key} {value}", base(row["attack"]), row["defence"]] |= judged(row, plan)
    known = [row for row in reference if row["measure"] == "attack_success" and row["attack"].endswith(STRONG)]
    for row in known:
        lines[row["note"], row["attack"].removesuffix(STRONG), row["defence"]][published(row)] = number(row)
    return frame(("setting", "attack", "defence"), lines, [*map(ours, here), JUDGED, *map(published, known)])


def notes(reference: Sequence[Row], plan: Plan) -> dict[str, str]:
    """The sentences under each table: what its numbers are, and why they differ from published ones."""
    counts = "What each source counts as attack success: docs/leaderboard.md."
    here = (
        f"Here {plan.model} was trained on {plan.image_size}-pixel images; the published models are RN50 at 224 pixels. Levels "
        "go with data, model and poisons; where they are far apart, that is the first reason. Compare defences within a column."
    )
    intervals = f"Attack success (ASR) in percent, top 1; here with {INTERVALS}"
    means = "Top 1 in percent; here as means over seeds, after training on the attack named."
    sources = " and ".join(dict.fromkeys(r["source"] for r in reference if r["measure"] == "attack_success"))
    tested = [r for r in reference if r["measure"] in MEANS]
    accuracies = " and ".join(dict.fromkeys(r["source"] for r in tested))
    remarks = dict.fromkeys(f" {r['dataset_eval']}, {measure_label(r['measure'])}: {r['note']}." for r in tested if r["note"])
    same = "CLIP's 80 prompt templates throughout; splits and class names as in roclip/data/downstream.py."
    return {
        "downstream": f"{means} {same} Published: {accuracies}.{''.join(remarks)} {here}",
        "attacks": f"{intervals} Published: {sources}, each on the data set named below it. {counts} {here}",
        "utility": f"{means} Published: {accuracies}, on other test sets.{''.join(remarks)} {here}",
        "strong_attack": f"{intervals} Published: the abstract gives one number for its strongest attack. {here}",
    }


def write(table: pd.DataFrame, note: str, path: Path) -> None:
    """Write a table under `path` with the suffixes md, tex and csv; the note stands under the first two."""
    flat = table.set_axis([", ".join(filter(None, heading)) for heading in table.columns], axis=1)
    shown = flat.map(markdown).rename(columns=markdown)
    typeset = table.map(latex).rename(columns=latex)
    tabular = typeset.to_latex(index=False, escape=False, multicolumn_format="c")
    under = f"\\noindent{{\\footnotesize {latex(note)}\\par}}"
    contents = {
        "md": f"{shown.to_markdown(index=False, disable_numparse=True)}\n\n{markdown(note)}\n",
        "tex": f"\\noindent\\resizebox{{\\linewidth}}{{!}}{{%\n{tabular}}}\n\n{under}\n",
    }
    for suffix, content in contents.items():
        with atomic(path.with_suffix(f".{suffix}")) as temporary:
            temporary.write_text(content, encoding="utf-8")
    write_rows(path.with_suffix(".csv"), flat.columns, flat.itertuples(index=False, name=None))


def run(options: PaperTablesOptions) -> None:
    plan, results = read_plan(options.plan), pivot(read_results(options.results))
    reference = read_reference(options.reference)
    tables = {"attacks": attacks(results, reference, plan), "utility": utility(results, reference, plan)}
    if strengths(plan):
        tables["strong_attack"] = strong_attack(results, reference, plan)
    if plan.sets:
        tables["downstream"] = downstream(read_table(options.measures, tuple(MEASURES)), reference, plan)
    under = notes(reference, plan)
    for name, table in tables.items():
        write(table, under[name], options.out / name)


STAGE = Stage(PaperTablesOptions, run)
