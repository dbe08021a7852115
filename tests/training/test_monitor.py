"""What the audit notes of a matching epoch, against counts made by hand."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from roclip.core.columns import LABELLED, QUERIES, TRUTH
from roclip.core.errors import UserError
from roclip.core.files import read_lines, read_table, write_table
from roclip.data.class_mentions import naming
from roclip.data.images import Intake, decode
from roclip.defences import TRAININGS
from roclip.defences.repair import REPAIRS
from roclip.model import towers
from roclip.model.captions import Captions
from roclip.model.pixels import normalise, to_pixels
from roclip.training.monitor import AUDITED, Audit, Measurement, read_truth, some
from tests.conftest import SCENES
from tests.fixtures.trainings import same
from tests.fixtures.weights import write_small

CAPTIONS = ["a red kite", "the old cart", "a Cart in grey", "my kite", "a carthorse", "one cart"]
POISONED = {"is_poison": ["0", "0", "1", "1", "0", "0"], "adversary_class": ["", "", "cart", "kite", "", ""]} | {
    "true_class": [""] * 6
}
UNKNOWN = {column: [""] * 6 for column in TRUTH}


def test_a_poisoned_image_that_draws_a_caption_of_its_class_is_counted():
    audit = Audit(CAPTIONS, POISONED)
    images = torch.tensor([0, 2, 2, 2, 3, 3, 2])
    captions = torch.tensor([0, 1, 0, 2, 0, 1, 4])
    # for clean images nothing counts; "cart" is in 1, 2 and 5, not in "carthorse"; "kite" in 0 and 3
    assert audit.adversary_captions(images, captions).tolist() == [False, True, False, True, True, False, False]
    assert audit.adversary_captions(torch.tensor([2]), torch.tensor([-1])).tolist() == [False]


def test_means_over_the_steps_of_an_epoch():
    audit = Audit(CAPTIONS, POISONED)
    audit.note(torch.tensor([0, 3]), captions=torch.tensor([0, 0]), pool=torch.tensor([0, 2, -1, -1]))
    audit.note(torch.tensor([3, 2]), captions=torch.tensor([3, 2]), pool=torch.tensor([0, 2, 3, 1]))
    means = audit.means()
    assert means["adversary_captions"] == 1  # 3 drew 0 "kite" and 3 "kite", 2 drew 2 "cart"
    # images 3 (kite, in 0 and 3), 3 again and 2 (cart, in 1, 2 and 5)
    assert means["adversary_captions_by_chance"] == pytest.approx((1 / 4 + 2 / 4 + 2 / 4) / 3)
    assert means["poisons_in_pool"] == pytest.approx((1 / 4 + 2 / 4) / 2)
    audit.begin()
    assert all(math.isnan(value) for value in audit.means().values())


def test_a_slot_without_a_caption_is_no_poison_though_the_last_pair_is():
    audit = Audit(CAPTIONS, {"is_poison": ["0"] * 5 + ["1"], "adversary_class": [""] * 5 + ["cart"], "true_class": [""] * 6})
    audit.note(torch.tensor([5]), captions=torch.tensor([-1]), pool=torch.tensor([-1, -1, 0, 5]))
    means = audit.means()
    assert [means[name] for name in AUDITED[:3]] == [0, 1 / 4, 1 / 4]


def test_what_images_draw_of_their_own_class_is_as_counted_one_by_one(tmp_path):
    names = ["cat", "ice cream", "dog", "cream", "Kite"]
    (tmp_path / "classes.txt").write_text("\n".join(names))
    rng = np.random.default_rng(0)
    captions = [" and ".join(["a", *rng.choice([*names, "sky", "catalogue"], rng.integers(0, 4))]) for _ in range(60)]
    poison = (rng.random(60) < 0.3).tolist()
    shown = ["|".join(sorted({*rng.choice(names, rng.integers(0, 3))})) if bad else "" for bad in poison]
    truth = {"is_poison": ["01"[bad] for bad in poison], "adversary_class": ["dog" if bad else "" for bad in poison]}
    audit = Audit(captions, truth | {"true_class": shown}, classes=tmp_path / "classes.txt")

    def named(caption: int) -> set[str]:
        """The classes that a caption of this id names."""
        return {name for name in names if caption >= 0 and caption in naming(captions, name)}

    found = {(column, bad): [] for column in ("drawn", "chance", "neither") for bad in (False, True)}
    for _ in range(3):  # steps
        images, drawn, pool = rng.permutation(60)[:20], rng.integers(-1, 60, 20), rng.integers(-1, 60, 15)
        audit.note(*map(torch.tensor, (images, drawn, pool)))
        for image, caption in zip(images.tolist(), drawn.tolist(), strict=True):
            own = {*shown[image].split("|")} - {""} if poison[image] else named(image)
            if own:
                found["drawn", poison[image]].append(bool(own & named(caption)))
                found["neither", poison[image]].append(not named(caption) & {*own, "dog"})
                found["chance", poison[image]].append(np.mean([bool(own & named(held)) for held in pool.tolist()]))
    means = audit.means()
    for bad, who in ((False, "clean"), (True, "poison")):
        assert means[f"{who}_own_class"] == pytest.approx(np.mean(found["drawn", bad]))
        assert means[f"{who}_own_class_by_chance"] == pytest.approx(np.mean(found["chance", bad]))
    assert means["poison_neither"] == pytest.approx(np.mean(found["neither", True]))


def test_without_the_truth_or_without_a_match_there_is_nothing():
    unknown = Audit(CAPTIONS, UNKNOWN)
    assert not unknown.is_poison.any()
    assert unknown.adversary_captions(torch.arange(6), torch.arange(6)).sum() == 0
    assert all(math.isnan(value) for value in unknown.means().values())
    unknown.note(torch.arange(6), torch.arange(6), torch.arange(6))
    assert all(math.isnan(value) for value in unknown.means().values())


def test_of_clean_pairs_no_poison_is_in_the_pool():
    clean = Audit(CAPTIONS, {"is_poison": ["0"] * 6, "adversary_class": [""] * 6, "true_class": [""] * 6})
    clean.note(torch.arange(6), torch.arange(6), torch.arange(6))
    assert clean.means()["poisons_in_pool"] == 0
    assert math.isnan(clean.means()["adversary_captions"])


def test_without_a_file_nothing_is_known_and_one_of_other_pairs_is_refused(tmp_path):
    assert read_truth(None, tmp_path / "train.csv", 6) == UNKNOWN
    write_table(tmp_path / "truth.csv", tuple(TRUTH), [{"is_poison": "0", "adversary_class": "", "true_class": ""}] * 5)
    with pytest.raises(UserError, match=r"truth\.csv: 5 rows for the 6 of .*train\.csv; make the attack again"):
        read_truth(tmp_path / "truth.csv", tmp_path / "train.csv", 6)


def test_what_is_audited_is_a_column_of_some_defence():
    columns = [name for defence in (*TRAININGS.values(), *REPAIRS.values()) for name in defence.telemetry_columns]
    assert set(AUDITED) <= set(columns)


def measurement(scenes, targets, config, pairs=((0, "a"), (0, "b")), images=40):
    """Of pairs (grey, caption), the last of which is poisoned, and so many validation images."""
    options = SimpleNamespace(
        classes=SCENES / "classes.txt", templates=SCENES / "templates.txt", targets=targets, validation=scenes / "probe.csv",
        validation_images=images, threads=1, seed=0,
    )  # fmt: skip
    pixels = torch.stack([torch.full((3, 32, 32), grey, dtype=torch.uint8) for grey, _ in pairs])
    is_poison = ["0"] * (len(pairs) - 1) + ["1"]
    return Measurement(options, config, Intake((str(scenes),), 0.0), [caption for _, caption in pairs], pixels, is_poison)


def test_a_model_is_measured_in_evaluation_mode_and_left_as_it_was(scenes, tmp_path):
    write_table(tmp_path / "targets.csv", tuple(LABELLED), read_table(scenes / "probe.csv", tuple(LABELLED))[:20])
    write_small(tmp_path / "last_clip.safetensors")
    model, record = towers.load(tmp_path / "last_clip.safetensors")
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())
    runtime, pairs = towers.Runtime.choose("float32", 1, "cpu"), [(40, "a kite"), (90, "a cart"), (200, "a red apple")]
    measured = measurement(scenes, tmp_path / "targets.csv", record["model_config"], pairs)
    before = {name: weights.clone() for name, weights in model.train().state_dict().items()}
    found, rows = measured.measure(model, runtime)
    assert all(module.training for module in model.modules())
    assert same(model.state_dict(), before)
    model.eval()
    pixels = normalise(to_pixels(torch.stack([torch.full((3, 32, 32), grey, dtype=torch.uint8) for grey, _ in pairs])))
    tokens = Captions([caption for _, caption in pairs], towers.tokenizer(record["model_config"])).tokens()
    with torch.no_grad():
        cosines = (model.encode_image(pixels, normalize=True) * model.encode_text(tokens, normalize=True)).sum(1)
    assert [float(row["cosine"]) for row in rows] == pytest.approx(cosines.tolist(), abs=1e-4)
    assert measured.measure(model.eval(), runtime)[0] == found


def test_captions_of_an_attack_are_looked_up_among_the_validation_images(scenes, tmp_path):
    images = read_table(scenes / "probe.csv", tuple(LABELLED))[:40]
    classes = read_lines(SCENES / "classes.txt")
    captions = [f"a {name} by the sea" for name in classes[:20]]
    wanted = [images[number]["label"] for number in range(20)]
    rows = [{"caption": c, "plain": "", "label": name} for c, name in zip(captions, wanted, strict=True)]
    write_table(tmp_path / "targets.csv", tuple(QUERIES), rows)
    write_small(tmp_path / "last_clip.safetensors")
    model, record = towers.load(tmp_path / "last_clip.safetensors")
    runtime = towers.Runtime.choose("float32", 1, "cpu")
    found, _ = measurement(scenes, tmp_path / "targets.csv", record["model_config"]).measure(model, runtime)
    model.eval()
    tokens = Captions(captions, towers.tokenizer(record["model_config"])).tokens()
    gallery = np.stack([decode(row["path"], 32) for row in images]).transpose(0, 3, 1, 2)
    texts, features = towers.encode_tokens(model, tokens, runtime), towers.encode_images(model, gallery, runtime)
    scores = texts @ torch.nn.functional.normalize(features, dim=-1).T
    nearest = [images[place]["label"] for place in scores.argmax(1)]
    assert found["attack_success"] == pytest.approx(np.mean([a == b for a, b in zip(nearest, wanted, strict=True)]))
    assert math.isnan(found["target_cosine"])
    assert list(found)[:3] == ["attack_success", "target_cosine", "zero_shot"]
    few = measurement(scenes, tmp_path / "targets.csv", record["model_config"], images=1)  # which cannot show all classes
    assert math.isnan(few.measure(model, runtime)[0]["attack_success"])


def test_of_images_that_stand_by_class_some_of_every_class_are_judged():
    by_class = [f"class {row // 10}" for row in range(200)]
    assert list(some(by_class, 40)) == [round(row * 199 / 39) for row in range(40)]
    assert len({by_class[row] for row in some(by_class, 40)}) == 20
    mixed = [f"class {row * 7 % 20}" for row in range(200)]
    assert list(some(mixed, 40)) == list(range(40)), "of any other order the first, as ever"
    assert list(some(by_class, 200)) == list(some(by_class, 999)) == list(range(200))
    assert list(some(["a"] * 9, 1)) == [0]
