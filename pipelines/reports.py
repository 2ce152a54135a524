"""A short report of every run, written as its steps end."""

from pathlib import Path

import dagster as dg

REPORTS = Path("artifacts/dagster/reports")


def write_line(run_id: str, line: str) -> None:
    """Add a line to the report of a run, ``<run id>.md``."""
    REPORTS.mkdir(parents=True, exist_ok=True)
    with (REPORTS / f"{run_id}.md").open("a", encoding="utf-8") as report:
        report.write(f"- {line}\n")


@dg.success_hook(name="report_success")
def report_success(context: dg.HookContext) -> None:
    """A step that ended well."""
    write_line(context.run_id, f"{context.op.name}: done")


@dg.failure_hook(name="report_failure")
def report_failure(context: dg.HookContext) -> None:
    """A step that failed, with its line."""
    error = context.op_exception
    reason = " ".join(str(error).split()) or type(error).__name__
    write_line(context.run_id, f"{context.op.name}: failed: {reason}")
