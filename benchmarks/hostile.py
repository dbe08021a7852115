"""Counts the tests of hostile inputs by kind, and the inputs that are searched at random, for docs/robustness.md.

python -m benchmarks.hostile   (writes benchmarks/hostile.csv; nothing is run)
"""

from pathlib import Path

import pytest

from roclip.core.files import write_table

COLUMNS = ("kind", "tests", "random_inputs")
KINDS = {
    "images": ("tests/data/test_hostile_images.py", "tests/data/test_image_bounds.py", "tests/data/test_ways_in.py"),
    "tables": ("tests/core/test_hostile_tables.py", "tests/data/test_labels.py", "tests/core/test_formulas.py"),
    "URLs, servers, lists of URLs": (
        "tests/data/test_safe_http.py", "tests/data/test_any_url.py", "tests/data/test_hostile_sources.py",
        "tests/data/test_watchdog.py",
    ),
    "tars, shards, folders of others": (
        "tests/data/test_samples.py", "tests/data/test_shards.py", "tests/data/test_take_over.py", "tests/data/test_sources.py",
        "tests/data/test_odd_sources.py", "tests/data/test_hostile_parquet.py", "tests/data/test_chosen_sources.py",
        "tests/data/test_splits_of_sources.py",
        "tests/data/test_odd_downstream.py", "tests/data/test_splits_in_tables.py", "tests/data/test_class_mentions.py",
    ),
    "lists, JSON, YAML": (
        "tests/core/test_hostile_lists.py", "tests/core/test_yaml_files.py", "tests/data/test_json_stream.py",
        "tests/data/test_karpathy.py",
    ),
    "configs": (
        "tests/experiment/test_config.py", "tests/experiment/test_odd_configs.py", "tests/experiment/test_config_files.py",
        "tests/experiment/test_schema.py", "tests/experiment/test_sources_inside.py", "tests/attacks/test_faintest.py",
    ),
    "users' own attacks and defences": ("tests/attacks/test_own_triggers.py", "tests/training/test_state_check.py"),
    "models and weights": (
        "tests/experiment/test_hostile_models.py", "tests/model/test_any_weights.py", "tests/model/test_weight_files.py",
        "tests/model/test_start_weights.py", "tests/model/test_configs.py", "tests/model/test_odd_weights.py",
        "tests/model/test_weight_bombs.py",
    ),
    "features, records, results": (
        "tests/evaluation/test_features.py", "tests/core/test_records.py", "tests/core/test_provenance.py",
        "tests/core/test_verify.py", "tests/reporting/test_run_files.py", "tests/reporting/test_hostile_claims.py",
    ),
    "leaderboard entries": ("tests/reporting/test_leaderboard_entries.py",),
    "code in data": ("tests/workflow/test_no_code_from_data.py",),
    "machines and accounts": (
        "tests/core/test_locks.py", "tests/core/test_environment.py", "tests/experiment/test_account.py",
        "tests/experiment/test_run_lock.py", "tests/experiment/test_run_times.py", "tests/workflow/test_places.py",
        "tests/workflow/test_terminal_loss.py",
    ),
}  # fmt: skip


class Collected:
    """A plugin of pytest that keeps what was collected."""

    def __init__(self) -> None:
        self.items: list[pytest.Item] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.items = session.items


def random_inputs(item: pytest.Item) -> int:
    """How many inputs a property-based test draws; 0 of any other."""
    return getattr(getattr(item.obj, "_hypothesis_internal_use_settings", None), "max_examples", 0)


def main() -> None:
    plugin, rows = Collected(), []
    pytest.main(["--collect-only", "-qqq", *(path for paths in KINDS.values() for path in paths)], plugins=[plugin])
    for kind, paths in KINDS.items():
        its = [item for item in plugin.items if item.nodeid.partition("::")[0] in paths]
        rows.append(dict(zip(COLUMNS, (kind, len(its), sum(map(random_inputs, its))), strict=True)))
    total = ("all", *(sum(row[name] for row in rows) for name in COLUMNS[1:]))
    write_table(Path("benchmarks/hostile.csv"), COLUMNS, [*rows, dict(zip(COLUMNS, total, strict=True))])


if __name__ == "__main__":
    main()
