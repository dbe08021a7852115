"""What needs Snakemake's own objects: checks the config, names the targets, prepares the jobs' environment. No rules here."""

import os
import sys
import time
from pathlib import Path

# the folder of the workflow; `workflow.basedir` is that of the outer one where this is a module
HOME = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).resolve().parents[1]
sys.path.insert(0, str(HOME))

from attacks import ATTACKS
from roclip.core.errors import UserError
from roclip.core.orphan import STARTER, starter
from roclip.evaluation import MEASURES
from roclip.experiment.config import check
from roclip.experiment.files import read_config
from roclip.experiment.first_look import first_look
from roclip.experiment.plan import SET, VARIANT
from roclip.experiment.run_lock import begin, folder_of, write_down
from roclip.experiment.run_times import expected_time, run_times, trainings_at_a_time
from roclip.experiment.targets import Targets
from roclip.reporting.figures import figures_of
from roclip.reporting.planned import paper_tables
from roclip.reporting.power import power

STARTED = time.time()
HERE = Path() if HOME == Path.cwd() else HOME  # how the paths of the workflow's own files begin
ARGUMENTS = workflow.config_settings.config if workflow.modifier.is_main_snakefile() else {}  # a module has none
try:
    CONFIG, PLAN = check(read_config(HERE, config, workflow.configfiles, ARGUMENTS), ATTACKS)
    RESULTS = folder_of(PLAN.experiment)
except UserError as error:
    sys.exit(f"config: {error}")
TARGETS = Targets(CONFIG, PLAN, RESULTS, HERE, paper_tables(PLAN), figures_of(PLAN))

# `roclip` in the rules is this folder's, run by the interpreter of Snakemake; jobs end with the Snakemake that runs them
commands = [str(HOME / "workflow/bin"), str(Path(sys.executable).parent)]
search = os.pathsep.join([*commands, *(folder for folder in os.get_exec_path() if folder not in commands)])
os.environ.update({"PATH": search, STARTER: starter()})


wildcard_constraints:
    attack=VARIANT,
    defence=VARIANT,
    step=VARIANT,
    seed=r"\d+",
    set=SET,
    measure="|".join(MEASURES),
    figure="|".join(TARGETS.figures),


def all_cores(wildcards):
    """A function, for `--dag` and the like know of no cores and need none."""
    return workflow.global_resources.get("_cores").value or 1


def expected():
    """One line on the trainings that will run."""
    jobs = [job for job in workflow.dag.needrun_jobs() if job.rule.name in ("train", "repair")]
    limits = [workflow.global_resources.get(name).value for name in ("_nodes", "_cores", "gpu")]
    at_a_time = trainings_at_a_time(*limits, TARGETS.cores, [job.resources.gpu for job in jobs])
    return expected_time(Path(RESULTS), TARGETS.pairs_to_train(job.wildcards for job in jobs), at_a_time)


onstart:
    try:
        begin(Path(RESULTS), CONFIG, PLAN, workflow.dag, logger)
    except UserError as error:
        sys.exit(f"error: {error}")
    for line in [*TARGETS.absences(), *first_look(Path(RESULTS), CONFIG["data"]), expected(), *power(PLAN)]:
        logger.info(line)


onsuccess:
    logger.info(run_times(Path(RESULTS), STARTED, time.time()))


if not (workflow.modifier.is_main_snakefile() or workflow.output_settings.dryrun):
    write_down(Path(RESULTS), CONFIG, PLAN)  # a module has no onstart
