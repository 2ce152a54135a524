"""The lines on the terminal, and how a command ends."""

import io
import logging
import sys
from collections.abc import Callable

import click
import dagster as dg
import pytest

from pipelines import terminal
from pipelines.terminal import TerminalHandler, refuse

EXECUTE = ["python", "/opt/bin/dagster", "job", "execute", "-j", "train_perigee"]


@pytest.fixture
def last_lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What would be printed when the command ends; Click's exit status is put back."""
    lines: list[str] = []

    def register(_function: Callable[..., None], line: str, *, err: bool) -> None:
        assert err
        lines.append(line)

    monkeypatch.setattr(terminal.atexit, "register", register)
    monkeypatch.setattr(click.ClickException, "exit_code", 1)
    return lines


def shown(instance: dg.DagsterInstance, body: Callable[[dg.AssetExecutionContext], None]) -> str:
    """What a run of two assets, the first of which has this ``body``, writes on the terminal."""
    stream = io.StringIO()

    @dg.logger
    def to_stream(_init: dg.InitLoggerContext) -> logging.Logger:
        logger = logging.Logger("test", level=logging.INFO)
        logger.addHandler(TerminalHandler(stream))
        return logger

    @dg.asset
    def first(context: dg.AssetExecutionContext) -> None:
        body(context)

    @dg.asset(deps=[first])
    def second() -> None:
        return None

    definitions = dg.Definitions(
        assets=[first, second],
        jobs=[dg.define_asset_job("both", config=dg.RunConfig(loggers={"console": {}}))],
        loggers={"console": to_stream},
    )
    job = definitions.resolve_job_def("both")
    job.execute_in_process(instance=instance, raise_on_error=False)
    return stream.getvalue()


def test_lines_are_short(instance: dg.DagsterInstance) -> None:
    def body(context: dg.AssetExecutionContext) -> None:
        context.log.info("reading shard 2 of 4")
        context.log.warning("the archive holds no more")
        context.log.debug("nobody wants to know")
        context.log.warning("[pipes] did not receive closed message from external process.")

    lines = [line.partition(" ")[2] for line in shown(instance, body).splitlines()]
    assert lines == ["first: reading shard 2 of 4", "first: warning: the archive holds no more"]


def test_a_users_mistake_is_the_last_line_with_status_2(
    instance: dg.DagsterInstance, last_lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "orig_argv", EXECUTE)

    def body(_context: dg.AssetExecutionContext) -> None:
        raise dg.Failure("a.parquet: is cut short; copy it again")

    text = shown(instance, body)
    assert [line.partition(" ")[2] for line in text.splitlines()] == [
        "first: error: a.parquet: is cut short; copy it again"
    ]
    assert last_lines == ["perigee: a.parquet: is cut short; copy it again"]
    assert click.ClickException.exit_code == 2


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("stopped by SIGTERM after step 3", "stopped by SIGTERM after step 3"),
        ("", "interrupted; the same command goes on from what is finished"),
    ],
)
def test_a_stop_is_no_mistake(
    instance: dg.DagsterInstance,
    last_lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
    message: str,
    line: str,
) -> None:
    monkeypatch.setattr(sys, "orig_argv", EXECUTE)

    def body(_context: dg.AssetExecutionContext) -> None:
        raise dg.DagsterExecutionInterruptedError(message)

    shown(instance, body)
    assert last_lines == [f"perigee: {line}"]
    assert click.ClickException.exit_code == 75


def test_what_nobody_foresaw_keeps_its_trace(
    instance: dg.DagsterInstance, last_lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "orig_argv", EXECUTE)

    def body(_context: dg.AssetExecutionContext) -> None:
        raise ZeroDivisionError("a bug of ours")

    text = shown(instance, body)
    assert "a bug of ours" in text
    assert "Stack Trace" in text
    assert last_lines == []
    assert click.ClickException.exit_code == 1


def test_only_a_command_line_ends_so(
    instance: dg.DagsterInstance, last_lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "dagster", "api", "execute_run"])

    def body(_context: dg.AssetExecutionContext) -> None:
        raise dg.Failure("a.parquet: is cut short")

    assert shown(instance, body).count("a.parquet: is cut short") == 2  # the step's, the run's
    assert last_lines == []


def test_broken_settings_end_a_command_and_not_a_server(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "orig_argv", EXECUTE)
    with pytest.raises(SystemExit) as ended:
        refuse("x.toml: unknown key [model] layers")
    assert ended.value.code == 2
    assert capsys.readouterr().err == "perigee: x.toml: unknown key [model] layers\n"
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "dagster", "code-server", "start"])
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="unknown key"):
        refuse("x.toml: unknown key [model] layers")
