"""Stage: tables in the form of the paper's, with the published numbers in columns of their own, as Markdown, LaTeX and CSV.

Writes `attacks` (attack success), `utility` (zero-shot accuracy and linear probe), `downstream` (both on each downstream set)
where there are such sets, and `strong_attack` where sweeps vary the poisons of a target. A cell is empty where only the other
side has a number. The LaTeX is a fragment for a document that loads booktabs and graphicx.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import pandas as pd

from roclip.core.atomic import atomic
from roclip.core.files import read_table, write_rows
from roclip.core.options import Stage, option
from roclip.experiment.plan import base, settings_of
from roclip.reporting.gather import MEASURES as MEASURES_TABLE
from roclip.reporting.gather import SWEEPS
from roclip.reporting.labels import CHECKPOINTS, counted
from roclip.reporting.results import RESULTS, accuracy, families, percent, spread

REFERENCE = ("source", "dataset", "attack", "method", "measure", "dataset_eval", "value", "unit", "note")
IMAGENET = "imagenet1k"
STRONG = "captions_per_target"
STRONG_PUBLISHED = "targeted_strong"  # the reference's name for the strongest attack of the abstract
JUDGED = [*(("here", heading) for heading in CHECKPOINTS.values()), ("here", "judged")]
MEASURES = {"zero_shot": "zero-shot", "linear_probe": "linear probe"}
Row = dict[str, str]
Cells = dict[tuple[str, str], str]  # by heading: a group of columns and a column


@dataclass(frozen=True)
class PaperTablesOptions:
    results: Path = option("results.csv of the table stage")
    sweeps: Path = option("sweeps.csv of the table stage")
    measures: Path = option("measures.csv of the table stage")
    reference: Path = option("CSV of published numbers")
    kinds: tuple[str, ...] = option("NAME=KIND of every attack")
    model: str = option("the model that was trained")
    image_size: int = option("side of the images in pixels")
    out: Path = option("folder of the tables", role="output")
    sets: tuple[str, ...] = option("the downstream sets that models were judged on", default=())


def ours(row: Row) -> tuple[str, str]:
    return "here", CHECKPOINTS[row["checkpoint"]]


def published(row: Row) -> tuple[str, str]:
    return row["source"], row["dataset"]


def number(row: Row) -> str:
    """A published number, with the counts behind it where the source gives them: `93.75 (15 of 16)`."""
    counts = f" ({row['note']})" if re.fullmatch(r"\d+ of \d+", row["note"]) else ""
    return f"{float(row['value']):g}{counts}"


def plain(rows: Iterable[Row]) -> list[Row]:
    """The rows of attacks and methods that are no variants."""
    return [row for row in rows if row["attack"] == base(row["attack"]) and row["method"] == base(row["method"])]


def frame(names: Sequence[str], lines: Mapping[tuple[str, ...], Cells], columns: Iterable[tuple[str, str]]) -> pd.DataFrame:
    """Lines of text, each under its values of `names`, as a table; a heading is named once, and a cell not given is empty."""
    headings = list(dict.fromkeys(columns))
    cells = [[*key, *(line.get(heading, "") for heading in headings)] for key, line in lines.items()]
    return pd.DataFrame(cells, columns=pd.MultiIndex.from_tuples([*(("", name) for name in names), *headings]))


def grouped(lines: Mapping[tuple[str, ...], Cells], *parts: int) -> dict[tuple[str, ...], Cells]:
    """The lines with equal parts of their keys together, in the order in which each part first came."""
    first = [list(dict.fromkeys(key[part] for key in lines)) for part in parts]
    order = sorted(lines, key=lambda key: [seen.index(key[part]) for seen, part in zip(first, parts, strict=True)])
    return {key: lines[key] for key in order}


def attacks(results: Iterable[Row], reference: Iterable[Row], family: Mapping[str, str]) -> pd.DataFrame:
    """Attack success, a line for each attack and method."""
    lines: dict[tuple[str, ...], Cells] = defaultdict(dict)
    for row in plain(results):
        if row["success"]:
            lines[row["attack"], row["method"]] |= judged(row, "target" if family[row["attack"]] == "targeted" else "image")
    known = [row for row in reference if row["measure"] == "attack_success" and row["attack"] != STRONG_PUBLISHED]
    for row in known:
        lines[row["attack"], row["method"]][published(row)] = number(row)
    return frame(("attack", "method"), grouped(lines, 0), [*JUDGED, *map(published, known)])


def judged(row: Row, noun: str) -> Cells:
    """Attack success at a checkpoint, and how many targets or images it is a share of."""
    return {ours(row): percent(row, "success"), JUDGED[-1]: counted(int(row["success_n"]), noun)}


def utility(results: Iterable[Row], reference: Iterable[Row], family: Mapping[str, str]) -> pd.DataFrame:
    """Zero-shot accuracy and linear probe, a line for each measure, method and attack; published as means over test sets."""
    lines: dict[tuple[str, ...], Cells] = defaultdict(dict)
    for measure, name in MEASURES.items():
        for row in plain(results):
            # what the reference calls no attack is here one that adds nothing
            attack = "none" if family[row["attack"]] == "clean" else row["attack"]
            if row[measure]:
                lines[name, row["method"], attack][ours(row)] = accuracy(row, measure)
    tested: dict[tuple[tuple[str, ...], str], list[Row]] = defaultdict(list)
    for row in reference:
        if row["measure"] in MEASURES:
            line = MEASURES[row["measure"]], row["method"], row["attack"]
            tested[line, ", ".join(published(row))].append(row)
    for (line, whose), sets in tested.items():
        lines[line][whose, f"mean of {counted(len(sets), 'set')}"] = f"{mean(float(row['value']) for row in sets):.1f}"
        lines[line] |= {(whose, row["dataset_eval"]): number(row) for row in sets if row["dataset_eval"] == IMAGENET}
    columns = [*JUDGED[:-1], *(heading for line in tested for heading in lines[line[0]] if heading not in JUDGED)]
    return frame(("measure", "method", "attack"), grouped(lines, 0, 1), columns)


def downstream(
    measures: Iterable[Row], reference: Iterable[Row], family: Mapping[str, str], sets: Sequence[str]
) -> pd.DataFrame:
    """Zero-shot accuracy and linear probe on downstream sets, a line for each measure, set, method and attack.

    Last come the means over all these sets, where a column has them all.
    """
    lines: dict[tuple[str, ...], Cells] = defaultdict(dict)
    of_sets: dict[tuple[tuple[str, ...], tuple[str, str]], list[float]] = defaultdict(list)  # by line of means, column

    def add(measure: str, name: str, rest: tuple[str, str], heading: tuple[str, str], cell: str, value: float) -> None:
        lines[MEASURES[measure], name, *rest][heading] = cell
        of_sets[(MEASURES[measure], f"mean of {counted(len(sets), 'set')}", *rest), heading].append(value)

    by_seed: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for row in measures:
        measure = row["measure"].removesuffix("_top1")
        if row["seed"] != "all" and row["exam"] in sets and measure in MEASURES:
            by_seed[measure, row["exam"], row["method"], row["attack"], row["checkpoint"]].append(float(row["value"]))
    for (measure, name, method, attack, checkpoint), values in by_seed.items():
        attack = "none" if family[attack] == "clean" else attack
        heading, cell = ours({"checkpoint": checkpoint}), accuracy(spread(measure, values), measure)
        add(measure, name, (method, attack), heading, cell, 100 * mean(values))
    known = [row for row in reference if row["measure"] in MEASURES and row["dataset_eval"] in sets]
    for row in known:
        add(
            row["measure"],
            row["dataset_eval"],
            (row["method"], row["attack"]),
            published(row),
            number(row),
            float(row["value"]),
        )
    for (line, heading), values in of_sets.items():
        if len(values) == len(sets):
            lines[line][heading] = f"{mean(values):.1f}"
    ordered = grouped(lines, 0, 1)
    return frame(("measure", "set", "method", "attack"), ordered, [*JUDGED[:-1], *map(published, known)])


def strong_attack(results: Iterable[Row], sweeps: Iterable[Row], reference: Iterable[Row]) -> pd.DataFrame:
    """Success of targeted attacks by the poisons of a target, a line for each number, attack and method; last the published."""
    poisons: dict[tuple[str, str], int] = {}
    for row in sweeps:
        value = settings_of(row["setting"]).get(STRONG)
        # a variant in which more than the poisons changed, such as the size of the data, answers another question
        if value and row["attack"] in (base(row["attack"]), f"{row['base_attack']}~{STRONG}~{value}"):
            poisons[row["attack"], row["method"]] = int(value)
    lines: dict[tuple[str, ...], Cells] = defaultdict(dict)
    for row in sorted(results, key=lambda row: poisons.get((row["attack"], row["method"]), 0)):
        if (row["attack"], row["method"]) in poisons and row["success"]:
            line = str(poisons[row["attack"], row["method"]]), base(row["attack"]), row["method"]
            lines[line] |= judged(row, "target")
    known = [row for row in reference if row["measure"] == "attack_success" and row["attack"] == STRONG_PUBLISHED]
    for row in known:
        lines[row["note"], "", row["method"]][published(row)] = number(row)
    return frame(("poisons per target", "attack", "method"), lines, [*JUDGED, *map(published, known)])


def notes(reference: Sequence[Row], model: str, image_size: int) -> dict[str, str]:
    """The sentences under each table: what its numbers are, and why they differ from published ones."""
    here = (
        f"Here {model} was trained on {image_size}-pixel images; RoCLIP's models are RN50 at 224 pixels. Levels go with data, "
        "model and poisons; where they are far apart, that is the first reason. Compare methods within a column."
    )
    intervals = "Attack success in percent, top 1; here with 95% Clopper-Pearson intervals over the exam images of all seeds."
    sources = " and ".join(dict.fromkeys(r["source"] for r in reference if r["measure"] == "attack_success"))
    tested = [r for r in reference if r["measure"] in MEASURES]
    trained_on = " and ".join(dict.fromkeys(r["source"] for r in tested))
    remarks = dict.fromkeys(f" {r['dataset_eval']}, {MEASURES[r['measure']]}: {r['note']}." for r in tested if r["note"])
    same = "CLIP's 80 prompt templates throughout; splits and class names as in roclip/data/downstream.py."
    return {
        "downstream": "Top 1 in percent; here as means over seeds, after training on the attack named (none: without one). "
        f"{same} Published: {trained_on}.{''.join(remarks)} {here}",
        "attacks": f"{intervals} Published: {sources}, each on the data set named below it. {here}",
        "utility": "Top 1 in percent; here as means over seeds, after training on the attack named (none: without one). "
        f"Published: {trained_on}, on other test sets.{''.join(remarks)} {here}",
        "strong_attack": f"{intervals} Published: the abstract gives one number for its strongest attack. {here}",
    }


def write(table: pd.DataFrame, note: str, path: Path) -> None:
    """Write a table under `path` with the suffixes md, tex and csv; the note stands under the first two."""
    flat = table.set_axis([", ".join(filter(None, heading)) for heading in table.columns], axis=1)
    tabular = table.to_latex(index=False, escape=True, multicolumn_format="c")
    escaped = re.sub(r"([%_&#$])", r"\\\1", note)
    contents = {
        "md": f"{flat.to_markdown(index=False, disable_numparse=True)}\n\n{note}\n",
        "tex": f"\\noindent\\resizebox{{\\linewidth}}{{!}}{{%\n{tabular}}}\n\n\\noindent{{\\footnotesize {escaped}\\par}}\n",
    }
    for suffix, content in contents.items():
        with atomic(path.with_suffix(f".{suffix}")) as temporary:
            temporary.write_text(content, encoding="utf-8")
    write_rows(path.with_suffix(".csv"), flat.columns, flat.itertuples(index=False, name=None))


def run(options: PaperTablesOptions) -> None:
    results, sweeps = read_table(options.results, RESULTS), read_table(options.sweeps, SWEEPS)
    reference = read_table(options.reference, REFERENCE)
    family = families(options.kinds)
    tables = {"attacks": attacks(results, reference, family), "utility": utility(results, reference, family)}
    if any(STRONG in settings_of(row["setting"]) for row in sweeps):
        tables["strong_attack"] = strong_attack(results, sweeps, reference)
    if options.sets:
        measures = read_table(options.measures, MEASURES_TABLE)
        tables["downstream"] = downstream(measures, reference, family, options.sets)
    under = notes(reference, options.model, options.image_size)
    for name, table in tables.items():
        write(table, under[name], options.out / name)


STAGE = Stage(PaperTablesOptions, run)
