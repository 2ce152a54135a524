"""Imported at interpreter start through ``perigee-dagster-cli.pth``: a third of a millisecond.

``dagster job execute`` and ``dagster asset materialize`` take a code location from -f or -m, or
from DAGSTER_MODULE_NAME: they read neither workspace.yaml nor pyproject.toml nor .env. This names
it for these commands, and makes the project's root DAGSTER_HOME for all of Dagster's, but only
where a person stands in such a root and has said nothing else. DAGSTER_MODULE_NAME exported for
every command would not do: those that read workspace.yaml then refuse to start.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence
    from pathlib import Path

MODULE = "pipelines.definitions"
PROGRAMS = ("dagster", "dagster-daemon", "dagster-webserver", "dg")
COMMANDS = (("job", "execute"), ("job", "print"), ("asset", "materialize"), ("asset", "list"))
"""Dagster's commands that take a code location, but read no workspace."""
SHORT_POINTERS = ("-a", "-f", "-m")
POINTERS = ("--autoload-defs-module-name", "--module-name", "--package-name", "--python-file")
POINTER_VARIABLES = ("DAGSTER_MODULE_NAME", "DAGSTER_PACKAGE_NAME", "DAGSTER_PYTHON_FILE")
MATERIALIZE = ("asset", "materialize")
MATERIALIZE_CONFIG = (
    "DAGSTER_CLI_ASSET_MATERIALIZE_CONFIG_JSON",
    '{"loggers": {"console": {}}}',
)
"""What the jobs say of themselves and ``asset materialize`` has to be told: log in short lines."""


def dagster_arguments(argv: Sequence[str]) -> list[str] | None:
    """What follows the program's name if ``argv`` starts Dagster; ``None`` if it does not."""
    rest = list(argv[1:])
    while rest:
        argument = rest.pop(0)
        if argument in ("-X", "-W"):
            rest = rest[1:]
        elif argument == "-m":
            return rest[1:] if rest and rest[0] in PROGRAMS else None
        elif argument == "-c":
            return None
        elif not argument.startswith("-"):
            return rest if argument.rpartition("/")[2] in PROGRAMS else None
    return None


def names_location(arguments: Sequence[str]) -> bool:
    """Whether Dagster's ``arguments`` say themselves where the code is (-mNAME and -m NAME)."""
    return any(a[:2] in SHORT_POINTERS or a.split("=")[0] in POINTERS for a in arguments)


def gives_config(arguments: Sequence[str]) -> bool:
    """Whether Dagster's ``arguments`` hold a configuration, to which none may be added."""
    return any(a[:2] == "-c" or a.startswith("--config") for a in arguments)


def fill_in(arguments: Sequence[str], environ: MutableMapping[str, str], directory: Path) -> None:
    """Set in ``environ`` what Dagster needs and what nobody has said.

    Parameters
    ----------
    arguments:
        Of Dagster's command, its own name left out.
    environ:
        Changed in place.
    directory:
        Where the command is run; nothing happens outside a root of this project.
    """
    names = ("workspace.yaml", "dagster.yaml", "pipelines/definitions.py")
    if not all((directory / name).is_file() for name in names):
        return
    from perigee.threads import wait_patiently

    environ.setdefault("DAGSTER_HOME", str(directory))
    wait_patiently(environ)
    said = any(environ.get(variable) for variable in POINTER_VARIABLES)
    if tuple(arguments[:2]) in COMMANDS and not said and not names_location(arguments[2:]):
        environ["DAGSTER_MODULE_NAME"] = MODULE
        if tuple(arguments[:2]) == MATERIALIZE and not gives_config(arguments[2:]):
            environ.setdefault(*MATERIALIZE_CONFIG)


def start(argv: Sequence[str]) -> None:
    """What every start of an interpreter runs: nothing, unless it is Dagster that starts."""
    arguments = dagster_arguments(argv)
    if arguments is None:
        return
    from pathlib import Path  # 3 ms that other starts of Python shall not pay
    from warnings import filterwarnings

    try:
        fill_in(arguments, os.environ, Path.cwd())
    except OSError:  # the directory is gone, or not ours to look into: Dagster will say so
        return
    # "use 'dg launch' instead": advice that would stand above every run
    filterwarnings("ignore", message="Function `(job_execute|asset_materialize)_command` is super")


start(sys.orig_argv)
