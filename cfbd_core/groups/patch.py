"""A patch that a group's pictures share: at one place, or at a place of its own in each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cfbd_core.groups.place import HALVED, LEAST, Box, agreeing_rectangle, best_rectangle, variance
from cfbd_core.groups.repeated import WINDOW, repeated_patch
from cfbd_core.groups.whiten import Whitener

DRAWS = 9
ENOUGH = 50.0  # of gain: 30 pixels that vary a tenth as much as usual
MOST_AREA = 0.25  # of the picture: more is no patch
CONTRAST = 0.03  # of the content on 0..1: less is a plain ground, such as a white border
LIKE = 0.5  # correlation with the mean content: a picture that holds it
SHARE = 0.25  # of the group must hold it
AROUND = 24  # px around the window in which a patch's edges are looked for
LEAST_PICTURES = 4


@dataclass(frozen=True)
class Patch:
    """Where the group's pictures agree most, and what they show there.

    ``boxes`` int (n, 4): left, top, width and height in each picture, of which ``found`` bool (n,) hold the patch.
    ``content`` uint8 (h, w, 3) is its mean. ``fixed``: at one place. ``gain`` is how much they agree there, ``null``
    (draws,) how much random sets of control pictures do; ``control_share`` the share of those that hold it.
    ``seen``: it is more than chance.
    """

    boxes: np.ndarray
    found: np.ndarray
    content: np.ndarray
    fixed: bool
    gain: float
    null: np.ndarray
    control_share: float
    seen: bool

    @property
    def share(self) -> float:
        """Share of the group's pictures that hold it."""
        return float(self.found.mean())


def fixed_patch(group: np.ndarray, control: np.ndarray, seed: int = 0) -> Patch:
    """The rectangle whose content varies least over the group; seen if it beats control pictures' by far."""
    box, gain = _agreeing(group, variance(control))
    rng = np.random.default_rng(seed)
    null = np.zeros(DRAWS)
    size = min(len(group), len(control) // 2)
    for draw in range(DRAWS):
        order = rng.permutation(len(control))
        null[draw] = _agreeing(control[order[:size]], variance(control[order[size:]]))[1]
    left, top, width, height = box
    views = group[:, top : top + height, left : left + width]
    content = views.mean(0)
    if (likeness(views, content) >= LIKE).any():
        content = views[likeness(views, content) >= LIKE].mean(0)
    found = likeness(views, content) >= LIKE
    others = likeness(control[:, top : top + height, left : left + width], content) >= LIKE
    seen = (
        gain >= max(ENOUGH, 2 * null.max())
        and min(width, height) >= LEAST
        and width * height <= MOST_AREA * group.shape[1] * group.shape[2]
        and contrast(content) >= CONTRAST
        and found.mean() >= max(SHARE, 2 * others.mean())
    )
    boxes = np.tile(box, (len(group), 1))
    return Patch(boxes, found, _as_picture(content), True, gain, null, float(others.mean()), bool(seen))


def moving_patch(group: np.ndarray, control: np.ndarray, seed: int = 0) -> Patch:
    """The window that comes again in most pictures, wherever; half of the control sets the bar, the other is tested."""
    bar, test = control[::2], control[1::2]
    whiten = Whitener(control)
    repeated = repeated_patch(group, bar, test, whiten, seed)
    found = repeated.found
    corners = repeated.corners
    box = (0, 0, WINDOW, WINDOW)
    if found.sum() >= LEAST_PICTURES:
        views = _around(group[found], corners[found])
        usual = float(variance(control).mean())
        with np.errstate(invalid="ignore"):
            spread = np.nanvar(views, axis=0).mean(2)
        gain_map = np.nan_to_num(np.log(usual / (spread + 1e-5)) - HALVED, nan=-HALVED)
        box, gain = best_rectangle(gain_map)
        box = (box[0] - AROUND, box[1] - AROUND, box[2], box[3])
        content = _content(views, box)
    else:
        gain, content = 0.0, group[0, :WINDOW, :WINDOW] / 255
    side = group.shape[1]
    boxes = np.column_stack([corners + box[:2], np.tile(box[2:], (len(group), 1))])
    boxes[:, :2] = np.clip(boxes[:, :2], 0, side - boxes[:, 2:])
    seen = (
        found.sum() >= LEAST_PICTURES
        and found.mean() >= max(SHARE, 2 * repeated.control_found.mean())
        and contrast(content) >= CONTRAST
        and min(box[2:]) >= LEAST
    )
    null = np.zeros(0)
    share = float(repeated.control_found.mean())
    return Patch(boxes, found, _as_picture(content), False, float(gain), null, share, bool(seen))


def likeness(views: np.ndarray, content: np.ndarray) -> np.ndarray:
    """Correlation of each view (n, h, w, 3) with ``content`` (h, w, 3), float (n,); 0 where one is plain."""
    a = views.reshape(len(views), -1).astype(np.float64)
    b = np.asarray(content, np.float64).ravel()
    a, b = a - a.mean(1, keepdims=True), b - b.mean()
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b)
    found: np.ndarray = np.where(norms > 1e-9, a @ b / np.maximum(norms, 1e-9), 0.0)
    return found


def contrast(content: np.ndarray) -> float:
    """Mean standard deviation of the colours of ``content`` (h, w, 3), on 0..1 whatever its own scale is."""
    scale = 255 if content.max(initial=0) > 1 else 1
    return float((content / scale).std((0, 1)).mean())


def _agreeing(group: np.ndarray, usual: np.ndarray) -> tuple[Box, float]:
    """Where the pictures agree, and how far; looked for again among those that hold it, without false alarms."""
    box, gain = agreeing_rectangle(group, usual)
    left, top, width, height = box
    views = group[:, top : top + height, left : left + width]
    held = likeness(views, views.mean(0)) >= LIKE
    if min(width, height) < LEAST or not max(2 * LEAST_PICTURES, SHARE * len(group)) <= held.sum() < len(
        group
    ):
        return box, gain
    return agreeing_rectangle(group[held], usual)


def _around(group: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Float32 (n, e, e, 3) on 0..1 around the window of each picture; NaN beyond its edges."""
    side, extent = group.shape[1], WINDOW + 2 * AROUND
    views = np.full((len(group), extent, extent, 3), np.nan, np.float32)
    for view, picture, (left, top) in zip(views, group, corners, strict=True):
        x, y = int(left) - AROUND, int(top) - AROUND
        x0, y0, x1, y1 = max(0, x), max(0, y), min(side, x + extent), min(side, y + extent)
        view[y0 - y : y1 - y, x0 - x : x1 - x] = picture[y0:y1, x0:x1] / np.float32(255)
    return views


def _content(views: np.ndarray, box: Box) -> np.ndarray:
    left, top, width, height = box[0] + AROUND, box[1] + AROUND, box[2], box[3]
    part = views[:, top : top + height, left : left + width]
    content: np.ndarray = np.nan_to_num(np.nanmedian(part, axis=0))
    return content


def _as_picture(content: np.ndarray) -> np.ndarray:
    scale = 1 if content.max(initial=0) > 1 else 255
    picture: np.ndarray = np.rint(np.clip(content * scale, 0, 255)).astype(np.uint8)
    return picture
