"""What can go wrong by a user's hand or a source's fault: one line each, exit status 2.

::

    PerigeeError
    ├── SettingsError       a settings file, an environment variable, a command's argument
    ├── SourceError         a shard, an archive, a server: not there, or not what it should be
    │   └── DownloadError   the server's side of it: status, time-out, a file that changed midway
    ├── ArtifactError       a file this project wrote: missing, damaged, made from something else
    │   └── CheckpointError a checkpoint: missing, damaged, incompatible
    ├── BusyError           another process holds the output or the device
    ├── DeviceError         a device that was asked for and cannot be used
    ├── TrainingError       a training that cannot go on
    │   └── NonFiniteError  a loss or a gradient that is not finite
    ├── Interrupted         a stop that was asked for; the work is kept (exit status 75)
    └── GenerationError     a prompt, a length, a sampler that cannot work together

A mistake of ours is an ``assert`` or an ordinary exception; a ``PerigeeError`` is for the person
at the terminal and says the place, the value, what was expected and what to do.
"""

from __future__ import annotations


class PerigeeError(Exception):
    """A mistake or a fault that its reader can mend. ``str(error)`` is exactly one line.

    Parameters
    ----------
    problem:
        What is wrong, with the value.
    place:
        Where: a file, a key, a URL, a variable. Put in front.
    expected:
        What would have been right.
    remedy:
        What to do about it.
    """

    exit_status = 2

    def __init__(
        self,
        problem: str,
        *,
        place: object = None,
        expected: str | None = None,
        remedy: str | None = None,
    ) -> None:
        self.problem = problem
        self.place = None if place is None else str(place)
        self.expected = expected
        self.remedy = remedy
        line = problem if self.place is None else f"{self.place}: {problem}"
        if expected is not None:
            line += f"; expected {expected}"
        if remedy is not None:
            line += f"; {remedy}"
        super().__init__(" ".join(line.split()))


class SettingsError(PerigeeError):
    """A settings file, an environment variable or a command's argument is wrong."""


class SourceError(PerigeeError):
    """A source of text is missing or is not what it should be."""


class DownloadError(SourceError):
    """A server did not give what was asked of it, after every retry that made sense."""


class ArtifactError(PerigeeError):
    """A file that this project writes is missing, damaged, or was made from something else."""


class CheckpointError(ArtifactError):
    """A checkpoint is missing, damaged, or does not fit the settings or the data."""


class BusyError(PerigeeError):
    """Another process is writing the same output or holds the same device."""


class DeviceError(PerigeeError):
    """A device that was asked for cannot be used, and falling back was not allowed."""


class TrainingError(PerigeeError):
    """Training cannot start or cannot go on."""


class NonFiniteError(TrainingError):
    """A loss or a gradient was not finite; the update was not made."""


class Interrupted(PerigeeError):
    """A signal or an observer asked for a stop, and everything needed to go on is on disk.

    Its exit status is EX_TEMPFAIL of sysexits.h ("try again later"), told apart from a failure's.
    """

    exit_status = 75


class GenerationError(PerigeeError):
    """A prompt, a length or a sampler that cannot work together."""
