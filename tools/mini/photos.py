"""The photos: read from their tars, split so that nothing shown later as unseen is trained on."""

from __future__ import annotations

import io
import json
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

# No paired caption may name one of imagenette's ten classes (WordNet's synonyms included): they measure
# zero-shot recognition. Text without a picture (glosses, class names) may.
UNPAIRED_NAMES = (
    r"tench(es)?|tinca|english springers?( spaniels?)?|cassette players?|chain ?-?saws?|church(es)?|"
    r"church building|french horns?|garbage trucks?|dust ?carts?|gas pumps?|gasoline pumps?|petrol pumps?|"
    r"island dispensers?|golf ?balls?|parachut\w*|chutes?"
)
_UNPAIRED = re.compile(rf"\b({UNPAIRED_NAMES})\b", re.IGNORECASE)


@dataclass
class Photo:
    """One picture with its captions; ``group`` is the data set, ``label``/``wnid`` its class if it has one."""

    group: str
    key: str
    data: bytes
    captions: list[str]
    label: str | None = None
    wnid: str | None = None

    def image(self) -> Image.Image:
        """The decoded picture, RGB."""
        return Image.open(io.BytesIO(self.data)).convert("RGB")


def read_tars(folder: Path, group: str) -> list[Photo]:
    """Every record of an img2dataset-style folder, in key order."""
    photos = []
    for path in sorted(folder.glob("*.tar")):
        members: dict[str, dict[str, bytes]] = {}
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, kind = member.name.partition(".")
                file = tar.extractfile(member)
                if file is not None:
                    members.setdefault(key, {})[kind] = file.read()
        for key, files in sorted(members.items()):
            record = json.loads(files["json"])
            photos.append(
                Photo(group, key, files["jpg"], record["captions"], record.get("label"), record.get("wnid"))
            )
    return photos


def may_be_paired(caption: str) -> bool:
    """Whether a caption names none of the classes kept for zero-shot evaluation."""
    return not _UNPAIRED.search(caption)


def without_reserved_names(photos: list[Photo]) -> list[Photo]:
    """Drop captions that name a reserved class, and pictures that are left without any."""
    for photo in photos:
        photo.captions = [caption for caption in photo.captions if may_be_paired(caption)]
    return [photo for photo in photos if photo.captions]


def training_photos(data: Path) -> dict[str, list[Photo]]:
    """``flickr`` (even keys, without those ≡ 0 mod 10), ``openstax`` and ``one_each``."""
    flickr = [p for p in read_tars(data / "flickr8k", "flickr") if int(p.key) % 2 == 0 and int(p.key) % 10]
    openstax = read_tars(data / "openstax_photos", "openstax")
    one_each = read_tars(data / "imagenet_one_each", "one_each")
    return {
        photos[0].group: without_reserved_names(photos) for photos in (flickr, openstax, one_each) if photos
    }


def choosing_photos(data: Path) -> list[Photo]:
    """Flickr8k's keys ≡ 0 mod 10: never trained on, used to choose settings."""
    return [p for p in read_tars(data / "flickr8k", "choosing") if int(p.key) % 10 == 0]


def held_out_photos(data: Path, images: int | None = None) -> list[Photo]:
    """Flickr8k's odd keys (the first ``images`` of them): for results only."""
    return [p for p in read_tars(data / "flickr8k", "held_out") if int(p.key) % 2 == 1][:images]


def imagenette_photos(data: Path) -> list[Photo]:
    """The zero-shot set: for results only."""
    return read_tars(data / "imagenette_val", "imagenette")
