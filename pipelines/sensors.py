"""New data is noticed: shards added to PG-19's root, an archive that changed."""

from pathlib import Path

import dagster as dg

from assets.settings_file import SettingsFile
from perigee.files import fingerprint
from perigee.settings import Settings

EMBEDDED = "embedded"


def pg19_state(settings: Settings) -> object:
    """Names, sizes and times of the shards: cheap enough for every minute; hashes come later.

    Raises
    ------
    OSError
        If the root is not there: the tick fails and says so.
    """
    if not settings.data.pg19_root:
        return EMBEDDED
    files = sorted(Path(settings.data.pg19_root).glob("*.parquet"))
    return [[f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in files]


def archive_state(settings: Settings) -> object:
    """ETag and length of a URL, size and time of a file."""
    place = settings.data.openwebtext2
    if not place:
        return EMBEDDED
    if place.startswith(("http://", "https://")):
        from perigee.corpus.openwebtext2 import archive_input

        return archive_input(place).version
    stat = Path(place).stat()
    return [stat.st_size, stat.st_mtime_ns]


@dg.sensor(
    job_name="train_perigee",
    minimum_interval_seconds=600,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description=(
        "A new PG-19 shard or a changed archive starts one training, whose checkpoints are a new "
        "lineage. What is there at the first tick is not new."
    ),
)
def new_source_data(
    context: dg.SensorEvaluationContext, settings_file: SettingsFile
) -> dg.SensorResult | dg.SkipReason:
    """Compares the sources with those of the last tick, which the cursor remembers."""
    settings = settings_file.read()
    state = fingerprint([pg19_state(settings), archive_state(settings)])
    if context.cursor == state:
        return dg.SkipReason("the sources are as they were")
    if context.cursor is None:
        return dg.SensorResult(skip_reason="remembered the sources as they are", cursor=state)
    return dg.SensorResult(run_requests=[dg.RunRequest(run_key=state)], cursor=state)
