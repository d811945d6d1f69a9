"""Flagged pairs as suspected targets: groups of alike captions, what they are, and the trigger they share."""
