"""A training whose options, data or code changed leaves the old checkpoints alone, and resumes from them only if told to."""

import logging
import shutil
from collections import namedtuple
from dataclasses import replace

import pytest

from roclip.core.errors import UserError
from roclip.core.files import read_table
from roclip.model import towers
from roclip.training import train
from roclip.training.estimate import check_disk
from tests.fixtures.trainings import options, outputs, same, stopped, training_of, weights

STEPS = 8  # of an epoch; the second one matches


@pytest.fixture
def eight(few, scenes, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    return options(few, scenes, tmp_path / "model", batch_size=16, epochs=3, roots=("/",))


def test_the_old_state_is_kept_until_the_new_training_ends_and_resumes_the_old_one_meanwhile(
    eight, tmp_path, monkeypatch, caplog
):
    old, new = (replace(eight, epochs=2, learning_rate=rate) for rate in (1e-3, 2e-3))
    whole = replace(new, out=tmp_path / "whole")
    train.run(whole)
    stopped(old, STEPS + 3)
    caplog.clear()
    stopped(new, 2)
    (path,) = eight.out.glob(f"state/*/step{STEPS + 3:09d}.safetensors")
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert said == (
        f"{path} is not resumed from: train.learning_rate was 0.001, is 0.002. It would be with those as they were, or in "
        "spite of them with train.resume_anyway (--resume_anyway true); it is kept until this training has ended"
    )
    caplog.clear()
    stopped(old, STEPS + 5)
    assert f"resumed from step {STEPS + 3}, in epoch 2" in caplog.text
    assert "WARNING" not in caplog.text  # the other one did not go further
    train.run(new)  # from step 2, to the end
    assert outputs(new.out) == outputs(whole.out)
    assert not (new.out / "state").exists()


def test_told_to_it_resumes_from_another_trainings_state_and_the_weights_say_so(eight, tmp_path, monkeypatch, caplog):
    """Epochs 1 and 3 are of CLIP, epoch 2 matches."""
    stopped(eight, 2 * STEPS + 3)
    longer = replace(eight, epochs=5, learning_rate=2e-3)
    stopped(longer, 2)  # one that is not told to starts anew, and its state is not the furthest
    anyway = replace(longer, resume_anyway=True)
    caplog.clear()
    stopped(anyway, 2 * STEPS + 5)
    differing = "train.epochs was 3, is 5, train.learning_rate was 0.001, is 0.002"
    assert f"resumed from step {2 * STEPS + 3}, in epoch 3" in caplog.text
    assert f"resumed although {differing}" in caplog.text
    train.run(longer)  # now a state of its own went furthest
    record = towers.read_record(longer.out / "weights/last_clip.safetensors")
    assert record["arithmetic"] == "float32"
    assert (record["epoch"], record["resumed"]) == (5, [f"at step {2 * STEPS + 3}: {differing}"])
    assert len(read_table(longer.out / "history.csv", ("epoch",))) == 5

    first, second = training_of(eight), training_of(longer)
    for epoch in (1, 2):
        first.epoch(epoch)
    steps = first.steps(3)
    for _ in range(3):
        next(steps)
    steps.close()
    second.restore(*first.state())
    for epoch in (3, 4, 5):
        second.epoch(epoch)
    assert same(second.model.state_dict(), weights(longer.out / "weights/last_clip.safetensors"))


def test_weights_of_epochs_that_were_done_are_taken_over(eight, monkeypatch):
    stopped(eight, 2 * STEPS + 3)
    (kept,) = eight.out.glob("state/*/last_matching.safetensors")
    content = kept.read_bytes()
    train.run(replace(eight, learning_rate=2e-3, resume_anyway=True))
    assert (eight.out / "weights/last_matching.safetensors").read_bytes() == content
    assert towers.read_record(eight.out / "weights/last_clip.safetensors")["resumed"]
    assert "resumed" not in towers.read_record(eight.out / "weights/last_matching.safetensors")


def test_in_an_unchanged_training_it_changes_nothing(eight, tmp_path, monkeypatch):
    whole = replace(eight, out=tmp_path / "whole")
    train.run(whole)
    stopped(eight, 4)
    train.run(replace(eight, resume_anyway=True))
    assert outputs(eight.out) == outputs(whole.out)
    assert "resumed" not in towers.read_record(eight.out / "weights/last_clip.safetensors")


@pytest.mark.parametrize(
    ("at", "change", "said"),
    [
        (3, {"pool_size": 90}, "defence/pool/features is (100, 128) and should be (90, 128), and 2 tensors more"),
        (3, {"kind": "clip"}, "defence/found is too many, and 4 tensors more"),
        (3, {"batch_size": 32}, "it is in an epoch of 8 steps, which now has 4"),
        (2 * STEPS + 1, {"epochs": 1}, "it has 2 epochs, and train.epochs is 1"),
        (2 * STEPS + 1, {"epochs": 2}, "the weights after epoch 1, now the last of the kind clip, were not kept"),
    ],
)
def test_a_state_that_does_not_fit_is_one_line_and_stays(eight, few, scenes, monkeypatch, at, change, said):
    stopped(eight, at)
    before = {path: path.read_bytes() for path in eight.out.rglob("*.safetensors")}
    kind = {"kind": "roclip", "batch_size": 16, "epochs": 3} | change
    o = options(few, scenes, eight.out, roots=("/",), resume_anyway=True, **kind)
    with pytest.raises(UserError) as caught:
        train.run(o)
    newest = max(before, key=lambda path: path.name)
    assert str(caught.value) == (
        f"{newest}: cannot be resumed from: {said}; start without resume_anyway to train from the start"
    )
    assert {path: path.read_bytes() for path in eight.out.rglob("*.safetensors")} == before


def test_between_two_epochs_the_size_of_a_batch_may_change(eight, monkeypatch):
    stopped(eight, STEPS)
    train.run(replace(eight, batch_size=32, resume_anyway=True))
    assert len(read_table(eight.out / "history.csv", ("epoch",))) == 3


def test_a_damaged_state_of_another_training_is_passed_over(eight, monkeypatch, caplog):
    stopped(eight, 3)
    for path in eight.out.glob("state/*/step*"):
        path.write_bytes(b"cut short")
    train.run(replace(eight, learning_rate=2e-3, resume_anyway=True))
    assert f"{path} is passed over" in caplog.text
    assert "resumed" not in towers.read_record(eight.out / "weights/last_clip.safetensors")


def test_checkpoints_that_stay_are_not_counted_as_room(eight, tmp_path, monkeypatch):
    """Free is as much as a training needs, and half of that once another one's state lies in its folder."""
    usage = namedtuple("usage", "total used free")
    needed = check_disk(training_of(eight))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 10**12, needed))
    stopped(eight, 3)
    held = sum(path.stat().st_size for path in eight.out.rglob("step*"))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 10**12, needed - held))
    stopped(eight, 4)  # its own are replaced
    with pytest.raises(UserError, match=r"are free; make room, or remove the 0\.0\d GB of states of other settings in "):
        train.run(replace(eight, seed=4))
