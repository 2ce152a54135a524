"""The report that the hooks of a job write."""

from pathlib import Path

import dagster as dg

from pipelines.reports import REPORTS, report_failure, report_success


def test_a_line_a_step(project: Path, instance: dg.DagsterInstance) -> None:
    @dg.asset
    def good() -> None:
        return None

    @dg.asset(deps=[good])
    def bad() -> None:
        raise dg.Failure("a.parquet: is cut short;\ncopy it again")

    @dg.asset(deps=[bad])
    def never() -> None:
        return None

    job = dg.define_asset_job("all_of_them", hooks={report_success, report_failure})
    definitions = dg.Definitions(assets=[good, bad, never], jobs=[job])
    result = definitions.resolve_job_def("all_of_them").execute_in_process(
        instance=instance, raise_on_error=False
    )
    assert (REPORTS / f"{result.run_id}.md").read_text().splitlines() == [
        "- good: done",
        "- bad: failed: a.parquet: is cut short; copy it again",
    ]
