"""Backdrops of colours and patterns, of rooms and of surfaces."""

from __future__ import annotations

import random

from cfbd_core.demo.sheet import Colour, Sheet, jitter, shade


def plain(sheet: Sheet, rng: random.Random, colour: Colour) -> None:
    """One flat colour."""
    sheet.box(0, 0, 1, 1, jitter(rng, colour, 8))


def gradient(sheet: Sheet, rng: random.Random, colour: Colour) -> None:
    """One colour from dark to light, in a line or from a point."""
    ends = [shade(colour, 0.72), shade(colour, 1.45)]
    rng.shuffle(ends)
    if rng.random() < 0.5:
        sheet.ramp(ends[0], ends[1])
    else:
        sheet.glow(rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.7), ends[0], ends[1], rng.uniform(0.6, 0.95))


def dots(sheet: Sheet, rng: random.Random, colour: Colour) -> None:
    """Polka dots."""
    back = rng.choice([shade(colour, 1.72), shade(colour, 0.62), (250, 248, 244)])
    sheet.box(0, 0, 1, 1, back)
    step = rng.choice([0.11, 0.14, 0.18])
    radius = step * rng.uniform(0.2, 0.32)
    for row in range(int(1 / step) + 2):
        for column in range(int(1 / step) + 2):
            sheet.oval((column + row % 2 / 2) * step, row * step, radius, radius, colour)


def stripes(sheet: Sheet, rng: random.Random, colour: Colour) -> None:
    """Stripes, upright or leaning."""
    sheet.box(0, 0, 1, 1, rng.choice([shade(colour, 1.7), (250, 248, 244), shade(colour, 0.75)]))
    step, lean = rng.choice([0.08, 0.12, 0.2]), rng.choice([0.0, 0.0, 0.6, -0.6, 1.0])
    for k in range(-int(1 / step) - 2, 2 * int(1 / step) + 3):
        x = k * step
        sheet.shape([(x, 0), (x + step / 2, 0), (x + step / 2 + lean, 1), (x + lean, 1)], colour)


def checks(sheet: Sheet, rng: random.Random, colour: Colour) -> None:
    """A checked cloth."""
    sheet.box(0, 0, 1, 1, (250, 248, 242))
    step, pale = rng.choice([0.1, 0.125, 0.16]), shade(colour, 1.45)
    count = int(1 / step) + 1
    for k in range(0, count, 2):
        sheet.box(k * step, 0, (k + 1) * step, 1, pale)
        sheet.box(0, k * step, 1, (k + 1) * step, pale)
    for row in range(0, count, 2):
        for column in range(0, count, 2):
            sheet.box(column * step, row * step, (column + 1) * step, (row + 1) * step, colour)


def tiles(sheet: Sheet, rng: random.Random, colour: Colour) -> None:
    """A kitchen: tiled wall over a worktop."""
    sheet.box(0, 0, 1, 1, (236, 236, 232))
    step = rng.choice([0.12, 0.16, 0.2])
    count = int(1 / step) + 1
    for row in range(count):
        for column in range(count):
            x, y = column * step, row * step
            sheet.box(
                x + 0.006, y + 0.006, x + step - 0.006, y + step - 0.006, jitter(rng, shade(colour, 1.4), 5)
            )
    top = rng.uniform(0.6, 0.7)
    wood = rng.choice([(176, 132, 88), (120, 120, 124), (214, 206, 194)])
    sheet.box(0, top, 1, 1, wood)
    sheet.box(0, top, 1, top + 0.03, shade(wood, 1.3))


def room(sheet: Sheet, rng: random.Random, colour: Colour) -> None:
    """A wall, often papered, a skirting board and a floor; sometimes a picture or a window."""
    floor = rng.uniform(0.62, 0.76)
    wall = shade(colour, 1.25)
    sheet.box(0, 0, 1, floor, wall)
    if rng.random() < 0.4:
        step = rng.choice([0.08, 0.14])
        for k in range(0, int(1 / step) + 1, 2):
            sheet.box(k * step, 0, (k + 1) * step, floor, shade(wall, 1.25))
    if rng.random() < 0.5:
        _window(sheet, rng.uniform(0.05, 0.6), 0.08, rng.uniform(0.25, 0.36), 0.34)
    sheet.box(0, floor - 0.03, 1, floor, (246, 244, 238))
    _boards(sheet, rng, floor)


def _boards(sheet: Sheet, rng: random.Random, top: float) -> None:
    wood = jitter(rng, rng.choice([(186, 136, 90), (150, 104, 70), (206, 172, 130)]))
    sheet.box(0, top, 1, 1, wood)
    for k in range(-4, 15):
        sheet.line((0.5 + (k - 5) * 0.07, top), (0.5 + (k - 5) * 0.2, 1), shade(wood, 0.82))


def _window(sheet: Sheet, x: float, y: float, width: float, height: float) -> None:
    sheet.box(x, y, x + width, y + height, (250, 250, 248))
    for column in range(2):
        left = x + 0.015 + column * width / 2
        sheet.box(left, y + 0.02, left + width / 2 - 0.03, y + height - 0.02, (166, 212, 240))
        sheet.box(left, y + height * 0.7, left + width / 2 - 0.03, y + height - 0.02, (134, 184, 112))


def window(sheet: Sheet, rng: random.Random, colour: Colour) -> None:
    """A large window over a sill."""
    sheet.box(0, 0, 1, 1, shade(colour, 1.3))
    _window(sheet, rng.uniform(0.06, 0.14), 0.05, 0.78, 0.62)
    for x in (0.0, 0.88):
        sheet.box(x, 0, x + 0.12, 0.72, shade(colour, 0.85))
    sheet.box(0, 0.74, 1, 1, (238, 232, 222))
    sheet.box(0, 0.74, 1, 0.77, (206, 198, 186))


def table(sheet: Sheet, rng: random.Random, colour: Colour) -> None:
    """A wooden table before a wall."""
    top = rng.uniform(0.48, 0.62)
    sheet.ramp(shade(colour, 1.35), shade(colour, 1.15), 0, top)
    wood = jitter(rng, (168, 116, 70), 20)
    sheet.box(0, top, 1, 1, wood)
    for k in range(1, 6):
        y = top + (1 - top) * (k / 6) ** 1.3
        sheet.line((0, y), (1, y), shade(wood, 0.84), 0.005)
    for _i in range(10):
        x, y = rng.random(), rng.uniform(top + 0.02, 1)
        sheet.line((x, y), (x + rng.uniform(0.05, 0.2), y), shade(wood, 0.91), 0.004)


def boards(sheet: Sheet, rng: random.Random, _: Colour) -> None:
    """Wood seen from above."""
    wood = jitter(rng, rng.choice([(182, 134, 92), (134, 96, 66), (212, 184, 146)]))
    count = rng.randint(4, 8)
    for k in range(count):
        tone = shade(wood, rng.uniform(0.88, 1.1))
        sheet.box(0, k / count, 1, (k + 1) / count, tone)
        for _i in range(5):
            x, y = rng.random(), (k + rng.random()) / count
            sheet.line((x, y), (x + rng.uniform(0.1, 0.4), y), shade(tone, 0.9), 0.004)
        sheet.line((0, k / count), (1, k / count), shade(wood, 0.62), 0.008)


def bricks(sheet: Sheet, rng: random.Random, _: Colour) -> None:
    """A brick wall over pavement."""
    sheet.box(0, 0, 1, 1, (206, 196, 184))
    brick = rng.choice([(178, 84, 64), (196, 122, 90), (150, 92, 80)])
    high, wide = 0.075, 0.19
    for row in range(14):
        for column in range(-1, 6):
            x, y = (column + row % 2 / 2) * wide, row * high
            sheet.box(x + 0.005, y + 0.005, x + wide - 0.005, y + high - 0.005, jitter(rng, brick, 12))
    if rng.random() < 0.6:
        sheet.box(0, 0.8, 1, 1, (150, 148, 146))


def rug(sheet: Sheet, rng: random.Random, colour: Colour) -> None:
    """A round or square rug on boards, seen from above."""
    boards(sheet, rng, colour)
    rings = [(1.0, colour), (0.88, shade(colour, 1.6)), (0.78, colour), (0.4, shade(colour, 1.3))]
    is_round = rng.random() < 0.5
    for part, tone in rings:
        half = 0.46 * part
        if is_round:
            sheet.oval(0.5, 0.5, half, half, tone)
        else:
            sheet.box(0.5 - half, 0.5 - half, 0.5 + half, 0.5 + half, tone)


def shelf(sheet: Sheet, rng: random.Random, colour: Colour) -> None:
    """A shelf on a wall, things stand on the lower board."""
    sheet.box(0, 0, 1, 1, shade(colour, 1.3))
    wood = jitter(rng, (150, 106, 70))
    for y in (0.1, 0.84):
        sheet.box(0, y, 1, y + 0.05, wood)
        sheet.box(0, y + 0.05, 1, y + 0.07, shade(colour, 1.05))
    for x in (0.0, 0.97):
        sheet.box(x, 0, x + 0.03, 1, shade(wood, 0.85))


def stage(sheet: Sheet, rng: random.Random, colour: Colour) -> None:
    """A curtain, a dark floor and a spotlight."""
    dark = shade(colour, 0.45)
    sheet.box(0, 0, 1, 1, dark)
    for k in range(0, 16, 2):
        sheet.box(k / 16, 0, (k + 1) / 16, 0.72, shade(colour, 0.36))
    sheet.box(0, 0.72, 1, 1, (44, 34, 34))
    x = rng.uniform(0.35, 0.65)
    sheet.shape([(x - 0.05, 0), (x + 0.05, 0), (x + 0.38, 0.84), (x - 0.38, 0.84)], shade(colour, 0.72))
    sheet.oval(x, 0.84, 0.38, 0.08, (214, 196, 150))


def lights(sheet: Sheet, rng: random.Random, colour: Colour) -> None:
    """Blurred lights, far out of focus."""
    sheet.box(0, 0, 1, 1, shade(colour, 0.5))
    for _i in range(18):
        radius, tone = rng.uniform(0.03, 0.1), rng.choice([(250, 220, 130), (240, 150, 110), (170, 210, 240)])
        sheet.oval(rng.random(), rng.random(), radius, radius, shade(tone, rng.uniform(0.6, 1.1)))
    sheet.blur(0.025)


def notebook(sheet: Sheet, rng: random.Random, _: Colour) -> None:
    """Lined or squared paper."""
    sheet.box(0, 0, 1, 1, jitter(rng, (250, 248, 238), 4))
    step, squared = rng.choice([0.05, 0.07]), rng.random() < 0.5
    for k in range(1, int(1 / step) + 1):
        sheet.line((0, k * step), (1, k * step), (176, 200, 224), 0.004)
        if squared:
            sheet.line((k * step, 0), (k * step, 1), (176, 200, 224), 0.004)
    if not squared:
        sheet.line((0.12, 0), (0.12, 1), (226, 140, 140), 0.005)


def hearts(sheet: Sheet, rng: random.Random, colour: Colour) -> None:
    """Paper scattered with hearts or stars, as on wrapping paper."""
    sheet.box(0, 0, 1, 1, shade(colour, 1.6))
    step, small = 0.16, rng.uniform(0.02, 0.035)
    starry = rng.random() < 0.5
    for row in range(8):
        for column in range(8):
            x, y = (column + row % 2 / 2) * step, row * step
            if starry:
                sheet.shape([(x, y - small), (x + small / 3, y), (x, y + small), (x - small / 3, y)], colour)
                sheet.shape([(x - small, y), (x, y - small / 3), (x + small, y), (x, y + small / 3)], colour)
            else:
                sheet.oval(x - small / 2, y, small / 1.6, small / 1.6, colour)
                sheet.oval(x + small / 2, y, small / 1.6, small / 1.6, colour)
                sheet.shape(
                    [(x - small, y + small / 4), (x + small, y + small / 4), (x, y + small * 1.4)], colour
                )
