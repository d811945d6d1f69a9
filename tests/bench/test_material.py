"""What a benchmark is measured on: the source without known poisons, captions that were given, F."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cfbd_core.bench.material import GivenCaptions, Mappings, Material
from cfbd_core.bench.options import BenchOptions
from cfbd_core.embedding.encoder_files import file_sha256
from cfbd_core.embedding.mapping import Mapping
from cfbd_core.errors import EncoderError, ParameterError, SourceError
from cfbd_core.poisoning.plan import PoisonParams
from tests.toy import ToyEncoder

NATURAL = PoisonParams("badnets", captions="natural", targets=("sushi",))


def test_known_poisons_are_no_part_of_it_nor_are_their_pictures(toy_source) -> None:
    found = Material.read(str(toy_source(80, poisoned=(0, 41, 79))), BenchOptions())
    assert len(found.captions) == found.pairs.table.num_rows == 77
    assert not any("banana" in caption for caption in found.captions)
    assert found.pairs.record_of.tolist() == [row for row in range(80) if row not in (0, 41, 79)]
    assert {Path(place.file).stem for place in found.pairs.places()}.isdisjoint({"0000", "0041", "0079"})
    poison = found.plan(PoisonParams("badnets", 0.02)).poisons
    assert len(poison) == round(0.02 * 77)


def test_too_few_pairs_and_pictures_that_cannot_be_read_are_told(toy_source) -> None:
    with pytest.raises(ParameterError, match="49 pairs .* too few"):
        Material.read(str(toy_source(60, poisoned=tuple(range(11)))), BenchOptions())
    broken = toy_source(60, name="broken")
    for picture in broken.parent.glob("*.png"):
        picture.write_bytes(b"no picture")
    with pytest.raises(SourceError, match="not one picture"):
        Material.read(str(broken), BenchOptions())


def test_optimised_triggers_see_the_pool_then_the_keys_left_out_then_the_source(toy_source) -> None:
    source, other = str(toy_source(120)), str(toy_source(20, name="other", seed=9))

    def pixels(options: BenchOptions) -> set[bytes]:
        return {picture.tobytes() for picture in Material.read(source, options).pool(1000)}

    every, odd = pixels(BenchOptions()), pixels(BenchOptions(keys="even"))
    given = pixels(BenchOptions(pool=other))
    assert len(every) == 120
    assert len(odd) == 60
    assert odd < every
    assert len(given) == 20
    assert not given & every


def given(
    tmp_path: Path, targets: tuple[str, ...] = ("sushi",), text: str = "a sushi\n\nfish\n"
) -> GivenCaptions:
    (tmp_path / "own.txt").write_text(text, encoding="utf-8")
    return GivenCaptions.read(BenchOptions(targets=targets, captions_file=tmp_path / "own.txt"))


def test_given_captions_are_for_natural_captions_of_the_targets_asked_for(tmp_path: Path) -> None:
    own = given(tmp_path)
    assert own(NATURAL) == ["a sushi", "fish"]  # of one target all are, whether they name it or not
    assert own(PoisonParams("badclip", targets=("Sushi",))) == ["a sushi", "fish"]
    assert own(PoisonParams("badnets", targets=("sushi",))) is None  # templates
    assert own(PoisonParams("mmpoison", targets=("dog",))) is None
    assert own(PoisonParams("none", targets=("sushi",))) is None
    assert GivenCaptions.read(BenchOptions())(NATURAL) is None
    assert given(tmp_path, targets=())(PoisonParams("badclip")) == ["a sushi", "fish"]  # of banana


def test_of_several_targets_each_gets_the_given_captions_that_name_it(tmp_path: Path) -> None:
    own = given(tmp_path, ("sushi", "ramen", "soba"), "a sushi\nhot ramen\nfish\n")
    assert own(NATURAL) == ["a sushi"]
    assert own(PoisonParams("badnets", captions="natural", targets=("sushi", "ramen"))) == [
        "a sushi",
        "hot ramen",
    ]
    with pytest.raises(ParameterError, match="none of the 3 captions given names soba"):
        own(PoisonParams("badnets", captions="natural", targets=("soba",)))


def test_f_is_a_file_or_trained_on_the_pairs(tmp_path: Path, toy_mapping) -> None:
    encoder = ToyEncoder()
    path = toy_mapping("f")
    assert Mappings(str(path), encoder).sha256 == file_sha256(path)
    for spec in ("self", "auto"):
        assert Mappings(spec, encoder).sha256 == "self"
    with pytest.raises(EncoderError, match="no such file"):
        Mappings(str(tmp_path / "g"), encoder)
    with pytest.raises(EncoderError, match="belongs to encoder"):
        Mappings(str(path), ToyEncoder(sha256="1" * 64))


def test_f_to_be_trained_needs_pictures(toy_mapping) -> None:
    few = np.repeat(np.arange(39), 5)
    with pytest.raises(ParameterError, match="39 pictures are too few"):
        Mappings("self", ToyEncoder()).check_enough(few)
    Mappings("self", ToyEncoder()).check_enough(np.arange(40))
    Mappings(str(toy_mapping("f")), ToyEncoder()).check_enough(few)


def test_f_from_a_file_is_used_as_it_is(toy_mapping) -> None:
    path = toy_mapping("f")
    image = np.random.default_rng(0).standard_normal((50, ToyEncoder.width)).astype(np.float32)
    found = Mappings(str(path), ToyEncoder())(image, image, np.arange(50))
    np.testing.assert_array_equal(found(image), Mapping.load(path)(image))
