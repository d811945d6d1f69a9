"""What a group's pictures share that others do not: an estimate of the trigger, or an honest "none seen"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from cfbd_core.groups.patch import Patch, fixed_patch, moving_patch
from cfbd_core.groups.pattern import Pattern, common_pattern
from cfbd_core.groups.residual import FULL_SCALE, mean_residual
from cfbd_core.groups.stack import Stack

LEAST_PICTURES = 8  # of the group, and of the control
MOST_PICTURES = 256  # of each: 38 MB
LEAST_AGREEMENT = 0.25  # of two halves' patterns
LEAST_CHANGE = 0.5 / 255  # standard deviation: half a grey level; fainter traces are left by re-encoding
ZOOM_PIXELS = 192  # px
SAMPLE_PICTURES = 12

Kind = Literal["patch at one place", "patch at any place", "stripes", "pattern", "none"]


@dataclass(frozen=True)
class TriggerEstimate:
    """What was found in the pictures of a group, with the pictures that show it.

    ``kind`` "none": nothing beyond chance; ``reason`` says in plain words what was seen and how sure that is.
    ``strength`` 0 to 1: the share of pictures that hold the patch, or how far two halves of the group agree on the
    pattern; ``chance`` is the same for control pictures. ``pictures`` and ``control`` count what was looked at;
    ``missing`` could not be read, ``repeats`` showed a scene again.

    To draw, uint8: ``mean`` and ``residual`` (s, s, 3), grey where there is nothing; ``zoom`` (192, 192, 3) of what
    repeats, None where nothing does. ``index`` int (n,) says which of the group's pictures were looked at, ``boxes``
    int (n, 4) left, top, width and height of the patch in each at the size s, all 0 where it is not. ``samples``
    uint8 (k, s, s, 3) are the first of those that hold it, ``sample_boxes`` theirs. ``patch`` and ``pattern`` are what
    was measured.
    """

    kind: Kind
    reason: str
    strength: float
    chance: float
    pictures: int
    control: int
    missing: int
    repeats: int
    mean: np.ndarray | None
    residual: np.ndarray | None
    zoom: np.ndarray | None
    index: np.ndarray
    boxes: np.ndarray
    samples: np.ndarray
    sample_boxes: np.ndarray
    patch: Patch | None
    pattern: Pattern | None

    @property
    def seen(self) -> bool:
        """Whether anything stands out."""
        return self.kind != "none"


def estimate_trigger(group: Stack, control: Stack, seed: int = 0) -> TriggerEstimate:
    """Look for a patch at one place, then for a pattern, then for a patch anywhere; the first that is seen counts.

    ``control`` are pictures that are not suspected, of the same size.
    """
    if len(group) < LEAST_PICTURES or len(control) < LEAST_PICTURES:
        return _too_few(group, control)
    pictures, others = group.pictures, control.pictures
    pattern = common_pattern(pictures, others, seed)
    patch = fixed_patch(pictures, others, seed)
    change = float(pattern.pattern.std())
    laid_over = (
        pattern.agreement >= max(LEAST_AGREEMENT, 2 * pattern.null.max(initial=0)) and change >= LEAST_CHANGE
    )
    if not patch.seen and not laid_over:
        moving = moving_patch(pictures, others, seed)
        patch = moving if moving.seen else patch
    kind, strength, chance, reason = _description(patch, pattern, laid_over, len(group), len(control))
    boxes = np.where(patch.shows[:, None], patch.boxes, 0) if patch.seen else np.zeros((len(group), 4), int)
    shown = (
        np.flatnonzero(patch.shows)[:SAMPLE_PICTURES]
        if patch.seen
        else np.arange(min(SAMPLE_PICTURES, len(group)))
    )
    return TriggerEstimate(
        kind=kind,
        reason=reason,
        strength=strength,
        chance=chance,
        pictures=len(group),
        control=len(control),
        missing=group.missing,
        repeats=group.repeats,
        mean=np.rint(pictures.mean(0)).astype(np.uint8),
        residual=drawn(mean_residual(pictures, others), FULL_SCALE),
        zoom=_zoom(patch, pattern, kind),
        index=group.index,
        boxes=boxes,
        samples=pictures[shown],
        sample_boxes=boxes[shown],
        patch=patch,
        pattern=pattern,
    )


def drawn(values: np.ndarray, full: float) -> np.ndarray:
    """Signed values as uint8: 0 is grey, ±``full`` white and black."""
    shades: np.ndarray = np.rint(np.clip(127.5 + 127.5 * values / max(full, 1e-9), 0, 255)).astype(np.uint8)
    return shades


def _description(
    patch: Patch, pattern: Pattern, laid_over: bool, n: int, m: int
) -> tuple[Kind, float, float, str]:
    count = int(patch.shows.sum())
    if patch.seen:
        left, top, width, height = patch.boxes[0]
        size = f"{width} × {height} px"
        where = f"at {left}, {top}" if patch.fixed else "at a place of its own in each"
        reason = (
            f"{count} of {n} pictures show the same {size} {where}; "
            f"of the control pictures {100 * patch.control_share:.0f} % do"
        )
        kind: Kind = "patch at one place" if patch.fixed else "patch at any place"
        return kind, patch.share, patch.control_share, reason
    chance = float(pattern.null.max(initial=0))
    agree = (
        f"two halves of the {n} pictures agree on it by {pattern.agreement:.2f}, control pictures by "
        f"{chance:.2f} at most"
    )
    if laid_over and pattern.is_wave:
        across, down, _ = pattern.wave
        return (
            "stripes",
            pattern.agreement,
            chance,
            f"stripes, {across:.1f} waves across and {abs(down):.1f} down: {agree}",
        )
    if laid_over:
        change = 255 * float(pattern.pattern.std())
        reason = f"a pattern of {change:.1f} grey levels lies over the whole picture: {agree}"
        return "pattern", pattern.agreement, chance, reason
    if pattern.agreement >= LEAST_AGREEMENT:
        reason = (
            f"a trace of {255 * float(pattern.pattern.std()):.2f} grey levels, such as editing or re-encoding leaves, "
            f"too faint to be told from it: {agree}"
        )
        return "none", pattern.agreement, chance, reason
    reason = f"{n} pictures share no patch and no pattern beyond what {m} control pictures do"
    return "none", max(0.0, pattern.agreement), chance, reason


def _zoom(patch: Patch, pattern: Pattern, kind: Kind) -> np.ndarray | None:
    if kind == "none":
        return None
    if patch.seen:
        return _enlarged(patch.content)
    middle = pattern.pattern.shape[0] // 2
    part = (
        pattern.pattern
        if kind == "stripes"
        else pattern.pattern[middle - 24 : middle + 24, middle - 24 : middle + 24]
    )
    return _enlarged(drawn(part, 3 * float(part.std())))


def _enlarged(content: np.ndarray) -> np.ndarray:
    """Nearest pixels, so that a pixel stays one; the longer side ``ZOOM_PIXELS`` px, the rest grey."""
    height, width = content.shape[:2]
    longest = max(height, width)
    at = np.arange(ZOOM_PIXELS) * longest // ZOOM_PIXELS
    canvas = np.full((longest, longest, 3), 127, np.uint8)
    canvas[:height, :width] = content
    enlarged: np.ndarray = canvas[at][:, at]
    return enlarged


def _too_few(group: Stack, control: Stack) -> TriggerEstimate:
    few = "the group" if len(group) < LEAST_PICTURES else "the control"
    count = min(len(group), len(control)) if few == "the control" else len(group)
    reason = (
        f"{count} different pictures of {few} could be read; at least {LEAST_PICTURES} are needed to compare"
    )
    mean = np.rint(group.pictures.mean(0)).astype(np.uint8) if len(group) else None
    none = np.zeros((len(group), 4), int)
    return TriggerEstimate(
        kind="none",
        reason=reason,
        strength=0.0,
        chance=0.0,
        pictures=len(group),
        control=len(control),
        missing=group.missing,
        repeats=group.repeats,
        mean=mean,
        residual=None,
        zoom=None,
        index=group.index,
        boxes=none,
        samples=group.pictures[:SAMPLE_PICTURES],
        sample_boxes=none[:SAMPLE_PICTURES],
        patch=None,
        pattern=None,
    )
