"""Which settings file a run follows."""

import dagster as dg

from perigee.config import load_settings
from perigee.settings import Settings


class SettingsFile(dg.ConfigurableResource):
    """The settings of a run, read when a step starts: a file that was mended needs no reload."""

    path: str = ""
    """A TOML file; empty for the one that PERIGEE_CONFIG names, or configs/perigee_train.toml."""

    def read(self) -> Settings:
        """The settings, the environment's overrides applied.

        Raises
        ------
        perigee.errors.SettingsError
            Naming the file or the variable, the key, the value and what is allowed.
        """
        return load_settings(self.path or None)
