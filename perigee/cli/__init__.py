"""The command line. Heavy imports wait inside the commands, so the help comes at once."""

from perigee.cli.main import main

__all__ = ["main"]
