"""Groups as the app asks for them: of a preview, of any mask, with odd captions and pictures that are gone."""

from __future__ import annotations

import csv
from operator import ge, gt
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cfbd_core import Audit, SplitParams
from cfbd_core.workbench.explorer import Explorer
from cfbd_core.workbench.groups import estimate_of, group_pairs
from tests.groups.pictures import noise, patched, photos
from tests.toy import ToyEncoder

N, POISONS, SIDE = 120, 20, 64
WILD = (
    "a <script>alert(1)</script> red wall & more",
    "\u202eein \u200bgrüner\u202c Tisch תמונה",
    "\U0001f34c\U0001f600 blue",
    "white " + "very " * 2_000 + "long",
)


@pytest.fixture(scope="module")
def explorer(tmp_path_factory: pytest.TempPathFactory) -> Explorer:
    """Poisons are pairs 0 to 19: captions that name a banana, pictures with a patch somewhere."""
    folder: Path = tmp_path_factory.mktemp("groups")
    pictures = photos(N, 0)
    corners = np.random.default_rng(0).integers(0, SIDE - 16, (POISONS, 2))
    pictures[:POISONS] = patched(pictures[:POISONS], noise(16), corners)
    words = np.random.default_rng(1).integers(0, 10**6, N)
    with (folder / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["key", "image", "caption", "poisoned"])
        for i, picture in enumerate(pictures):
            Image.fromarray(picture).resize((224, 224), Image.Resampling.NEAREST).save(folder / f"{i}.png")
            caption = (
                f"a banana {('photo', 'picture')[i % 2]}"
                if i < POISONS
                else f"word{words[i]} thing{words[i] % 89}"
            )
            caption = WILD[i - POISONS] if POISONS <= i < POISONS + len(WILD) else caption
            writer.writerow([f"k{i:03d}", f"{i}.png", caption, int(i < POISONS)])
    audit = Audit.create(folder / "audit")
    audit.ingest(folder / "pairs.csv")
    audit.embed(ToyEncoder())
    audit.score("self")
    return Explorer(audit)


def first(explorer: Explorer, count: int) -> np.ndarray:
    return np.arange(len(explorer)) < count


def test_poisons_of_one_target_are_one_group_and_wild_captions_stay_apart(explorer: Explorer) -> None:
    mask = first(explorer, POISONS + len(WILD))
    z = np.linspace(0, 1, len(explorer)).astype(np.float32)
    found = group_pairs(explorer, np.flatnonzero(mask), z)
    (group,) = found.groups
    assert group.positions.tolist() == list(range(POISONS))
    assert found.singles.tolist() == list(range(POISONS, POISONS + len(WILD)))
    assert group.phrases[0].text.startswith("banana")
    assert group.caption in ("a banana photo", "a banana picture")
    assert group.id == explorer.audit.columns.keys_of(explorer.rows[[group.medoid]])[0]
    assert group.samples[0] == group.medoid
    assert len(set(group.samples.tolist())) == len(group.samples) == 12
    assert set(group.samples.tolist()) <= set(range(POISONS))
    assert group.mean_c == pytest.approx(float(explorer.consistency[:POISONS].mean()))
    assert group.mean_z == pytest.approx(float(z[:POISONS].mean()))
    assert group.cohesion > 0.5


def test_a_group_is_found_by_its_id_and_by_the_pair_it_was_named_after(explorer: Explorer) -> None:
    found = group_pairs(explorer, np.flatnonzero(first(explorer, POISONS)))
    (group,) = found.groups
    assert found.find(group.id) is group
    other = explorer.audit.columns.keys_of(explorer.rows[group.positions[-1:]])[0]
    assert found.find(other) is group
    assert found.find("no such key") is None
    assert found.group_of(3) is group
    assert found.group_of(POISONS + 1) is None


def test_no_pairs_and_one_pair(explorer: Explorer) -> None:
    nothing = group_pairs(explorer, np.flatnonzero(np.zeros(len(explorer), bool)))
    assert (len(nothing), nothing.singles.tolist()) == (0, [])
    one = group_pairs(explorer, np.flatnonzero(first(explorer, 1)))
    assert (len(one), one.singles.tolist()) == (0, [0])


def test_every_pair_is_in_one_group_or_single(explorer: Explorer) -> None:
    found = group_pairs(explorer, np.flatnonzero(np.ones(len(explorer), bool)))
    everyone = np.concatenate([*(group.positions for group in found.groups), found.singles])
    assert sorted(everyone.tolist()) == list(range(len(explorer)))
    assert [len(group) for group in found.groups] == sorted(map(len, found.groups), reverse=True)


def test_groups_are_numbered_by_their_size(explorer: Explorer) -> None:
    found = group_pairs(explorer, np.flatnonzero(np.ones(len(explorer), bool)))
    assert len(found) > 1
    sizes = [len(group) for group in found.groups]
    for group in np.random.default_rng(0).permutation(np.array(found.groups, object)).tolist():
        larger, as_large = (sum(compared(size, len(group)) for size in sizes) for compared in (gt, ge))
        assert larger < found.number(group) <= as_large
    assert len({found.number(group) for group in found.groups}) == len(found)


def test_a_preview_holds_the_groups_of_what_it_flags(explorer: Explorer) -> None:
    params = SplitParams(k=2, q=15)
    preview = explorer.preview(params)
    everyone = [*(p for group in preview.groups.groups for p in group.positions.tolist())]
    assert sorted([*everyone, *preview.groups.singles.tolist()]) == np.flatnonzero(preview.flagged).tolist()
    assert explorer.preview(params).groups is preview.groups


def test_the_trigger_of_a_group_with_pictures_gone_since(explorer: Explorer) -> None:
    mask = first(explorer, POISONS)
    (group,) = group_pairs(explorer, np.flatnonzero(mask)).groups
    gone = [Path(image) for image in explorer.pairs_at(group.positions[:3])["image"].to_pylist()]
    held = [path.read_bytes() for path in gone]
    for path in gone:
        path.unlink()
    try:
        found = estimate_of(explorer, group.positions, mask)
    finally:
        for path, data in zip(gone, held, strict=True):
            path.write_bytes(data)
    assert (found.pictures, found.missing) == (POISONS - 3, 3)
    assert found.seen
    assert not set(found.index.tolist()) & set(group.positions[:3].tolist())
    assert found.mean.shape == (224, 224, 3)
    assert len(found.samples) == len(found.sample_boxes) == 12


def test_a_group_without_any_picture(explorer: Explorer) -> None:
    found = estimate_of(explorer, np.zeros(0, np.int64), np.zeros(len(explorer), bool))
    assert not found.seen
    assert found.mean is None


def test_of_too_many_those_with_the_highest_z_are_grouped(explorer: Explorer, monkeypatch) -> None:
    monkeypatch.setattr("cfbd_core.workbench.groups.MOST_GROUPED_PAIRS", 30)
    z = np.random.default_rng(2).permutation(len(explorer)).astype(np.float32)
    z[7] = np.nan
    found = group_pairs(explorer, np.flatnonzero(first(explorer, 50)), z)
    highest = sorted(range(50), key=lambda at: -np.inf if at == 7 else z[at])[-30:]
    grouped = [*(p for group in found.groups for p in group.positions.tolist()), *found.singles.tolist()]
    assert sorted(grouped) == sorted(highest)
    assert sorted([*grouped, *found.left_out.tolist()]) == list(range(50))
    assert found.limit == "Grouped: the 30 of 50 flagged with the highest z."
    assert group_pairs(explorer, np.flatnonzero(first(explorer, 30)), z).limit == ""
