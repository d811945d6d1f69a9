"""The transform that gradients pass through, and the search that uses it."""

import numpy as np
import pytest
import torch
from PIL import Image

from cfbd_core.attacks import saved_search
from cfbd_core.attacks.patch_search import (
    GREY_LEVEL,
    Patch,
    PixelTransform,
    Search,
    _batches,
    as_pixels,
    embedded,
    frozen,
    mean_direction,
    optimise,
)
from cfbd_core.embedding.encoders import load_encoder
from cfbd_core.errors import EncoderError, SourceError
from cfbd_core.machine.progress import no_progress
from tests.attacks.tiny_clip import pictures, tiny_encoder


def stack(images):
    return np.stack([np.asarray(image) for image in images])


@pytest.mark.parametrize("encoder", [tiny_encoder, lambda: load_encoder("mini", "cpu")], ids=["tiny", "mini"])
def test_it_equals_the_encoders_transform_at_the_encoders_size(encoder):
    encoder = encoder()
    ours = PixelTransform(encoder)(as_pixels(stack(pictures(3)), "cpu"))
    theirs = torch.stack([encoder.transform(picture) for picture in pictures(3)])
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [32, 160, 256])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_it_differs_by_one_level_at_most_where_the_picture_is_resized(size, interpolation):
    encoder = tiny_encoder(size, interpolation=interpolation)
    ours = PixelTransform(encoder)(as_pixels(stack(pictures(3)), "cpu"))
    theirs = torch.stack([encoder.transform(picture) for picture in pictures(3)])
    assert ours.shape == (3, 3, size, size)
    levels = (ours - theirs).abs() * torch.tensor([0.2, 0.25, 0.3]).view(1, 3, 1, 1) / GREY_LEVEL
    assert levels.max() <= 1.2
    assert levels.mean() < 0.35  # Pillow rounds: a quarter of a level on average


@pytest.mark.parametrize(("size", "side"), [(64, 64), (32, 64), (224, 64), (64, 100)])
def test_pictures_may_have_any_square_size(size, side):
    encoder = tiny_encoder(size)
    small = [picture.resize((side, side)) for picture in pictures(3)]
    ours = PixelTransform(encoder, side)(as_pixels(stack(small), "cpu"))
    theirs = torch.stack([encoder.transform(picture) for picture in small])
    levels = (ours - theirs).abs() * torch.tensor([0.2, 0.25, 0.3]).view(1, 3, 1, 1) / GREY_LEVEL
    assert levels.max() <= (1e-2 if size == side else 1.2)
    theirs = encoder.encode_images(theirs)
    np.testing.assert_allclose(embedded(encoder, stack(small)), theirs, atol=1e-5 if size == side else 0.05)


def test_an_encoder_that_does_something_else_is_refused():
    class Inverting:
        def __init__(self, encoder):
            self.model, self.device, self.id = encoder.model, "cpu", "inverting"
            self.transform = lambda picture: encoder.transform(picture).flip(1)

    with pytest.raises(EncoderError, match="inverting.*choose another"):
        PixelTransform(Inverting(tiny_encoder()))


def test_an_encoder_that_crops_to_another_size_is_refused():
    class Cropping:
        def __init__(self, encoder):
            self.model, self.device, self.id = encoder.model, "cpu", "cropping"
            self.transform = lambda picture: encoder.transform(picture)[:, 8:-8, 8:-8]

    with pytest.raises(EncoderError, match="cropping"):
        PixelTransform(Cropping(tiny_encoder()))


@pytest.mark.parametrize("size", [32, 224])
def test_gradients_of_a_patch_agree_with_finite_differences(size):
    transform = PixelTransform(tiny_encoder(size))
    transform.mean, transform.std = transform.mean.double(), transform.std.double()
    pixels = as_pixels(stack(pictures(2)), "cpu").double()
    start = np.random.default_rng(0).integers(40, 200, (5, 5, 3), dtype=np.uint8)
    mask = np.eye(5, dtype=bool)[::-1].copy()
    patch = Patch(start, mask, (100, 97), "cpu")
    weights = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def value(values):
        patch.values = values
        return (transform(patch.over(pixels)).square() * weights).sum()

    values = patch.values.detach().double().requires_grad_()
    (gradient,) = torch.autograd.grad(value(values), values)
    assert gradient[:, ~torch.from_numpy(mask)].abs().max() == 0
    step = 1e-5
    for channel, row, column in [(0, 0, 4), (1, 2, 2), (2, 4, 0)]:
        moved = torch.zeros_like(values)
        moved[channel, row, column] = step
        slope = (value((values + moved).detach()) - value((values - moved).detach())) / (2 * step)
        assert slope.item() == pytest.approx(gradient[channel, row, column].item(), rel=1e-5)


def test_the_patch_changes_its_place_and_comes_back_as_it_was():
    start = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    mask = np.tri(4, dtype=bool)
    patch = Patch(start, mask, (10, 20), "cpu")
    np.testing.assert_array_equal(patch.pattern(), start)
    before = as_pixels(stack(pictures(2)), "cpu")
    kept = before.clone()
    after = patch.over(before)
    assert torch.equal(before, kept)
    changed = (after != before).any(1)
    assert not changed[:, :20].any()
    assert not changed[:, 24:].any()
    assert not changed[:, :, :10].any()
    assert not changed[:, :, 14:].any()
    assert not changed[:, 20:24, 10:14][:, ~torch.from_numpy(mask)].any()


def search(loss, steps=20, learning_rate=0.05, progress=no_progress):
    encoder = tiny_encoder(32)
    patch = Patch(np.full((4, 4, 3), 128, np.uint8), np.ones((4, 4), bool), (0, 0), "cpu")
    curve = optimise(
        encoder,
        stack(pictures(3)),
        patch,
        loss,
        Search(
            steps=steps,
            learning_rate=learning_rate,
            batch=2,
            seed=0,
            progress=progress,
        ),
    )
    return patch, curve


def test_a_patch_stays_within_the_pixels_however_far_it_is_driven():
    patch, curve = search(lambda images, _: -images[:, 0].mean() + images[:, 1].mean(), learning_rate=1)
    assert patch.values.min() >= 0
    assert patch.values.max() <= 1
    assert (patch.pattern()[..., 0] == 255).all()
    assert (patch.pattern()[..., 1] == 0).all()
    assert curve.shape == (20,)


def test_only_the_patch_learns_and_progress_is_reported():
    encoder, heard = tiny_encoder(32), []
    before = {name: weight.clone() for name, weight in encoder.model.state_dict().items()}
    seen = []

    def loss(images, rows):
        seen.append([w.requires_grad for w in encoder.model.parameters()])
        return encoder.model.encode_image(images).square().sum()

    search(loss, steps=3, progress=lambda *report: heard.append(report))
    assert heard == [("trigger", 1, 3), ("trigger", 2, 3), ("trigger", 3, 3)]
    assert not np.array(seen).any()
    assert all(weight.requires_grad for weight in encoder.model.parameters())
    assert all(torch.equal(weight, before[name]) for name, weight in encoder.model.state_dict().items())


class StoppedError(Exception):
    """Ends a search where a kill would."""


def stopped_search(path, stop_at, told):
    """A search whose loss draws numbers too; it ends after ``stop_at`` steps, and what it tells goes to ``told``."""
    encoder, rng = tiny_encoder(32), np.random.default_rng(7)
    patch = Patch(np.full((4, 4, 3), 128, np.uint8), np.ones((4, 4), bool), (0, 0), "cpu")

    def loss(images, rows):
        return (images.mean((1, 2, 3)) * torch.from_numpy(rng.normal(size=len(rows)))).sum()

    def counted(_stage, done, _total):
        told.append(done)
        if done == stop_at:
            raise StoppedError

    curve = optimise(
        encoder,
        stack(pictures(3)),
        patch,
        loss,
        Search(
            steps=12,
            learning_rate=0.05,
            batch=2,
            seed=0,
            progress=counted,
            rng=rng,
            search_file=path,
        ),
    )
    return patch.values.detach().numpy(), curve


def test_a_stopped_search_goes_on_with_the_very_steps_it_would_have_taken(tmp_path, monkeypatch):
    values, curve = stopped_search(None, 0, [])
    monkeypatch.setattr(saved_search, "SECONDS", 0.0)
    told: list[int] = []
    for stop_at in (5, 6, 9):
        with pytest.raises(StoppedError):
            stopped_search(tmp_path / "search", stop_at, told)
    again, its_curve = stopped_search(tmp_path / "search", 0, told)
    assert told == list(range(1, 13))
    assert np.array_equal(again, values)
    assert np.array_equal(its_curve, curve)
    assert np.ptp(curve) > 0


def test_a_search_is_kept_once_a_minute_and_a_damaged_file_is_told(tmp_path, monkeypatch):
    stopped_search(tmp_path / "search", 0, [])
    assert not (tmp_path / "search").exists()
    monkeypatch.setattr(saved_search, "SECONDS", 0.0)
    stopped_search(tmp_path / "search", 0, [])
    (tmp_path / "search").write_bytes((tmp_path / "search").read_bytes()[:500])
    with pytest.raises(SourceError, match="search: cannot be read as a search.*delete it") as refused:
        stopped_search(tmp_path / "search", 0, [])
    assert "\n" not in str(refused.value)


def test_weights_thaw_after_an_error():
    model = torch.nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    with pytest.raises(ZeroDivisionError), frozen(model):
        assert not model.weight.requires_grad
        raise ZeroDivisionError
    assert model.weight.requires_grad
    assert not model.bias.requires_grad


def test_batches_go_through_all_before_any_comes_again():
    rows = list(_batches(6, 2, 6, seed=3))
    assert sorted(np.concatenate(rows[:3])) == sorted(np.concatenate(rows[3:])) == list(range(6))
    assert [r.tolist() for r in _batches(6, 2, 6, seed=3)] == [r.tolist() for r in rows]
    assert [r.tolist() for r in _batches(6, 2, 6, seed=4)] != [r.tolist() for r in rows]
    assert all(len(r) == 3 for r in _batches(3, 8, 4, seed=0))


def test_embeddings_are_the_encoders_own():
    encoder = tiny_encoder()
    theirs = encoder.encode_images(torch.stack([encoder.transform(p) for p in pictures(3)]))
    np.testing.assert_allclose(embedded(encoder, stack(pictures(3))), theirs, atol=1e-5)
    texts = encoder.encode_texts(["a dog", "a cat"]).sum(0)
    np.testing.assert_allclose(
        mean_direction(encoder, ["a dog", "a cat"]), texts / np.linalg.norm(texts), atol=1e-6
    )


def test_pixels_are_floats_of_the_picture():
    picture = Image.new("RGB", (2, 1), (0, 51, 255))
    assert as_pixels(stack([picture]), "cpu")[0, :, 0, 1].tolist() == pytest.approx([0, 0.2, 1])
