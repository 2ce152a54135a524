"""The command line. Heavy imports wait inside the commands: the help comes in a tenth of a second."""

from perigee.cli.main import main

__all__ = ["main"]
