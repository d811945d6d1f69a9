"""The one exception family that users see.

Anything a user can mend is a :class:`CfbdError`: its text is one line that says what was wrong,
where (file, row, column) and what to do. The command line prints it and exits with code 2.
Every other exception is a bug.
"""

from __future__ import annotations


class CfbdError(Exception):
    """A problem the user can mend: one line saying what, where and what to do."""


class SourceError(CfbdError):
    """A source of pairs that cannot be read as it stands."""


class EncoderError(CfbdError):
    """An encoder that cannot be found, downloaded, trusted or used."""


class AuditError(CfbdError):
    """An audit folder that is missing, busy, half-made or made by something else."""


class DecidedMeanwhile(CfbdError):
    """A decision on a pair that someone else has decided on since it was shown; nothing was stored."""


class ParameterError(CfbdError):
    """A parameter outside its range, or one that does not fit the data."""


class TrainingError(CfbdError):
    """A training run that cannot start, go on or be evaluated as it was asked for."""


class PluginError(CfbdError):
    """An attack, a detector or a source of another package that cannot be imported, raises, or answers wrongly."""
