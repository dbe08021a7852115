"""Writes docs/configuration.md, every key of the config, and the table of what there is in README.md, from the code itself."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

import yaml

from roclip.core.errors import UserError
from roclip.core.options import default_of, kind_and_item, legal
from roclip.defences.detectors import DETECTORS
from roclip.evaluation import MEASURES
from roclip.experiment.schema import SECTIONS, STEP_MEANING, STEPS, hints_of, plain, summary_of
from roclip.experiment.settings import ExperimentSettings
from roclip.training.settings import TrainSettings, per_step

ROOT = Path(__file__).parents[2]
PAGE, README = ROOT / "docs/configuration.md", ROOT / "README.md"
BEGIN, END = "<!-- written by `roclip docs` -->", "<!-- until here -->"
WORDS = {int: "whole number", float: "number", bool: "`true`, `false`", str: "text", Path: "path"}
INTRODUCTION = """# Configuration

Written by `roclip docs` from the code; edit there, not here.

A config names an experiment, lists which attacks meet which defences with which seeds, and sets what differs from the
defaults below. `config/config.yaml` is read first; a second file, given with `--configfile`, is merged into it: mappings key by
key, lists as a whole. What a run was made with, every default filled in, is written to `results/EXPERIMENT/config.yaml`. A
mistake stops the run before it starts, in one line that names the key.
"""
DETECTION = """## `detector`

Detectors by name, for `detectors`: each has a `kind`, that of a filter that needs a model, and the options that its scores
depend on. A kind is also a detector of that name, with the defaults, and needs no entry here. Whatever is chosen is measured on
every model that was trained on an attack, at each of its checkpoints; `train.keep_weights: every_epoch` makes that every epoch.
"""
RECIPES = """## `defence`

Defences by name, each a recipe of up to three steps, such as

```yaml
data: { held_out: 2000 }
defence:
  cleaned: { train: { kind: clip }, repair: { kind: finetune, clean_pairs: 2000 } }
  filtered: { filter: { kind: cosine, scored_by: { kind: clip }, keep: 0.9 }, train: { kind: clip, epochs: 12 } }
```

Equal steps run once, whatever the recipes they stand in.
"""


def _code(value: Any) -> str:
    """A default as YAML reads it."""
    return f"`{yaml.safe_dump(value, default_flow_style=True).splitlines()[0]}`"


def _legal(field: Field, hint: Any) -> str:
    """The values that an option may have."""
    kind, number = kind_and_item(hint)
    meta = field.metadata
    if meta["schema"]:
        return "as the meaning says"
    words = ", ".join(
        [*([", ".join(f"`{word}`" for word in meta["choices"])] if meta["choices"] else [WORDS[kind]]), *legal(meta)]
    )
    words = f"list of: {words}" if number == "many" else words
    return f"{words}; `null`" if default_of(field) is None else words


def _cells(cells: Iterable[str]) -> str:
    """A row of a table; what Markdown would act on is escaped."""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|').replace('<', '&lt;') for cell in cells)} |"


def table(settings: type, more: Iterable[Sequence[str]] = ()) -> str:
    """The options of a dataclass: key, legal values, default, meaning."""
    rows: list[Sequence[str]] = [("key", "legal", "default", "meaning"), ("---",) * 4]
    for field, hint in hints_of(settings):
        default = default_of(field)
        shown = "must be given" if default is MISSING else _code(plain(default))
        rows.append((f"`{field.name}`", _legal(field, hint), shown, field.metadata["help"]))
    return "\n".join(map(_cells, [*rows, *more])) + "\n"


def _own_settings(kind: type) -> Iterator[Sequence[str]]:
    """What a step `train` of this kind may set for itself."""
    for field, hint in hints_of(TrainSettings):
        if field.name in per_step(kind):
            yield f"`{field.name}`", _legal(field, hint), f"`train.{field.name}`", f"{field.metadata['help']}, for this step"


def _kinds(step: str, registry: Mapping[str, type]) -> Iterator[str]:
    """A section for each kind."""
    for kind, owner in registry.items():
        own = table(owner.Settings, _own_settings(owner) if step == "train" else ())
        yield f"{'###' if step == 'attack' else '####'} {step} of kind `{kind}`\n\n{summary_of(owner)}\n\n{own}"


def page(attacks: Mapping[str, type]) -> str:
    """docs/configuration.md. attacks: their registry."""
    parts = [INTRODUCTION, f"## Top level\n\n{table(ExperimentSettings)}"]
    parts += [f"## `{name}`\n\n{table(settings)}" for name, settings in SECTIONS.items()]
    parts += ["## `attack`\n\nAttacks by name, each with its `kind` and that kind's options.\n", *_kinds("attack", attacks)]
    kinds = [
        (f"`{kind}`", ", ".join(f"`{f.name}`" for f in fields(owner.Settings)) or "none") for kind, owner in DETECTORS.items()
    ]
    parts += [DETECTION, "\n".join(map(_cells, [("kind", "options"), ("---",) * 2, *kinds])) + "\n", RECIPES]
    for step, registry in STEPS.items():
        parts += [f"### step `{step}`\n\nOf a recipe, {STEP_MEANING[step]}; `kind` is one of these.\n", *_kinds(step, registry)]
    return "\n".join(parts)


def contents(attacks: Mapping[str, type]) -> str:
    """What there is, by registry: a Markdown table of the kinds, in the order in which they were registered."""
    steps = {"filters": STEPS["filter"], "trainings": STEPS["train"], "repairs": STEPS["repair"]}
    groups = {"attacks": attacks, **steps, "measures": MEASURES, "detectors": DETECTORS}
    rows = [("what", "kinds"), ("---",) * 2]
    rows += [(group, ", ".join(f"`{kind}`" for kind in registry)) for group, registry in groups.items()]
    return "\n".join(map(_cells, rows)) + "\n"


def replaced(text: str, fragment: str) -> str:
    """A text with something else between the marks. Raises UserError where they are missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UserError(f"README.md: the lines '{BEGIN}' and '{END}' are missing, between which the table of contents stands")
    return f"{before}{begin}\n\n{fragment}\n{end}{after}"


def written(attacks: Mapping[str, type]) -> dict[Path, str]:
    """The files that are made from the code, as they ought to be."""
    return {PAGE: page(attacks), README: replaced(README.read_text(encoding="utf-8"), contents(attacks))}


def main(arguments: Sequence[str], attacks: Mapping[str, type]) -> None:
    """Write them, and say which were not as they ought to be."""
    if arguments:
        raise UserError("usage: roclip docs")
    for path, text in written(attacks).items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"{path.relative_to(ROOT)}: written")
