"""A finished run makes an entry of the leaderboard by one command, with all that the page shows."""

import pytest

from roclip.core.provenance import commit
from roclip.reporting.board.entries import read_entries
from roclip.reporting.leaderboard import main


@pytest.mark.slow
def test_a_finished_run_has_an_entry(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(finished)
    assert main(["--add", "results/test", "--by", "Ada", "--folder", str(tmp_path)]) == 0
    rows = read_entries(tmp_path)
    plain = [row for row in rows if "~" not in row["attack"]]
    assert [(row["attack"], row["defence"]) for row in plain] == [
        (attack, defence) for attack in ("targeted", "patch") for defence in ("clip", "roclip")
    ]
    for row in plain:
        assert row["dataset"] == "drawn scenes, 50 classes, 1,200 pairs"
        assert row["config"] == "config/test.yaml"
        assert row["commit"] in (commit(), "unknown")
        assert row["cost_from"] == "measured"
        assert len(row["curve"]) == 2
        assert all(0 <= accuracy <= 1 for _, accuracy, _ in row["curve"])
        assert (row["attack_success"] >= 0) == row["learned"]
    assert plain[0]["cost"] == 2.0  # epochs of the baseline
    assert plain[1]["curve"][1][0] == "matching"
    assert [len(row["pictures"]) for row in plain] == [4, 0, 4, 0]
    assert (tmp_path / "index.html").read_text().count('class="cell') > len(rows)
