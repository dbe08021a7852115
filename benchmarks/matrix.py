"""Draws docs/images/rivals.png: the attacks of config/rivals.yaml against all its defences, means over the seeds of each.

They were run attack by attack, so no experiment's figure has all of them. Reads docs/data/rivals_seeds.csv and, of targeted
poisoning, whose first seeds are kept as means alone, rivals_results.csv.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import yaml

from roclip.reporting.figures.matrix import matrix
from roclip.reporting.figures.style import DPI, STYLE
from roclip.reporting.learned import useful_above

ROOT = Path(__file__).parent.parent
DATA = ROOT / "docs/data"
KEYS, MEASURES = ["attack", "defence", "checkpoint"], ["attack_success", "zero_shot"]
CLASSES, IMAGES = 200, 2500  # of the default world: classes, and the images that zero-shot accuracy is measured on
AS_MEANS = "targeted"  # the attack of which rivals_results.csv has the mean over some seeds


def results() -> pd.DataFrame:
    """A row for each attack, defence and checkpoint, its measures as means over seeds."""
    by_seed = pd.read_csv(DATA / "rivals_seeds.csv").assign(seeds=1)
    means = pd.read_csv(DATA / "rivals_results.csv")
    means = means[(means.attack == AS_MEANS) & means.measure.isin(MEASURES)]
    means = means.pivot(index=[*KEYS, "seeds"], columns="measure", values="value").reset_index()
    rows = pd.concat([by_seed, means])
    rows[MEASURES] = rows[MEASURES].mul(rows.seeds, axis=0)
    sums = rows.groupby(KEYS)[[*MEASURES, "seeds"]].sum()
    return sums[MEASURES].div(sums.seeds, axis=0).assign(seeds=sums.seeds).reset_index()


def draw(out: Path) -> None:
    config = yaml.safe_load((ROOT / "config/rivals.yaml").read_text())
    order = {"attack": config["attacks"], "defence": config["defences"]}
    rows = results().sort_values(list(order), key=lambda column: column.map(order[column.name].index), kind="stable")
    print(rows.groupby("attack", sort=False).seeds.max().to_string())
    with plt.rc_context(STYLE):
        figure = matrix(rows.assign(learned=rows.zero_shot > useful_above(CLASSES, IMAGES)), config["controls"])
        figure.savefig(out, dpi=DPI, bbox_inches="tight", metadata={"Software": None})


if __name__ == "__main__":
    draw(ROOT / "docs/images/rivals.png")
