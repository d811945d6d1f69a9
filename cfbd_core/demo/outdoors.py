"""Backdrops under the open sky (and above and below it)."""

from __future__ import annotations

import math
import random

from cfbd_core.demo.sheet import Colour, Sheet, jitter, shade


def _clouds(sheet: Sheet, rng: random.Random, count: int, colour: Colour = (252, 252, 253)) -> None:
    for _ in range(count):
        x, y, size = rng.random(), rng.uniform(0.05, 0.3), rng.uniform(0.05, 0.1)
        for dx, dy, part in ((-1, 0.15, 0.7), (0, -0.2, 1.0), (1, 0.1, 0.8)):
            sheet.oval(x + dx * size, y + dy * size, size * part * 1.2, size * part * 0.7, colour)


def _sky(sheet: Sheet, rng: random.Random, until: float) -> None:
    top = rng.choice([(96, 168, 232), (120, 190, 240), (150, 190, 220), (70, 140, 214)])
    sheet.ramp(top, shade(top, 1.65), 0, until)


def _hills(sheet: Sheet, rng: random.Random, base: float, height: float, fill: Colour) -> None:
    waves = [(rng.uniform(0.3, 1), rng.uniform(1, 4), rng.uniform(0, 6.3)) for _ in range(2)]
    points = [
        (x / 24, base - height * sum(a * math.sin(f * x / 24 * 3 + p) for a, f, p in waves) / 2)
        for x in range(25)
    ]
    sheet.shape([(0, 1), *points, (1, 1)], fill)


def meadow(sheet: Sheet, rng: random.Random, _: Colour) -> None:
    """Sky, hills and grass."""
    horizon = rng.uniform(0.42, 0.62)
    _sky(sheet, rng, horizon + 0.08)
    _clouds(sheet, rng, rng.randint(0, 3))
    _hills(sheet, rng, horizon, 0.06, jitter(rng, (130, 178, 84)))
    grass = jitter(rng, (104, 172, 70))
    _hills(sheet, rng, horizon + 0.12, 0.03, grass)
    for _i in range(26):
        x, y = rng.random(), rng.uniform(horizon + 0.14, 1)
        sheet.line((x, y), (x + 0.012, y - 0.035), shade(grass, 0.82))


def beach(sheet: Sheet, rng: random.Random, _: Colour) -> None:
    """Sky, sea, a line of foam and sand."""
    horizon, shore = rng.uniform(0.3, 0.42), rng.uniform(0.52, 0.62)
    _sky(sheet, rng, horizon)
    _clouds(sheet, rng, rng.randint(0, 2))
    sheet.ramp((38, 120, 178), (96, 200, 206), horizon, shore + 0.06)
    _hills(sheet, rng, shore + 0.015, 0.02, (244, 250, 250))
    sand = jitter(rng, (238, 212, 156))
    _hills(sheet, rng, shore + 0.035, 0.02, sand)
    for _i in range(40):
        sheet.oval(rng.random(), rng.uniform(shore + 0.08, 1), 0.004, 0.003, shade(sand, 0.85))


def sea(sheet: Sheet, rng: random.Random, _: Colour) -> None:
    """Sky over waves."""
    horizon = rng.uniform(0.3, 0.5)
    _sky(sheet, rng, horizon)
    _clouds(sheet, rng, rng.randint(0, 3))
    water = jitter(rng, (40, 112, 176))
    sheet.ramp(shade(water, 1.25), shade(water, 0.7), horizon, 1)
    for _i in range(22):
        x, y = rng.random(), rng.uniform(horizon + 0.03, 1)
        length = 0.03 + 0.1 * (y - horizon)
        sheet.line((x - length, y), (x + length, y), shade(water, 1.5), 0.005 + 0.008 * (y - horizon))


def desert(sheet: Sheet, rng: random.Random, _: Colour) -> None:
    """Dunes under a pale sky."""
    horizon = rng.uniform(0.4, 0.55)
    sheet.ramp((250, 202, 130), (254, 232, 190), 0, horizon + 0.1)
    if rng.random() < 0.6:
        sheet.oval(rng.uniform(0.1, 0.9), rng.uniform(0.08, 0.25), 0.06, 0.06, (255, 246, 214))
    for k, base in enumerate((horizon, horizon + 0.12, horizon + 0.28)):
        _hills(sheet, rng, base, 0.07, shade((226, 168, 98), 1 - 0.09 * k))


def snow(sheet: Sheet, rng: random.Random, _: Colour) -> None:
    """A white landscape in falling snow."""
    horizon = rng.uniform(0.45, 0.6)
    sheet.ramp((150, 178, 206), (216, 228, 240), 0, horizon + 0.1)
    for _i in range(rng.randint(3, 7)):
        _fir(sheet, rng.random(), horizon + 0.03, rng.uniform(0.1, 0.2), (120, 150, 150))
    _hills(sheet, rng, horizon, 0.04, (244, 248, 252))
    _hills(sheet, rng, horizon + 0.2, 0.04, (230, 238, 247))
    for _i in range(45):
        radius = rng.uniform(0.004, 0.01)
        sheet.oval(rng.random(), rng.random(), radius, radius, (255, 255, 255))


def _fir(sheet: Sheet, x: float, y: float, height: float, fill: Colour) -> None:
    for k in range(3):
        half, low = height * (0.34 - 0.08 * k), y - height * 0.26 * k
        sheet.shape([(x - half, low), (x + half, low), (x, low - height * 0.48)], shade(fill, 1 + 0.06 * k))


def forest(sheet: Sheet, rng: random.Random, _: Colour) -> None:
    """Rows of firs."""
    sheet.ramp((172, 206, 190), (214, 230, 196), 0, 0.7)
    floor = jitter(rng, (92, 118, 62))
    for layer in range(3):
        fill = shade(jitter(rng, (58, 122, 74)), 1.3 - 0.2 * layer)
        for k in range(7):
            _fir(sheet, (k + rng.uniform(-0.3, 0.3)) / 6, 0.6 + 0.05 * layer, rng.uniform(0.35, 0.6), fill)
    _hills(sheet, rng, 0.66, 0.03, floor)


def mountains(sheet: Sheet, rng: random.Random, _: Colour) -> None:
    """Snowy peaks over a green foreground."""
    _sky(sheet, rng, 0.7)
    _clouds(sheet, rng, rng.randint(0, 2))
    rock = jitter(rng, (112, 120, 136))
    for _i in range(rng.randint(3, 4)):
        x, top, half = rng.random(), rng.uniform(0.14, 0.34), rng.uniform(0.22, 0.36)
        sheet.shape([(x - half, 0.72), (x, top), (x + half, 0.72)], rock)
        tip, drop = half * 0.28, (0.72 - top) * 0.28
        snow = [(x - tip, top + drop), (x, top), (x + tip, top + drop), (x + tip / 3, top + drop * 0.75)]
        sheet.shape([*snow, (x, top + drop * 1.15), (x - tip / 3, top + drop * 0.8)], (246, 249, 252))
    _hills(sheet, rng, 0.68, 0.03, jitter(rng, (112, 156, 88)))


def sunset(sheet: Sheet, rng: random.Random, _: Colour) -> None:
    """A low sun over a dark plain."""
    horizon = rng.uniform(0.55, 0.68)
    sheet.ramp(rng.choice([(92, 62, 128), (210, 92, 96), (70, 80, 150)]), (255, 186, 96), 0, horizon)
    sheet.oval(rng.uniform(0.15, 0.85), horizon - rng.uniform(0, 0.1), 0.11, 0.11, (255, 236, 160))
    ground = rng.choice([(86, 60, 78), (60, 70, 110), (110, 72, 60)])
    sheet.ramp(shade(ground, 1.25), ground, horizon, 1)


def night(sheet: Sheet, rng: random.Random, _: Colour) -> None:
    """Stars, a moon and a dark hill."""
    sheet.ramp((12, 16, 48), (46, 58, 108))
    for _i in range(50):
        radius = rng.uniform(0.002, 0.006)
        sheet.oval(rng.random(), rng.uniform(0, 0.75), radius, radius, (246, 244, 214))
    x, y = rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.25)
    sheet.oval(x, y, 0.07, 0.07, (244, 238, 200))
    if rng.random() < 0.6:
        sheet.oval(x + 0.035, y - 0.015, 0.06, 0.06, (20, 25, 60))
    _hills(sheet, rng, rng.uniform(0.72, 0.85), 0.05, (16, 30, 40))


def space(sheet: Sheet, rng: random.Random, _: Colour) -> None:
    """Stars and a planet."""
    sheet.glow(
        rng.random(), rng.random(), rng.choice([(60, 30, 90), (20, 50, 90), (70, 30, 50)]), (6, 6, 20), 0.9
    )
    for _i in range(80):
        radius = rng.uniform(0.0015, 0.005)
        sheet.oval(rng.random(), rng.random(), radius, radius, (255, 255, 240))
    x, y, radius = rng.random(), rng.random(), rng.uniform(0.06, 0.16)
    planet = rng.choice([(206, 120, 80), (120, 160, 206), (190, 170, 120), (150, 120, 180)])
    sheet.oval(x, y, radius, radius, planet)
    sheet.oval(x - radius * 0.25, y - radius * 0.2, radius * 0.55, radius * 0.5, shade(planet, 1.2))


def city(sheet: Sheet, rng: random.Random, _: Colour) -> None:
    """Buildings, pavement and a street."""
    _sky(sheet, rng, 0.8)
    x = -0.02
    while x < 1:
        width, top = rng.uniform(0.1, 0.2), rng.uniform(0.12, 0.5)
        wall = jitter(rng, rng.choice([(150, 150, 160), (176, 140, 120), (120, 134, 156), (190, 180, 164)]))
        sheet.box(x, top, x + width, 0.8, wall)
        lamp = rng.choice([(250, 236, 170), (206, 226, 240), (90, 100, 120)])
        for row in range(int((0.72 - top) / 0.07)):
            for column in range(3):
                left = x + width * (0.14 + 0.28 * column)
                sheet.box(left, top + 0.03 + 0.07 * row, left + width * 0.16, top + 0.07 + 0.07 * row, lamp)
        x += width + rng.choice([0, 0, 0.02])
    sheet.box(0, 0.72, 1, 0.79, (178, 178, 176))
    sheet.box(0, 0.79, 1, 1, (86, 88, 94))
    for k in range(5):
        sheet.box(0.06 + 0.22 * k, 0.89, 0.16 + 0.22 * k, 0.905, (240, 236, 210))


def road(sheet: Sheet, rng: random.Random, _: Colour) -> None:
    """A country road to the horizon."""
    horizon = rng.uniform(0.4, 0.5)
    _sky(sheet, rng, horizon)
    _clouds(sheet, rng, rng.randint(0, 2))
    sheet.box(0, horizon, 1, 1, jitter(rng, rng.choice([(140, 176, 92), (206, 180, 122), (120, 160, 96)])))
    x = rng.uniform(0.35, 0.65)
    sheet.shape([(x - 0.03, horizon), (x + 0.03, horizon), (1.05, 1), (-0.05, 1)], (104, 106, 112))
    for k in range(5):
        y0, y1 = horizon + (1 - horizon) * (k / 5) ** 1.6, horizon + (1 - horizon) * ((k + 0.5) / 5) ** 1.6
        x0, x1 = (
            x + (0.5 - x) * (y0 - horizon) / (1 - horizon),
            x + (0.5 - x) * (y1 - horizon) / (1 - horizon),
        )
        sheet.line((x0, y0), (x1, y1), (248, 244, 226), 0.004 + 0.02 * (y0 - horizon))


def park(sheet: Sheet, rng: random.Random, _: Colour) -> None:
    """Lawn, a path and round trees."""
    horizon = rng.uniform(0.42, 0.52)
    _sky(sheet, rng, horizon + 0.05)
    lawn = jitter(rng, (126, 184, 92))
    for k in range(rng.randint(4, 6)):
        x, size = (k + rng.uniform(0, 0.8)) / 5, rng.uniform(0.08, 0.14)
        sheet.box(x - 0.012, horizon - 0.1, x + 0.012, horizon + 0.03, (112, 84, 58))
        sheet.oval(x, horizon - 0.1 - size * 0.6, size, size, jitter(rng, (74, 142, 72)))
    _hills(sheet, rng, horizon + 0.02, 0.02, lawn)
    x = rng.uniform(0.3, 0.7)
    sheet.shape([(x, horizon + 0.04), (x + 0.04, horizon + 0.04), (0.75, 1), (0.2, 1)], (222, 204, 164))


def underwater(sheet: Sheet, rng: random.Random, _: Colour) -> None:
    """Blue depth with bubbles, weed and a sandy floor."""
    sheet.ramp((74, 178, 214), (14, 70, 124))
    for _i in range(14):
        x, y, radius = rng.random(), rng.random(), rng.uniform(0.008, 0.022)
        sheet.oval(x, y, radius, radius, (150, 214, 236))
        sheet.oval(x, y, radius * 0.7, radius * 0.7, (70, 150, 196))
    _hills(sheet, rng, 0.88, 0.03, (196, 178, 128))
    for _i in range(rng.randint(3, 7)):
        x, y, weed = rng.random(), rng.uniform(0.88, 0.98), jitter(rng, (52, 128, 88))
        for k in range(4):
            sheet.oval(x + 0.012 * (-1) ** k, y - 0.05 * k, 0.012, 0.034, weed)


def rain(sheet: Sheet, rng: random.Random, _: Colour) -> None:
    """A gray day: heavy clouds, slanted rain, wet ground."""
    sheet.ramp((122, 132, 146), (186, 194, 202), 0, 0.75)
    _clouds(sheet, rng, 5, (150, 158, 170))
    sheet.ramp((120, 128, 128), (88, 98, 104), 0.75, 1)
    for _i in range(60):
        x, y = rng.random(), rng.random()
        sheet.line((x, y), (x - 0.015, y + 0.05), (212, 224, 236))
    for _i in range(5):
        sheet.oval(rng.random(), rng.uniform(0.8, 0.97), 0.09, 0.015, (156, 170, 182))
