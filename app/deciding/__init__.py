"""Decisions from the app: on many pairs, who decides, undo."""
