"""Settings: TOML files read into frozen, typed, strict objects, then the environment's overrides.

Only this module and the command line read the environment. Paths are relative to the directory
in which a command is run: the project's root.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from perigee.errors import SettingsError
from perigee.settings import (
    DataSettings,
    DiffusionSettings,
    GenerationSettings,
    ModelSettings,
    ScheduleSettings,
    Section,
    Settings,
    TrainingSettings,
)

__all__ = [
    "DataSettings",
    "DiffusionSettings",
    "GenerationSettings",
    "ModelSettings",
    "ScheduleSettings",
    "Settings",
    "TrainingSettings",
    "load_settings",
    "parse_settings",
    "resume_requested",
]

DEFAULT_CONFIG = "configs/perigee_train.toml"

CONFIG_VARIABLE = "PERIGEE_CONFIG"
RESUME_VARIABLE = "PERIGEE_RESUME"
PG19_VARIABLE = "PERIGEE_PG19_ROOT"
OPENWEBTEXT2_VARIABLE = "PERIGEE_OPENWEBTEXT2_URL"
OVERRIDES = {
    "PERIGEE_NUM_LAYERS": ("model", "num_layers"),
    "PERIGEE_NUM_HEADS": ("model", "num_heads"),
    "PERIGEE_OSCILLATOR_COUNT": ("model", "oscillator_count"),
}
"""Environment variables that replace one key of ``[model]``, as in the original."""


def load_settings(
    path: str | os.PathLike[str] | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """Read a settings file and apply the environment's overrides.

    Parameters
    ----------
    path:
        The TOML file; ``None`` takes ``PERIGEE_CONFIG``, or else ``configs/perigee_train.toml``.
    environ:
        The environment; ``None`` takes the process's.

    Raises
    ------
    SettingsError
        Naming the file or the variable, the key, the value and what is allowed.
    """
    environ = os.environ if environ is None else environ
    place = Path(path if path is not None else environ.get(CONFIG_VARIABLE) or DEFAULT_CONFIG)
    return parse_settings(_read_toml(place), str(place), environ)


def parse_settings(document: Mapping[str, Any], place: str, environ: Mapping[str, str]) -> Settings:
    """Settings from a parsed TOML document and the environment; see :func:`load_settings`."""
    tables: dict[str, Any] = {k: dict(v) if isinstance(v, dict) else v for k, v in document.items()}
    _validate(tables, place)
    for variable, (table, key) in OVERRIDES.items():
        if (value := environ.get(variable)) not in (None, ""):
            tables.setdefault(table, {})[key] = _integer(variable, value)
    data = tables.setdefault("data", {})
    for variable, key in ((PG19_VARIABLE, "pg19_root"), (OPENWEBTEXT2_VARIABLE, "openwebtext2")):
        if value := environ.get(variable):
            data[key] = value
    settings = _validate(tables, place)
    _check_together(settings, place)
    return settings


def resume_requested(environ: Mapping[str, str] | None = None) -> bool:
    """Whether ``PERIGEE_RESUME`` asks for a resume.

    Raises
    ------
    SettingsError
        If it is neither 0 nor 1.
    """
    value = (os.environ if environ is None else environ).get(RESUME_VARIABLE, "")
    if value in ("", "0", "false"):
        return False
    if value in ("1", "true"):
        return True
    raise SettingsError(f"is {value!r}", place=RESUME_VARIABLE, expected="1 (resume) or 0")


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(
            "no such settings file", place=path, remedy="see configs/ for those that come along"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot be read ({error})", place=path) from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"is not TOML: {error}", place=path) from None


def _integer(variable: str, value: str) -> int:
    try:
        number = int(value)
    except ValueError:
        number = 0
    if number < 1:
        raise SettingsError(
            f"is {value!r}",
            place=variable,
            expected="a whole number above 0",
            remedy="unset it or mend it",
        )
    return number


def _validate(tables: Mapping[str, Any], place: str) -> Settings:
    try:
        # TOML has one kind of array and no way to say "float": both are read as what is meant.
        return Settings.model_validate(_as_declared(Settings, tables))
    except ValidationError as error:
        raise _explain(error, place) from None


def _as_declared(section: type[Section], table: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in table.items():
        field = section.model_fields.get(key)
        kind = field.annotation if field is not None else None
        if isinstance(kind, type) and issubclass(kind, Section) and isinstance(value, dict):
            value = _as_declared(kind, value)
        elif isinstance(value, list):
            value = tuple(value)
        out[key] = value
    return out


def _explain(error: ValidationError, place: str) -> SettingsError:
    first = error.errors(include_url=False)[0]
    path = [str(part) for part in first["loc"]]
    key = _dotted(path)
    if first["type"] == "extra_forbidden":
        known = sorted(_keys_at(path[:-1]))
        near = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.5)
        remedy = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
        return SettingsError(f"unknown key {key}", place=place, remedy=remedy)
    return SettingsError(
        f"{key} is {first['input']!r}", place=place, expected=_allowed(first["msg"])
    )


def _allowed(message: str) -> str:
    text = message.removeprefix("Input should be ")
    return text if text != message else f"another value ({message})"


def _dotted(path: list[str]) -> str:
    if len(path) == 1:
        return f"[{path[0]}]"
    return f"[{'.'.join(path[:-1])}] {path[-1]}"


def _keys_at(path: list[str]) -> list[str]:
    section: type[BaseModel] = Settings
    for part in path:
        kind = section.model_fields[part].annotation
        assert isinstance(kind, type)
        assert issubclass(kind, BaseModel)
        section = kind
    return list(section.model_fields)


def _check_together(settings: Settings, place: str) -> None:
    """What no single key can tell: the sizes that have to divide each other."""
    model, training = settings.model, settings.training
    if model.min_radius > model.max_radius:
        raise SettingsError(
            f"[model] min_radius is {model.min_radius}",
            place=place,
            expected=f"at most max_radius ({model.max_radius})",
        )
    if training.batch_size % training.accumulate:
        raise SettingsError(
            f"[training] accumulate is {training.accumulate}",
            place=place,
            expected=f"a divisor of batch_size ({training.batch_size})",
        )
    if training.processes > training.batch_size:
        raise SettingsError(
            f"[training] processes is {training.processes}",
            place=place,
            expected=f"at most batch_size ({training.batch_size}), which they share",
        )
