"""What a process of img2dataset imports, this project's and those that img2dataset starts."""

import os
import subprocess
import sys

import pytest

IMPORTS = """
import runpy, sys
runpy.run_module("roclip.data.img2dataset_worker", run_name="__mp_main__")
import img2dataset.main
print("img2dataset" in sys.modules, "wandb.sdk" in sys.modules, "sentry_sdk" in sys.modules)
"""


@pytest.mark.slow
def test_wandb_is_not_imported_and_nothing_is_left_behind(tmp_path):
    (tmp_path / "tmp").mkdir()
    environment = os.environ | {"TMPDIR": str(tmp_path / "tmp"), "HOME": str(tmp_path), "NO_ALBUMENTATIONS_UPDATE": "1"}
    done = subprocess.run([sys.executable, "-c", IMPORTS], env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "False", "False"], done.stderr
    assert list(tmp_path.rglob("*")) == [tmp_path / "tmp"]
