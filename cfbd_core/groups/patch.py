"""A patch that a group's pictures share: at one place, or at a place of its own in each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cfbd_core.groups.place import (
    HALVED_LOG_VARIANCE,
    LEAST_SIDE,
    Box,
    agreeing_rectangle,
    best_rectangle,
    variance,
)
from cfbd_core.groups.repeated import WINDOW_PIXELS, repeated_patch
from cfbd_core.groups.whiten import Whitener

CONTROL_DRAWS = 9
LEAST_GAIN = 50.0  # of gain: 30 pixels that vary a tenth as much as usual
MOST_AREA_SHARE = 0.25  # of the picture: more is no patch
LEAST_CONTRAST = 0.03  # of the content on 0..1: less is a plain ground, such as a white border
LEAST_CORRELATION = 0.5  # correlation with the mean content: a picture that holds it
LEAST_SHARE = 0.25  # of the group must hold it
MARGIN_PIXELS = 24  # px around the window in which a patch's edges are looked for
LEAST_PICTURES = 4


@dataclass(frozen=True)
class Patch:
    """Where the group's pictures agree most, and what they show there.

    ``boxes`` int (n, 4): left, top, width and height in each picture, ``shows`` bool (n,) which of them hold the patch.
    ``content`` uint8 (h, w, 3) is its mean. ``fixed``: at one place. ``gain`` is how much they agree there, ``null``
    (draws,) how much random sets of control pictures do; ``control_share`` the share of those that hold it.
    ``seen``: it is more than chance.
    """

    boxes: np.ndarray
    shows: np.ndarray
    content: np.ndarray
    fixed: bool
    gain: float
    null: np.ndarray
    control_share: float
    seen: bool

    @property
    def share(self) -> float:
        """Share of the group's pictures that hold it."""
        return float(self.shows.mean())


def fixed_patch(group: np.ndarray, control: np.ndarray, seed: int = 0) -> Patch:
    """Return the rectangle whose content varies least over the group; seen if it beats control pictures' by far."""
    box, gain = _agreeing(group, variance(control))
    rng = np.random.default_rng(seed)
    null = np.zeros(CONTROL_DRAWS)
    size = min(len(group), len(control) // 2)
    for draw in range(CONTROL_DRAWS):
        order = rng.permutation(len(control))
        null[draw] = _agreeing(control[order[:size]], variance(control[order[size:]]))[1]
    left, top, width, height = box
    views = group[:, top : top + height, left : left + width]
    content = views.mean(0)
    if (likeness(views, content) >= LEAST_CORRELATION).any():
        content = views[likeness(views, content) >= LEAST_CORRELATION].mean(0)
    shows = likeness(views, content) >= LEAST_CORRELATION
    others = likeness(control[:, top : top + height, left : left + width], content) >= LEAST_CORRELATION
    seen = (
        gain >= max(LEAST_GAIN, 2 * null.max())
        and min(width, height) >= LEAST_SIDE
        and width * height <= MOST_AREA_SHARE * group.shape[1] * group.shape[2]
        and contrast(content) >= LEAST_CONTRAST
        and shows.mean() >= max(LEAST_SHARE, 2 * others.mean())
    )
    boxes = np.tile(box, (len(group), 1))
    return Patch(boxes, shows, _as_picture(content), True, gain, null, float(others.mean()), bool(seen))


def moving_patch(group: np.ndarray, control: np.ndarray, seed: int = 0) -> Patch:
    """The window that comes again in most pictures, wherever; half of the control sets the bar, the other is tested."""
    bar, test = control[::2], control[1::2]
    whiten = Whitener(control)
    repeated = repeated_patch(group, bar, test, whiten, seed)
    shows = repeated.shows
    corners = repeated.corners
    box = (0, 0, WINDOW_PIXELS, WINDOW_PIXELS)
    if shows.sum() >= LEAST_PICTURES:
        views = _around(group[shows], corners[shows])
        usual = float(variance(control).mean())
        with np.errstate(invalid="ignore"):
            spread = np.nanvar(views, axis=0).mean(2)
        gain_map = np.nan_to_num(
            np.log(usual / (spread + 1e-5)) - HALVED_LOG_VARIANCE, nan=-HALVED_LOG_VARIANCE
        )
        box, gain = best_rectangle(gain_map)
        box = (box[0] - MARGIN_PIXELS, box[1] - MARGIN_PIXELS, box[2], box[3])
        content = _content(views, box)
    else:
        gain, content = 0.0, group[0, :WINDOW_PIXELS, :WINDOW_PIXELS] / 255
    side = group.shape[1]
    boxes = np.column_stack([corners + box[:2], np.tile(box[2:], (len(group), 1))])
    boxes[:, :2] = np.clip(boxes[:, :2], 0, side - boxes[:, 2:])
    seen = (
        shows.sum() >= LEAST_PICTURES
        and shows.mean() >= max(LEAST_SHARE, 2 * repeated.control_shows.mean())
        and contrast(content) >= LEAST_CONTRAST
        and min(box[2:]) >= LEAST_SIDE
    )
    null = np.zeros(0)
    share = float(repeated.control_shows.mean())
    return Patch(boxes, shows, _as_picture(content), False, float(gain), null, share, bool(seen))


def likeness(views: np.ndarray, content: np.ndarray) -> np.ndarray:
    """Correlation of each view (n, h, w, 3) with ``content`` (h, w, 3), float (n,); 0 where one is plain."""
    a = views.reshape(len(views), -1).astype(np.float64)
    b = np.asarray(content, np.float64).ravel()
    a, b = a - a.mean(1, keepdims=True), b - b.mean()
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b)
    cosines: np.ndarray = np.where(norms > 1e-9, a @ b / np.maximum(norms, 1e-9), 0.0)
    return cosines


def contrast(content: np.ndarray) -> float:
    """Mean standard deviation of the colours of ``content`` (h, w, 3), on 0..1 whatever its own scale is."""
    scale = 255 if content.max(initial=0) > 1 else 1
    return float((content / scale).std((0, 1)).mean())


def _agreeing(group: np.ndarray, usual: np.ndarray) -> tuple[Box, float]:
    """Return where the pictures agree, and how far; looked for again among those that hold it, without false alarms."""
    box, gain = agreeing_rectangle(group, usual)
    left, top, width, height = box
    views = group[:, top : top + height, left : left + width]
    is_alike = likeness(views, views.mean(0)) >= LEAST_CORRELATION
    if min(width, height) < LEAST_SIDE or not max(
        2 * LEAST_PICTURES, LEAST_SHARE * len(group)
    ) <= is_alike.sum() < len(group):
        return box, gain
    return agreeing_rectangle(group[is_alike], usual)


def _around(group: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Float32 (n, e, e, 3) on 0..1 around the window of each picture; NaN beyond its edges."""
    side, extent = group.shape[1], WINDOW_PIXELS + 2 * MARGIN_PIXELS
    views = np.full((len(group), extent, extent, 3), np.nan, np.float32)
    for view, picture, (left, top) in zip(views, group, corners, strict=True):
        x, y = int(left) - MARGIN_PIXELS, int(top) - MARGIN_PIXELS
        x0, y0, x1, y1 = max(0, x), max(0, y), min(side, x + extent), min(side, y + extent)
        view[y0 - y : y1 - y, x0 - x : x1 - x] = picture[y0:y1, x0:x1] / np.float32(255)
    return views


def _content(views: np.ndarray, box: Box) -> np.ndarray:
    left, top, width, height = box[0] + MARGIN_PIXELS, box[1] + MARGIN_PIXELS, box[2], box[3]
    part = views[:, top : top + height, left : left + width]
    content: np.ndarray = np.nan_to_num(np.nanmedian(part, axis=0))
    return content


def _as_picture(content: np.ndarray) -> np.ndarray:
    scale = 1 if content.max(initial=0) > 1 else 255
    picture: np.ndarray = np.rint(np.clip(content * scale, 0, 255)).astype(np.uint8)
    return picture
