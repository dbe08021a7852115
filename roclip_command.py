"""The console command `roclip`: every stage by its name, with its flags. Only it and the workflow know defences and attacks."""

import ast
import os
import sys
import textwrap
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from roclip.core.errors import one_line
from roclip.core.options import plain, run_stage

# by group: the stages, each with the module whose STAGE it is
STAGES = {
    "data": {
        "scenes": "roclip.data.scenes",
        "download": "roclip.data.download",
        "downstream": "roclip.data.downstream",
    },
    "attack": {
        "attack": "attacks.build",
        "check": "attacks.check",
    },
    "defence": {
        "filter": "roclip.training.filter",
        "train": "roclip.training.train",
        "repair": "roclip.training.repair",
    },
    "evaluation": {
        "encode": "roclip.evaluation.encode",
        "measure": "roclip.evaluation.measure",
        "detect": "roclip.training.detect",
        "export": "roclip.evaluation.export",
    },
    "reporting": {
        "gather": "roclip.reporting.gather",
        "claims": "roclip.reporting.claims",
        "paper_tables": "roclip.reporting.paper_tables",
        "figure": "roclip.reporting.figures.draw",
        "report": "roclip.reporting.report",
    },
}
# what is no stage: a module with `main(arguments)`, which gives an exit status
TOOLS = {
    "check-data": "attacks.check_data",
    "verify": "roclip.core.verify",
    "logged": "roclip.experiment.logged",
    "gpus": "roclip.experiment.gpus",
    "leaderboard": "roclip.reporting.leaderboard",
    "docs": "roclip.experiment.documentation",
}
WIDTH = 120  # columns of the usage


def summary(module: str) -> str:
    """What a stage does: the first sentence of its module, which is read and not imported."""
    path = Path(__file__).parent.joinpath(*module.split(".")).with_suffix(".py")
    doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    sentence = " ".join(doc.partition("\n\n")[0].split()).partition(". ")[0]
    what = sentence.removeprefix("Stage: ").rstrip(".")
    return what[:1].upper() + what[1:]


def usage() -> str:
    """The stages by group, with a sentence on each."""
    lines = ["usage: roclip STAGE FLAGS, roclip STAGE --help", ""]
    for group, modules in {**STAGES, "tools": TOOLS}.items():
        lines.append(f"{group}:")
        for name, module in modules.items():
            lines += textwrap.wrap(summary(module), WIDTH, initial_indent=f"  {name:<14}", subsequent_indent=" " * 16)
        lines.append("")
    return "\n".join(lines).rstrip()


def run_tool(name: str, arguments: Sequence[str]) -> int | None:
    """Run a tool. `docs` is told of the attacks, which the package roclip never imports."""
    run = import_module(TOOLS[name]).main
    return run(arguments, import_module("attacks").ATTACKS) if name == "docs" else run(arguments)


def main(argv: Sequence[str] | None = None) -> int | None:
    """The console command; its exit status."""
    if sys.flags.optimize > 1:  # docstrings are shown
        sys.exit("error: PYTHONOPTIMIZE is 2 or more, or python runs with -OO, without the texts that are shown; unset it")
    os.environ["MPLBACKEND"] = "Agg"  # a notebook names its own there, and matplotlib looks for that when it is imported
    name, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help"):
        print(usage())
        return 0
    stages = {stage: module for modules in STAGES.values() for stage, module in modules.items()}
    if name in stages:
        module = import_module(stages[name])
        return run_stage(name, module.STAGE, module.__doc__, rest)
    if name in TOOLS:
        try:
            return run_tool(name, rest)
        except Exception as error:
            if rest in (["-h"], ["--help"]) and str(error).startswith("usage: "):
                print(summary(TOOLS[name]) + ".", error, sep="\n")
                return 0
            if said := plain(error):
                sys.exit(f"error: {said}")
            raise
        except KeyboardInterrupt:
            sys.exit(130)
    sys.exit(f"error: '{one_line(name)}' is no stage and no tool; there are {', '.join([*stages, *TOOLS])}")


if __name__ == "__main__":
    sys.exit(main())
