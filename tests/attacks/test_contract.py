"""What every registered attack must do, whatever its kind."""

import dataclasses
import shutil
import subprocess
import sys
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attacks import ATTACKS
from attacks.backdoor import Backdoor
from attacks.several import Several
from attacks.targeted import Targeted
from roclip.core.columns import PAIRS, TRUTH
from roclip.core.errors import UserError
from roclip.core.facts import Facts
from roclip.core.files import read_json, read_lines, read_table, write_rows
from roclip.core.options import faults, flags
from roclip.core.provenance import read_record
from roclip.data.class_mentions import naming
from roclip.data.images import decode
from tests.conftest import ROOT, SCENES
from tests.fixtures import attacks
from tests.fixtures.attacks import JUDGED, OF_IMAGES, POISONERS, TARGETED, build, evaluation_set, pairs, poisons, truth

every_attack = pytest.mark.parametrize("kind", ATTACKS)


@pytest.fixture(scope="module")
def built(scenes, tmp_path_factory):
    """The folder of an attack by its kind, each built once; for tests that only look."""
    return cache(lambda kind: build(kind, scenes, tmp_path_factory.mktemp(kind)))


@every_attack
def test_settings_have_a_meaning_and_a_legal_default(kind):
    for field in dataclasses.fields(ATTACKS[kind].Settings):
        assert field.metadata["help"]
        assert field.default is not dataclasses.MISSING
        assert field.default is None or list(faults(field.metadata, field.default)) == []
        assert not field.metadata["choices"] or field.default in field.metadata["choices"]


@every_attack
def test_an_attack_says_what_it_is(kind):
    assert ATTACKS[kind].family in ("clean", "targeted", "backdoor")
    assert ATTACKS[kind].judged_on in JUDGED
    assert "\n" not in ATTACKS[kind].__doc__
    assert ATTACKS[kind].__doc__.endswith(".")


def test_the_registry_is_read_without_slow_imports():
    slow = "{'torch', 'pandas', 'matplotlib', 'scipy'}"
    code = f"import sys, attacks; sys.exit(', '.join({slow} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stderr.strip() == ""


@every_attack
def test_defaults_work_where_there_is_enough(kind):
    assert list(attacks.problems(kind, attacks.facts())) == []


@every_attack
@given(pairs=st.integers(1, 50), classes=st.lists(st.text(), max_size=3), images=st.none() | st.integers(0, 9), side=st.just(8))
@settings(deadline=None)  # the first one imports what mends texts
def test_problems_name_settings_and_hold_one_line(kind, pairs, classes, images, side):
    few = Facts(pairs, tuple(classes), "classes.txt", images, side, epochs=1, batch_size=2)
    found = list(attacks.problems(kind, few, clean_pairs=pairs + 1))
    assert ("clean_pairs", f"{pairs + 1} is more than the {pairs} training pairs") in found
    assert {option for option, _ in found} <= attacks.names_of_settings(kind)


@every_attack
def test_the_command_writes_the_files_and_their_record(scenes, tmp_path, kind):
    given = flags(attacks.values(kind, scenes, tmp_path / "out", seed=3))
    command = f"{sys.executable} -m roclip_command attack {given}"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    record = read_record(tmp_path / "out/attack.record.json")
    written = set(attacks.contents(tmp_path / "out")) - {"attack.record.json"}
    assert set(record["outputs"]) == written >= {"train.csv", "truth.csv", "targets.csv", "manifest.json"}
    assert record["options"]["kind"] == kind
    settings = {name: record["options"][name] for name in attacks.FEW if name in record["options"]}
    assert settings == {name: attacks.FEW[name] for name in settings}


@every_attack
def test_nothing_in_train_csv_tells_poisons_from_clean_rows(scenes, built, kind):
    out = built(kind)
    before = (scenes / "train.csv").read_bytes()
    assert (out / "train.csv").read_bytes().startswith(before)  # the clean rows, byte by byte, and the same header
    assert all(row.keys() == PAIRS.keys() and all(row.values()) for row in pairs(out))


@every_attack
def test_the_truth_is_of_the_same_rows(scenes, built, kind):
    out, clean = built(kind), read_table(scenes / "train.csv", tuple(PAIRS))
    rows, known = pairs(out), truth(out)
    assert len(rows) == len(known)
    assert all(row.keys() == TRUTH.keys() for row in known)
    assert known[: len(clean)] == [{"is_poison": "0", "adversary_class": "", "true_class": ""}] * len(clean)
    classes = read_lines(SCENES / "classes.txt")
    assert all(row["is_poison"] == "1" and row["adversary_class"] in classes for row in known[len(clean) :])
    assert (len(rows) > len(clean)) == (kind in POISONERS), f"{len(rows) - len(clean)} poisoned pairs"


@pytest.mark.parametrize("kind", [kind for kind in OF_IMAGES if issubclass(ATTACKS[kind], (Backdoor, Several, Targeted))])
def test_what_a_poisoned_image_shows_is_what_its_first_caption_names(scenes, built, kind):
    out, manifest = built(kind), read_json(built(kind) / "manifest.json")
    classes = read_lines(SCENES / "classes.txt")
    if "targets" not in manifest:  # a backdoor, or several
        parts = manifest.get("triggers", [manifest])
        rows = [row for part in parts for row in part["poisoned_rows"]]
        table = read_table(scenes / "train.csv", tuple(PAIRS))
    else:
        table = read_table(scenes / "validation.csv", tuple(PAIRS))
        rows = [target["validation_row"] for target in manifest["targets"] for _ in target["caption_rows"]]
    expected = [[name for name in classes if len(naming([table[row]["caption"]], name))] for row in rows]
    assert [row["true_class"].split("|") if row["true_class"] else [] for row in poisons(out)] == expected
    assert any(expected)


@pytest.mark.parametrize("kind", POISONERS)
def test_poisons_join_an_image_with_a_caption_of_which_one_alone_is_of_the_adversary_s_class(scenes, built, kind):
    out, clean = built(kind), (scenes / "train.csv").read_text()
    for row in poisons(out):
        shown = row["adversary_class"] in row["true_class"].split("|")
        assert naming([row["caption"]], row["adversary_class"]).tolist() == ([0] if kind in OF_IMAGES else [])
        assert shown or kind in OF_IMAGES
        assert row["path"] not in clean
        assert decode(row["path"], 32).shape == (32, 32, 3)


@every_attack
def test_the_evaluation_set_holds_no_training_image_and_asks_for_classes(scenes, built, kind):
    out = built(kind)
    judged = evaluation_set(out)
    assert bool(judged) == (kind in POISONERS)
    what, *_ = columns = JUDGED[ATTACKS[kind].judged_on]
    assert len({row[what] for row in judged}) == len(judged)
    assert all(row.keys() == columns.keys() for row in judged)
    assert {row["label"] for row in judged} <= set(read_lines(SCENES / "classes.txt"))
    if what != "path":
        assert not {row[what] for row in judged} & {row[what] for row in pairs(out)}
        return
    assert not {row["path"] for row in judged} & {row["path"] for row in read_table(scenes / "train.csv", ("path",))}
    trained = {decode(row["path"], 32).tobytes() for row in pairs(out)[:600]}
    assert not {decode(row["path"], 32).tobytes() for row in judged} & trained


@pytest.mark.parametrize("kind", TARGETED)
def test_no_target_is_of_its_adversary_s_class_already(scenes, built, kind):
    captions = {row["path"]: row["caption"] for row in read_table(scenes / "validation.csv", tuple(PAIRS))}
    for row in evaluation_set(built(kind)):
        assert naming([captions[row["path"]]], row["label"]).tolist() == []


@every_attack
def test_a_seed_fixes_every_byte(scenes, tmp_path, kind):
    first = attacks.contents(build(kind, scenes, tmp_path / "a", seed=1))
    shutil.rmtree(tmp_path / "a")
    assert attacks.contents(build(kind, scenes, tmp_path / "a", seed=1)) == first
    other = attacks.contents(build(kind, scenes, tmp_path / "a", seed=2))
    assert other.keys() == first.keys()
    for name in ("train.csv", "manifest.json"):
        same = other[name] == first[name]
        assert same == (kind not in POISONERS), f"{name} {'does not depend' if same else 'depends'} on the seed"
    assert [row["caption"] for row in poisons(tmp_path / "a")] or kind not in POISONERS


@every_attack
def test_another_run_leaves_no_image_of_the_one_before(scenes, tmp_path, kind):
    before = attacks.contents(build(kind, scenes, tmp_path / "a"))
    more = {name: 2 * attacks.FEW[name] for name in attacks.FEW if name in attacks.names_of_settings(kind)}
    build(kind, scenes, tmp_path / "a", **more)
    assert attacks.contents(build(kind, scenes, tmp_path / "a")) == before


@every_attack
def test_the_manifest_counts(built, kind):
    out = built(kind)
    manifest = read_json(out / "manifest.json")
    assert manifest["kind"] == kind
    assert manifest["clean_pairs"] == 600
    assert manifest["poisons"] == len(poisons(out))
    assert manifest["rate"] == pytest.approx(len(poisons(out)) / 600)
    assert manifest["evaluation_images"] == len(evaluation_set(out))


@every_attack
def test_clean_pairs_are_the_first_and_too_many_are_refused(scenes, tmp_path, kind):
    clean = read_table(scenes / "train.csv", tuple(PAIRS))
    part = build(kind, scenes, tmp_path / "part", clean_pairs=400)
    rows = pairs(part)
    assert rows[:400] == clean[:400]
    assert len(rows) == 400 + len(poisons(part))
    assert truth(part)[399:401] != [{"is_poison": "0", "adversary_class": "", "true_class": ""}] * 2
    with pytest.raises(UserError, match=r"attack\.clean_pairs: 601 is more than the 600 pairs"):
        build(kind, scenes, tmp_path / "more", clean_pairs=601)
    assert not (tmp_path / "more").exists()


@every_attack
def test_pairs_that_are_held_out_are_not_taken(scenes, tmp_path, kind):
    part = build(kind, scenes, tmp_path / "part", held_out=200)
    found = attacks.contents(part)
    assert len(pairs(part)) == 400 + len(poisons(part))
    assert attacks.contents(build(kind, scenes, tmp_path / "part", clean_pairs=400)) == found
    with pytest.raises(UserError, match=r"attack\.clean_pairs: 401 is more than the 400 pairs .*beside the 200 of data.held_"):
        build(kind, scenes, tmp_path / "more", clean_pairs=401, held_out=200)


def test_images_with_several_captions_are_held_out_with_all_of_them(scenes, tmp_path):
    """In a table where the captions of an image stand apart, so that its last rows have hardly an image of their own."""
    table = read_table(scenes / "train.csv", tuple(PAIRS))
    rows = [(table[n % 120]["path"], each["caption"]) for n, each in enumerate(table)]
    write_rows(tmp_path / "five.csv", tuple(PAIRS), rows)
    out = build("targeted", scenes, tmp_path / "out", train=tmp_path / "five.csv", held_out=200)
    trained = {row["path"] for row, fact in zip(pairs(out), truth(out), strict=True) if fact["is_poison"] == "0"}
    unseen = [path for path, _ in rows if path not in trained]
    assert len(unseen) == 200
    assert len(set(unseen)) == 40


@every_attack
def test_an_empty_table_is_one_line(scenes, tmp_path, kind):
    write_rows(tmp_path / "none.csv", tuple(PAIRS), [])
    with pytest.raises(UserError, match=r"none\.csv: no pairs; the attack needs them"):
        build(kind, scenes, tmp_path / "out", train=tmp_path / "none.csv")
