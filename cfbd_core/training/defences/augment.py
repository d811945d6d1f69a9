"""A second view of a picture and of a caption, for losses that compare a modality with itself.

Pictures: SimCLR's views (Chen et al., ICML 2020): a crop of 8 to 100 % of the area, a flip, colour jitter, grey, blur,
with the strengths of RoCLIP's and SafeCLIP's code. CleanCLIP's own code uses AutoAugment instead; METHOD.md §6 asks for
SimCLR's views, and they are what parts a picture from its trigger: AutoAugment never crops, so that a patch stays
in both views and the loss may be solved by it.

Captions: EDA (Wei & Zou, EMNLP 2019), α = 0.1, one of four changes drawn. Its synonyms come from WordNet by way of
nltk, which downloads; here they come from a short list of our own (``SYNONYMS``). A caption without any of its words
is swapped or thinned out.

Every view is a function of its generator alone, and :func:`view_generator` makes one per (seed, epoch, row): the
number of workers and the order of the rows do not matter.
"""

from __future__ import annotations

from typing import Literal, overload

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from cfbd_core.training.streams import stream

AREA = (0.08, 1.0)  # share of the picture that a crop keeps
ASPECT = (3 / 4, 4 / 3)
JITTER = 0.5  # brightness, contrast, saturation: a factor of 1 ± this
HUE = 0.1  # of the colour circle, either way
JITTER_RATE, GREY_RATE, BLUR_RATE, FLIP_RATE = 0.8, 0.2, 0.5, 0.5
BLUR = (0.1, 2.0)  # standard deviation in pixels of a picture of 224; of others in proportion
ALPHA = 0.1  # share of a caption's words that EDA changes, at least one

SYNONYMS = """
photo picture image photograph snapshot; man guy gentleman; woman lady; child kid youngster;
children kids youngsters; boy lad; girl lass; people persons folks; dog hound; cat kitty; horse steed;
bike bicycle; car automobile; road street; rock stone; sea ocean; shore coast; woods forest;
path trail; field meadow; picnic outing; house home; building structure; couch sofa; sidewalk pavement;
shop store; small little tiny; big large huge; young youthful; old elderly aged;
pretty beautiful lovely; happy glad cheerful; fast quick rapid; bad poor; good nice fine; dark dim;
bright luminous; dirty filthy; clean spotless; wet soaked; strange weird odd; cropped trimmed;
blurry fuzzy unclear; many several numerous; close near; beside alongside; jumps leaps;
jumping leaping; runs sprints; running sprinting; walks strolls; walking strolling; looks gazes;
looking gazing; holds grasps; holding grasping; sits rests; sitting resting; rides drives;
shouts yells; throws tosses; throwing tossing
"""  # words that stand for one another in captions, a group up to each semicolon
_SYNONYM: dict[str, list[str]] = {
    word: [other for other in group.split() if other != word]
    for group in SYNONYMS.split(";")
    for word in group.split()
}
Modality = Literal["image", "caption"]


def view_generator(modality: Modality, seed: int, epoch: int, row: int) -> np.random.Generator:
    """Make the generator of one view; all four choose it, each at least 0."""
    return np.random.default_rng(
        stream("image view" if modality == "image" else "caption view", seed, epoch, row)
    )


@overload
def image_view(picture: np.ndarray, rng: np.random.Generator, size: int | None = None) -> np.ndarray: ...
@overload
def image_view(picture: Image.Image, rng: np.random.Generator, size: int | None = None) -> Image.Image: ...
def image_view(
    picture: np.ndarray | Image.Image, rng: np.random.Generator, size: int | None = None
) -> np.ndarray | Image.Image:
    """Draw a SimCLR view of an RGB picture, uint8 (H, W, 3) or PIL; it comes back as what it was, ``size`` × ``size``.

    Without ``size`` as wide and high as the shorter side.
    """
    original = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    side = size or min(original.size)
    view = original.resize(
        (side, side), Image.Resampling.BILINEAR, box=_crop_box(original.width, original.height, rng)
    )
    if rng.random() < FLIP_RATE:
        view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rng.random() < JITTER_RATE:
        view = _jittered(view, rng)
    if rng.random() < GREY_RATE:
        view = view.convert("L").convert("RGB")
    if rng.random() < BLUR_RATE:
        view = view.filter(ImageFilter.GaussianBlur(rng.uniform(*BLUR) * side / 224))
    return np.array(view) if isinstance(picture, np.ndarray) else view


def caption_view(caption: str, rng: np.random.Generator) -> str:
    """Change a caption by one of EDA's four ways; a caption of one word without a synonym stays as it is."""
    words = caption.split()
    if not words:
        return caption
    changes = max(1, int(ALPHA * len(words)))
    known = [place for place, word in enumerate(words) if word.lower() in _SYNONYM]
    way = rng.choice(("replace", "insert", "swap", "delete") if known else ("swap", "delete"))
    if way == "replace":
        for place in rng.permutation(known)[:changes]:
            words[place] = _synonym(words[place], rng)
    elif way == "insert":
        new = [_synonym(words[place], rng) for place in rng.choice(known, changes)]
        for word in new:
            words.insert(int(rng.integers(len(words) + 1)), word)
    elif way == "delete":
        keep = rng.random(len(words)) >= ALPHA
        keep[rng.integers(len(words))] |= not keep.any()
        words = [word for word, stays in zip(words, keep, strict=True) if stays]
    elif len(words) > 1:
        for _ in range(changes):
            one, other = rng.choice(len(words), 2, replace=False)
            words[one], words[other] = words[other], words[one]
    return " ".join(words)


def _crop_box(width: int, height: int, rng: np.random.Generator) -> tuple[float, float, float, float]:
    """Left, top, right, bottom: ten draws of area and aspect, else the largest box in the middle (torchvision)."""
    for _ in range(10):
        area = width * height * rng.uniform(*AREA)
        aspect = np.exp(rng.uniform(np.log(ASPECT[0]), np.log(ASPECT[1])))
        w, h = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return left, top, left + w, top + h
    w, h = min(width, round(height * ASPECT[1])), min(height, round(width / ASPECT[0]))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def _jittered(view: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Brightness, contrast, saturation and hue, in an order that is drawn."""
    factors = rng.uniform(1 - JITTER, 1 + JITTER, 3)
    turn = rng.uniform(-HUE, HUE)
    enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for step in rng.permutation(4):
        view = _turned(view, turn) if step == 3 else enhancers[step](view).enhance(factors[step])
    return view


def _turned(view: Image.Image, turn: float) -> Image.Image:
    """Return the hue moved by ``turn`` of the colour circle."""
    hue, saturation, value = view.convert("HSV").split()
    moved = hue.point(((np.arange(256) + int(turn * 255)) % 256).tolist())
    return Image.merge("HSV", (moved, saturation, value)).convert("RGB")


def _synonym(word: str, rng: np.random.Generator) -> str:
    other = str(rng.choice(_SYNONYM[word.lower()]))
    return other.capitalize() if word[:1].isupper() else other
