"""Learning from the auditor: what to look at next, and what the rest still hides.

``features`` and ``learner`` re-rank what is left, ``control`` draws pairs at random, ``estimate`` says what the rest
holds by them alone, ``left`` keeps both for an audit, ``queue`` mixes them into what is shown next, ``group_risk``
says which group is.
"""

from cfbd_core.review.control import ControlSample, draw_control, extended, read_control, write_control
from cfbd_core.review.estimate import Estimate, Left, estimate, reviews_needed
from cfbd_core.review.features import ReviewPairs
from cfbd_core.review.group_risk import GroupRisk, riskiest_first
from cfbd_core.review.learner import Risk, learn
from cfbd_core.review.left import KeptControl, WhatIsLeft
from cfbd_core.review.queue import Queue, Shares, next_queue

__all__ = [
    "ControlSample",
    "Estimate",
    "GroupRisk",
    "KeptControl",
    "Left",
    "Queue",
    "ReviewPairs",
    "Risk",
    "Shares",
    "WhatIsLeft",
    "draw_control",
    "estimate",
    "extended",
    "learn",
    "next_queue",
    "read_control",
    "reviews_needed",
    "riskiest_first",
    "write_control",
]
