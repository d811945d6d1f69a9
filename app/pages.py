"""The pages of the app: one view a file, one entry here for each."""

from __future__ import annotations

from typing import NamedTuple


class Page(NamedTuple):
    """A page: ``views/NAME.py`` draws it, ``title`` is what the navigation calls it, ``head`` its heading.

    ``hint`` is what to do there, said until one has understood it. ``needs_audit``: without one that is scored it leads
    to the audits.
    """

    name: str
    title: str
    icon: str
    hint: str
    heading: str = ""
    needs_audit: bool = True

    @property
    def head(self) -> str:
        """What stands at the top of the page."""
        return self.heading or self.title


PAGES = (
    Page(
        "audits",
        "Audits",
        ":material/folder_open:",
        "Open an audit to look at it, or make one of your own pairs. It runs in the background; this page"
        " shows how far it is, and you can close the browser meanwhile.",
        needs_audit=False,
    ),
    Page(
        "coarse",
        "Coarse",
        ":material/filter_1:",
        "The defaults suit most sets. Move a slider to see at once what it would change; nothing is "
        "stored until you press Apply in the sidebar.",
        heading="Coarse stage",
    ),
    Page(
        "fine",
        "Fine",
        ":material/filter_2:",
        "Clean pairs make one hill. Poison makes a second one, far to the right: γ_z belongs in the "
        "valley between them.",
        heading="Fine stage",
    ),
    Page(
        "groups",
        "Suspected targets",
        ":material/target:",
        "Begin with the largest group. One caption over unlike pictures, and the same mark in each of "
        "them: that is poison. Remove the group; one press of Undo brings it back.",
    ),
    Page(
        "review",
        "Review",
        ":material/rate_review:",
        "Hands on the keyboard: X removes, K keeps, U is for later, Z undoes. Each decision is stored at "
        "once, so you can stop at any time.",
    ),
    Page(
        "pairs",
        "Suspicious pairs",
        ":material/photo_library:",
        "These are the pairs that an export leaves out. Keep what is wrongly here; press a picture to "
        "look closer. For many at once, filter first and then decide on all that match.",
    ),
    Page(
        "duplicates",
        "Duplicates",
        ":material/content_copy:",
        "One switch lets every picture and caption count once in the statistics. No pair is removed by that.",
    ),
    Page(
        "map",
        "Map",
        ":material/scatter_plot:",
        "Look for a tight clump of removed pairs. Take the lasso in the chart's corner, draw around it, "
        "and look at the pairs or decide on all of them.",
    ),
    Page(
        "detectors",
        "Detectors",
        ":material/fact_check:",
        "Run two or three. Pairs that several flag and the verdict keeps are worth a look. Mind that some flag a "
        "fixed share of the pairs, in a clean set, too.",
    ),
    Page(
        "evaluate",
        "Evaluate",
        ":material/monitoring:",
        "Of a real set nobody knows the poisons. To see figures here, poison a copy in the Attack lab and"
        " audit that.",
    ),
    Page(
        "log",
        "Log",
        ":material/history:",
        "Something decided by mistake? Find it here and undo it, a whole bulk decision as easily as a "
        "single one.",
    ),
    Page(
        "export",
        "Export",
        ":material/download:",
        "See how many pairs your decisions overrule, give the file a name, and start. Page Train then "
        "trains on what is kept.",
    ),
    Page(
        "train",
        "Train",
        ":material/model_training:",
        "Train once on all and once on what is kept, and compare: ASR should fall to nothing, CA should "
        "stay.",
        needs_audit=False,
    ),
    Page(
        "lab",
        "Attack lab",
        ":material/science:",
        "For a first try keep the defaults: they poison a copy of your pairs and leave the pairs alone. "
        "Then audit the copy.",
        needs_audit=False,
    ),
)
