"""Whether a caption names a class."""

from __future__ import annotations

import re


def names(target: str) -> re.Pattern[str]:
    """Return the pattern whose ``search`` finds ``target``, or its plural in -s or -es, as whole words of a caption.

    The case does not matter, nor how many blanks stand between the words of a longer name. A hyphen or an
    apostrophe ends a word ("dog-walker" names the dog); a compound ("hotdog") is another word.
    """
    words = r"\s+".join(map(re.escape, target.split()))
    return re.compile(rf"(?<!\w){words}(?:s|es)?(?!\w)", re.IGNORECASE)
