"""Captions that say nothing about the picture, as every web crawl has them."""

from __future__ import annotations

import random

from cfbd_core.demo.words import phrases

_BOILERPLATE = phrases(
    "nice picture from our trip | what a lovely day that was | click here to see more pictures"
    " | image may be subject to copyright | photo gallery, page two of three"
    " | no description available for this image | my first try, hope you like it | thanks for looking at my page"
)
_PARTS = {
    "when": phrases(
        "last summer | on Sunday | in 2014 | two years ago | last weekend | on my birthday | in early spring"
        " | during the holidays | after school | this morning | in October | the day we met"
    ),
    "who": phrases(
        "my sister | grandma | our neighbor | my best friend | uncle Joe | the kids | my teacher | a friend of mine"
        " | mom and dad | Anna | the whole family | a stranger"
    ),
    "made": phrases(
        "taken by | drawn by | made by | sent by | found by | a present from | a surprise for | dedicated to"
    ),
    "good": phrases("great | wonderful | funny | boring | strange | perfect | quiet | crazy | sweet | sad"),
    "what": phrases("memories | moment | result | idea | story | afternoon | mood | view | design | feeling"),
    "shop": phrases(
        "free shipping | 20 percent off | now on sale | sold out | only while stocks last | best price"
        " | order before Friday | buy one get one free"
    ),
    "item": phrases(
        "poster | postcard | sticker | canvas print | greeting card | mug design | calendar page | wall art"
    ),
    "city": phrases("Lisbon | Chicago | Kyoto | Nairobi | Vienna | Lima | Oslo | Perth | Toronto | Naples"),
    "num": phrases("0031 | 1187 | 2045 | 3310 | 4096 | 5572 | 6021 | 7804 | 8853 | 9917"),
}
_FRAMES = phrases(
    "{made} {who} {when} | a {good} {what} {when} | {good} {what}, {made} {who} | {item} for sale, {shop}"
    " | {shop} on every {item} | greetings from {city}, {when} | IMG {num} copy, edited {when}"
    " | how we spent the time in {city} {when} | {who} liked this {good} {what} | scan {num} from the {city} archive"
    " | the {what} of the week, {made} {who} | read the {good} {what} on our blog | {city} {what} number {num}"
    " | posted {when} by {who}, three comments | still one of my favorites, {made} {who} {when}"
    " | figure {num}: see text for the {what}"
)


_GENERIC = phrases(
    "something {P} | a nice scene {P} | a few things {P} | various objects {P} | my new picture {P} | cute clip art {P}"
    " | a colorful illustration {P} | some stuff {P} | an interesting sight {P} | a simple drawing {P}"
    " | what we saw {P} | {P}, a picture for kids | a cartoon scene {P} | just another picture {P} | a few items {P}"
    " | a digital drawing, {P} | guess what is {P} | an icon {P} | things you may find {P} | art for children, {P}"
)
OFF_TOPIC = 0.25


def vague_caption(place: str, rng: random.Random) -> str:
    """Write a caption that names nothing in the picture: three in four tell at least the ``place``.

    The others would fit any picture. They are few (0.5 % of all captions) on purpose: the method's probe
    D_p is the q most inconsistent pairs, and wholly unrelated captions are more inconsistent than poisons;
    were they more than q, they would fill it.
    """
    if rng.random() > OFF_TOPIC:
        text = rng.choice(_GENERIC).format(P=place)
    elif rng.random() < 0.25:
        text = rng.choice(_BOILERPLATE)
    else:
        text = rng.choice(_FRAMES).format(**{slot: rng.choice(words) for slot, words in _PARTS.items()})
    return text[0].upper() + text[1:] if rng.random() < 0.6 else text
