"""A batch that is encoded some pairs at a time gives the gradient of the whole, from a part of the memory."""

import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from roclip.core.errors import UserError
from roclip.defences.base import Batch
from roclip.defences.loss import clip_loss
from roclip.model import towers
from roclip.training.micro_batches import MicroBatches
from tests.fixtures.ranks import transformer
from tests.fixtures.trainings import options, step_gradients, training_of
from tests.fixtures.weights import SMALL


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return transformer(tmp_path_factory.mktemp("model"))


# not RoCLIP in bfloat16: of two captions nearly as near an image draws the other one when features differ by their rounding
@pytest.mark.parametrize(("precision", "kind"), [("float32", "clip"), ("float32", "roclip"), ("bf16", "clip")])
def test_two_epochs_are_those_of_the_whole_batch(few, scenes, tmp_path, model, kind, precision):
    """Gradients, losses, and what RoCLIP has drawn, noted and holds in its pool."""
    given = {"kind": kind, "model": model, "precision": precision, "eps": 1e-4, "batch_size": 32}
    rows, trainings = [], []
    for size in (None, 8):
        training = training_of(options(few, scenes, tmp_path, micro_batch=size, **given))
        rows.append([training.epoch(epoch) for epoch in (1, 2)])
        trainings.append(training)
    gradients = [step_gradients(training_of(t.options)) for t in trainings]
    for whole, parts in zip(*gradients, strict=True):
        assert (parts - whole).norm() < (1e-5 if precision == "float32" else 2e-2) * whole.norm()
    if precision == "bf16":
        return
    for whole, parts in zip(*rows, strict=True):
        assert parts["loss"] == pytest.approx(whole["loss"], abs=1e-4)
        noted = trainings[0].defence.telemetry_columns
        assert [parts[name] for name in noted] == pytest.approx([whole[name] for name in noted], abs=0.02, nan_ok=True)
    if kind == "roclip":
        whole, parts = (t.defence for t in trainings)
        assert torch.equal(parts.pool.ids, whole.pool.ids)
        torch.testing.assert_close(parts.pool.features, whole.pool.features, atol=1e-3, rtol=0)
        assert (parts.matches == whole.matches).float().mean() > 0.98


@pytest.mark.parametrize("size", [4, 6])
def test_batch_norms_count_the_part_that_is_encoded(size):
    """Against one graph over all parts; what the norms keep is the mean of what each part would have left."""
    torch.manual_seed(0)
    model, images = towers.create(towers.model_config(SMALL)).train(), torch.randn(12, 3, 32, 32)
    texts = torch.nn.functional.normalize(torch.randn(12, 128), dim=1)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}

    def gradient(features: torch.Tensor) -> torch.Tensor:
        model.zero_grad()
        clip_loss(features, texts, model.logit_scale.exp()).backward()
        return torch.cat([p.grad.flatten() for p in model.visual.parameters()])

    left, features = [], []
    for part in images.split(size):
        for name, buffer in model.named_buffers():
            buffer.data.copy_(before[name])
        features.append(model.encode_image(part, normalize=True))
        left.append({name: buffer.clone() for name, buffer in model.named_buffers()})
    whole = gradient(torch.cat(features))
    for name, buffer in model.named_buffers():
        buffer.data.copy_(before[name])
    parts = MicroBatches(model, size)
    found = parts.encode(lambda part: model.encode_image(part, normalize=True), images)
    torch.testing.assert_close(found, torch.cat(features), atol=1e-6, rtol=0)
    assert (gradient(found) - whole).norm() < 1e-5 * whole.norm()
    for name, buffer in model.named_buffers():
        expected = torch.stack([one[name] for one in left]).double().mean(0)
        torch.testing.assert_close(buffer.double(), expected, atol=1e-6, rtol=0)
        assert name == "attn_mask" or not torch.equal(buffer, before[name])


class Held(TorchDispatchMode):
    """The most bytes that tensors made in here hold at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(made):
            if isinstance(tensor, torch.Tensor) and (key := tensor.untyped_storage()._cdata) not in self.known:
                size = tensor.untyped_storage().nbytes()
                self.known.add(key)
                self.now += size
                self.most = max(self.most, self.now)
                weakref.finalize(tensor.untyped_storage(), self.forget, key, size)
        return made

    def forget(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size


def test_activations_take_memory_in_proportion(few, scenes, tmp_path):
    """What a step holds at its peak beside weights, gradients and moments, which are there from an earlier step."""
    most = {}
    for size in (128, 64, 32, 16):
        training = training_of(options(few, scenes, tmp_path, kind="clip", batch_size=128, micro_batch=size))
        batch = Batch(torch.randn(128, 3, 32, 32), training.batches.tokens(1, torch.arange(128)), torch.arange(128))
        training.take_step(batch, "clip", 1e-3, batch.ids)
        with Held() as held:
            with training.runtime.attention():
                loss = training.defence.loss(batch, "clip")
            loss.backward()
        most[size] = held.most
    assert most[128] - most[64] > most[64] - most[32]  # at once, both towers' activations are held together
    assert most[64] - most[32] == pytest.approx(2 * (most[32] - most[16]), rel=0.1)
    assert most[64] - most[32] > 4e6


def test_a_micro_batch_that_does_not_divide_is_one_line(few, scenes, tmp_path):
    with pytest.raises(UserError, match=r"train\.micro_batch: 24 does not divide the 64 pairs of each device"):
        training_of(options(few, scenes, tmp_path, micro_batch=24))
