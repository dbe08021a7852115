"""Claims: a change only where intervals are apart, no number but the tables', and nothing about what was not run."""

import re

import pytest

from roclip.core.files import read_json, write_table
from roclip.reporting import claims as stage
from roclip.reporting.claims import ClaimsOptions, change, claims, ordered
from roclip.reporting.gather import SWEEPS
from roclip.reporting.intervals import clopper_pearson
from roclip.reporting.paper_tables import REFERENCE
from roclip.reporting.results import DIFFERENCES, RESULTS


def result(attack="targeted", method="clip", checkpoint="last_clip", hits=None, control=None, n=16, zero_shot="", sd=""):
    row = dict.fromkeys(RESULTS, "") | {
        "attack": attack,
        "method": method,
        "checkpoint": checkpoint,
        "seeds": "3" if sd else "1",
    }
    for name, count in (("success", hits), ("control", control)):
        if count is not None:
            low, high = clopper_pearson(count, n)
            row |= {name: f"{count / n:.6f}", f"{name}_n": str(n), f"{name}_low": f"{low:.6f}", f"{name}_high": f"{high:.6f}"}
    return row | {"zero_shot": zero_shot, "zero_shot_sd": sd}


def difference(method="roclip", checkpoint="last_clip", values=("1.000000", "0.726197", "1.000000")):
    named = {"attack": "targeted", "checkpoint": checkpoint, "baseline": "clip", "method": method}
    return dict.fromkeys(DIFFERENCES, "") | named | dict(zip(("difference", "low", "high"), values, strict=True))


def point(sweep, setting, attack="targeted", method="roclip", base_attack="targeted", base_method="roclip"):
    return dict(zip(SWEEPS, (sweep, setting, base_attack, base_method, attack, method), strict=True))


def texts(about, results, differences, sweeps, reference=()):
    return [claim["text"] for claim in claims(results, differences, sweeps, reference) if claim["about"] == about]


def test_a_change_needs_intervals_apart():
    assert change(result(hits=16), result(hits=0)) == -1
    assert change(result(hits=0), result(hits=16)) == 1
    # [41.3, 89.0] and [19.8, 70.1] overlap, though the difference of 25 points looks large
    assert change(result(hits=11), result(hits=7)) == 0
    touching = result(hits=8) | {"success_high": result(hits=12)["success_low"]}
    assert change(result(hits=12), touching) == 0


def test_roclip_against_clip():
    rows = [result(hits=16), result(method="roclip", hits=0), result(method="roclip", checkpoint="last_matching", hits=8)]
    assert texts("defence", rows, [difference()], []) == [
        "RoCLIP lowered targeted attack success from 100.0% [79.4, 100.0] with CLIP to 0.0% [0.0, 20.6] at the last CLIP epoch "
        "(n = 16, 1 seed; paired difference 100.0 points [72.6, 100.0]).",
        "RoCLIP lowered targeted attack success from 100.0% [79.4, 100.0] with CLIP at the last CLIP epoch to 50.0% "
        "[24.7, 75.3] at the last matching epoch (n = 16, 1 seed).",
    ]


def test_where_no_difference_is_shown_the_numbers_are_still_given():
    assert texts("defence", [result(hits=3), result(method="roclip", hits=1, n=32)], [], []) == [
        "The data do not show a difference in targeted attack success between CLIP, 18.8% [4.0, 45.6], and RoCLIP, "
        "3.1% [0.1, 16.2] at the last CLIP epoch (n = 16 and 32, 1 seed)."
    ]
    assert "RoCLIP raised label-consistent attack success from 0.0%" in texts(
        "defence", [result("label_consistent", hits=0), result("label_consistent", "roclip", hits=16)], [], []
    )[0]  # fmt: skip


def test_success_against_its_control():
    above, level, below = texts(
        "controls",
        [result(hits=16, control=0), result("a", hits=1, control=0), result("b", hits=0, control=16), result("c", hits=3)],
        [],
        [],
    )
    assert above == (
        "With CLIP, targeted attack success, 100.0% [79.4, 100.0], is above its control, 0.0% [0.0, 20.6], at the last CLIP "
        "epoch (n = 16, 1 seed)."
    )
    assert level.startswith("With CLIP, the data do not show a difference between a attack success, 6.2% [0.2, 30.2], and its")
    assert "is below its control" in below


def test_a_model_of_clean_pairs_is_under_no_attack():
    rows = [result(attack="clean", zero_shot="0.9"), result(attack="clean", method="roclip", zero_shot="0.8")]
    (text,) = texts("price", rows, [], [])
    assert text.startswith("Without an attack, mean zero-shot accuracy is ")


def test_the_price_is_a_mean_without_significance():
    rows = [result(hits=9, zero_shot="0.998000"), result(hits=2, method="roclip", zero_shot="0.946000")]
    assert texts("price", rows, [], []) == [
        "Under the targeted attack, mean zero-shot accuracy is 99.8% with CLIP and 94.6% with RoCLIP at the last CLIP epoch, "
        "-5.2 points (1 seed, so no significance is claimed)."
    ]
    first = result(hits=9, zero_shot="0.998000", sd="0.001000")
    rows = [first, result(hits=2, method="roclip", zero_shot="0.998100", sd="0.002000")]
    assert texts("price", rows, [], [])[0].endswith(
        "99.8% (sd 0.1) with CLIP and 99.8% (sd 0.2) with RoCLIP at the last CLIP epoch, +0.0 points (3 seeds; no significance "
        "is claimed)."
    )


def test_a_further_method_is_compared_with_roclip_in_success_and_accuracy():
    rows = [
        result(hits=16),
        result(method="roclip", hits=0, zero_shot="0.946000"),
        result(method="roclip_noise", hits=14, zero_shot="0.900000"),
        result(method="roclip~pool_size~400", hits=14),
    ]
    assert texts("others", rows, [], []) == [
        "roclip_noise raised targeted attack success from 0.0% [0.0, 20.6] with RoCLIP to 87.5% [61.7, 98.4] at the last CLIP "
        "epoch (n = 16, 1 seed).",
        "Under the targeted attack, mean zero-shot accuracy is 94.6% with RoCLIP and 90.0% with roclip_noise at the last CLIP "
        "epoch, -4.6 points (1 seed, so no significance is claimed).",
    ]


def reference(value, attack="targeted", method="clip", source="A"):
    named = {"source": source, "attack": attack, "method": method, "measure": "attack_success", "value": value}
    return dict.fromkeys(REFERENCE, "") | named


def test_only_what_leaves_out_all_published_numbers_is_said_to_differ():
    rows = [result(hits=3), result("label_consistent", hits=0)]  # [4.0, 45.6] and [0, 20.6]
    inside = [reference("45"), reference("93.75")]
    assert texts("published", rows, [], [], inside) == []
    outside = [reference("93.75"), reference("62.5", source="B"), reference("71", "label_consistent")]
    assert texts("published", rows, [], [], outside) == [
        "Targeted attack success with CLIP, 18.8% [4.0, 45.6] at the last CLIP epoch (n = 16), is below every published value, "
        "62.5% to 93.75% (A and B).",
        "Label-consistent attack success with CLIP, 0.0% [0.0, 20.6] at the last CLIP epoch (n = 16), is below every published "
        "value, 71% (A).",
    ]
    assert "is above every published value, 1%" in texts("published", rows, [], [], [reference("1")])[0]


def test_halves_are_compared_on_every_attack_on_which_they_were_run():
    rows = [
        result(attack, method, hits=hits)
        for attack, methods in (("targeted", ("clip", "clip_augmented", "roclip")), ("patch", ("roclip_unaugmented", "roclip")))
        for method, hits in zip(methods, (16, 15, 0), strict=False)
    ]
    found = texts("halves", rows, [difference("clip_augmented", values=("0.062500", "-0.124000", "0.283000"))], [])
    assert found == [
        "The data do not show a difference in targeted attack success between CLIP, 100.0% [79.4, 100.0], and CLIP with "
        "augmentation, 93.8% [69.8, 99.8] at the last CLIP epoch (n = 16, 1 seed; paired difference 6.2 points [-12.4, 28.3]).",
        "RoCLIP lowered targeted attack success from 93.8% [69.8, 99.8] with CLIP with augmentation to 0.0% [0.0, 20.6] at the "
        "last CLIP epoch (n = 16, 1 seed).",
        "The data do not show a difference in patch attack success between RoCLIP without augmentation, 100.0% [79.4, 100.0], "
        "and RoCLIP, 93.8% [69.8, 99.8] at the last CLIP epoch (n = 16, 1 seed).",
    ]


@pytest.mark.parametrize(
    ("settings", "answer"),
    [
        (["pool_size 200", "pool_size 400"], True),
        (["match_every 0", "match_every 5", "match_every 1"], True),
        (["clean_pairs 10, epochs 4", "clean_pairs none, epochs 2"], True),
        (["rate 1e-05", "rate 0.1"], True),
        (["augment true", "augment false"], False),
        (["a 1, b 1", "a 1, b 2", "a 2, b 1", "a 2, b 2"], False),
        (["pool_size 200"], False),
        (["", ""], False),
    ],
)
def test_a_sweep_is_ordered_by_a_number_that_differs_at_every_point(settings, answer):
    assert ordered(settings) == answer


def test_a_sweep_from_its_first_to_its_last_point():
    variants = [f"targeted~captions_per_target~{n}" for n in (2, 25)]
    sweep = [
        point("poisons", f"captions_per_target {n}", attack, method, base_method=method)
        for method in ("clip", "roclip")
        for n, attack in zip((2, 10, 25), (variants[0], "targeted", variants[1]), strict=True)
    ]
    rows = [
        result(variants[0], hits=0), result(hits=9), result(variants[1], hits=16),
        result(variants[0], "roclip", hits=0, zero_shot="0.900000"),
        result(variants[1], "roclip", hits=1, zero_shot="0.800000"),
    ]  # fmt: skip
    assert texts("poisons", rows, [], sweep) == [
        "In the sweep poisons, targeted attack success with CLIP rises from 0.0% [0.0, 20.6] at captions_per_target 2 to "
        "100.0% [79.4, 100.0] at captions_per_target 25 at the last CLIP epoch (n = 16, 1 seed).",
        "In the sweep poisons, the data do not show a difference in targeted attack success with RoCLIP between "
        "captions_per_target 2, 0.0% [0.0, 20.6], and captions_per_target 25, 6.2% [0.2, 30.2] at the last CLIP epoch "
        "(n = 16, 1 seed).",
        "In the sweep poisons, mean zero-shot accuracy with RoCLIP under the targeted attack is 90.0% at captions_per_target 2 "
        "and 80.0% at captions_per_target 25 at the last CLIP epoch (1 seed, so no significance is claimed).",
    ]


def test_ends_of_a_sweep_without_a_common_checkpoint():
    rows = [result(method="clip_augmented", hits=16), result(method="roclip~match_every~1", checkpoint="last_matching", hits=0)]
    sweep = [point("k", "match_every 0", method="clip_augmented"), point("k", "match_every 1", method="roclip~match_every~1")]
    assert texts("k", rows, [], sweep) == [
        "In the sweep k, targeted attack success with RoCLIP falls from 100.0% [79.4, 100.0] at match_every 0 at the last CLIP "
        "epoch to 0.0% [0.0, 20.6] at match_every 1 at the last matching epoch (n = 16, 1 seed)."
    ]


def test_nothing_is_said_of_what_was_not_run():
    sweep = [point("k", "match_every 0", method="gone"), point("k", "match_every 1")]
    assert claims([result(method="roclip", hits=3)], [], sweep, []) == []
    assert claims([result("clean"), result("clean", "roclip")], [], [], []) == []


def test_the_written_claims_and_their_numbers(tmp_path):
    rows = [result(hits=15, control=1), result(method="roclip", hits=2, control=0)]
    write_table(tmp_path / "results.csv", RESULTS, rows)
    write_table(tmp_path / "differences.csv", DIFFERENCES, [difference(values=("0.812500", "0.500000", "0.900000"))])
    write_table(tmp_path / "sweeps.csv", SWEEPS, [])
    write_table(tmp_path / "reference.csv", REFERENCE, [])
    files = (tmp_path / f"{name}.csv" for name in ("results", "differences", "sweeps", "reference"))
    stage.run(ClaimsOptions(*files, tmp_path / "claims.json"))
    written = read_json(tmp_path / "claims.json")
    assert [claim["about"] for claim in written] == ["defence", "controls", "controls"]
    known = {f"{100 * float(row[key]):.1f}" for row in rows for key in RESULTS[4:12] if row[key] and not key.endswith("_n")}
    for claim in written:
        assert set(re.findall(r"\d+\.\d", claim["text"])) <= known | {"81.2", "50.0", "90.0"}
