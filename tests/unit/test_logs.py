"""The operator's own log: one event a line, the same shape for everybody, and no objects in it."""

import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from agentrun_operator import logs, settings


@pytest.fixture(autouse=True)
def _process_wide_logging() -> Iterator[None]:
    """Put back what ``configure`` changes in the process."""
    root = logging.getLogger()
    before = (root.level, root.handlers[:])
    names = ("kopf", "kopf.objects", "aiohttp.access", "asyncio")
    levels = {name: logging.getLogger(name).level for name in names}
    hooks = threading.excepthook, sys.excepthook
    yield
    logging.captureWarnings(capture=False)
    threading.excepthook, sys.excepthook = hooks
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def configure(**values: Any) -> None:
    """Set up logging as the operator does at its start."""
    logs.configure(settings.Settings(**values))


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """What was logged, parsed; nothing goes to stdout, which belongs to commands."""
    captured = capsys.readouterr()
    assert captured.out == ""
    return [json.loads(line) for line in captured.err.splitlines()]


def test_an_event_is_one_line_with_its_fields_and_its_run(capsys: pytest.CaptureFixture[str]) -> None:
    """Text with line ends in it does not break that."""
    configure()
    structlog.contextvars.bind_contextvars(run="fix-login", agent="coder")
    structlog.get_logger("agentrun_operator.test").info("job_created", job="a\nb é")
    (event,) = lines(capsys)
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "job_created",
        "job": "a\nb é",
        "run": "fix-login",
        "agent": "coder",
        "level": "info",
        "logger": "agentrun_operator.test",
    }


def test_other_libraries_log_in_the_same_shape(capsys: pytest.CaptureFixture[str]) -> None:
    """Their text is formatted, and the run they work for is named too."""
    configure()
    structlog.contextvars.bind_contextvars(run="fix-login")
    logging.getLogger("kopf.activities").warning("retry %d of %s", 1, "x")
    (event,) = lines(capsys)
    assert (event["event"], event["level"], event["logger"]) == ("retry 1 of x", "warning", "kopf.activities")
    assert event["run"] == "fix-login"


def test_an_exception_is_one_line_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    """With its traceback, from us and from others."""
    configure()
    try:
        raise ValueError("the reason")
    except ValueError:
        structlog.get_logger("ours").exception("step_failed")
        logging.getLogger("theirs").exception("failed")
    events = lines(capsys)
    assert [event["event"] for event in events] == ["step_failed", "failed"]
    assert all("ValueError: the reason" in event["exception"] for event in events)


@pytest.mark.filterwarnings("default:beware")
def test_what_python_itself_would_print_is_one_line_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    """A warning, a thread that ends by an error, the process that does; with the run, where one is worked for."""
    configure()
    with structlog.contextvars.bound_contextvars(run="fix-login"):
        warnings.warn("beware", stacklevel=1)

    def fail() -> None:
        with structlog.contextvars.bound_contextvars(run="fix-login"):
            raise ValueError("the reason")

    thread = threading.Thread(target=fail, name="tail-1")
    thread.start()
    thread.join()
    sys.excepthook(ValueError, ValueError("the end"), None)

    warned, failed, ended = lines(capsys)
    assert (warned["logger"], warned["level"], warned["run"]) == ("py.warnings", "warning", "fix-login")
    assert "beware" in warned["event"]
    assert (failed["event"], failed["level"], failed["thread"]) == ("thread_failed", "error", "tail-1")
    assert "ValueError: the reason" in failed["exception"]
    assert (ended["event"], ended["level"]) == ("process_failed", "critical")
    assert "ValueError: the end" in ended["exception"]


def test_of_what_kopf_attaches_only_the_reference_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    """The rest is the object itself, with the prompt in it."""
    configure()
    extra = {"k8s_ref": {"name": "fix-login"}, "k8s_skip": False, "body": {"spec": {"prompt": "xyzzy"}}}
    logging.getLogger("kopf.other").warning("said", extra=extra)
    (event,) = lines(capsys)
    assert event["k8s_ref"] == {"name": "fix-login"}
    assert "xyzzy" not in json.dumps(event)
    assert "k8s_skip" not in event


@pytest.mark.parametrize(
    ("level", "seen"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_the_level_is_the_least_severity_logged(
    capsys: pytest.CaptureFixture[str], level: str, seen: list[str]
) -> None:
    """For our events and those of others alike."""
    configure(log_level=level)
    for logger in (structlog.get_logger("ours"), logging.getLogger("theirs")):
        for severity in ("debug", "info", "warning", "error"):
            getattr(logger, severity)("happened")
    assert [event["level"] for event in lines(capsys)] == seen * 2


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("kopf", "info"),
        ("kopf.reactor", "info"),
        ("asyncio", "info"),
        ("kopf.objects", "warning"),
        ("aiohttp.access", "warning"),
    ],
)
@pytest.mark.parametrize("level", ["debug", "error"])
def test_chatty_libraries_stay_quiet_at_every_level(
    capsys: pytest.CaptureFixture[str], name: str, least: str, level: str
) -> None:
    """kopf logs whole objects at DEBUG; a stricter level still holds for it."""
    configure(log_level=level)
    for severity in ("debug", "info", "warning", "error"):
        getattr(logging.getLogger(name), severity)("happened")
    expected = {"info": ["info", "warning", "error"], "warning": ["warning", "error"]}[least]
    assert [event["level"] for event in lines(capsys)] == (expected if level == "debug" else ["error"])


def test_the_console_format_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """Without colours where nobody sees them."""
    configure(log_format="console")
    structlog.get_logger("ours").info("job_created", job="x")
    captured = capsys.readouterr().err
    assert "job_created" in captured
    assert "job=x" in captured
    assert "\x1b" not in captured
    assert not captured.startswith("{")


def test_configuring_again_replaces_the_handler(capsys: pytest.CaptureFixture[str]) -> None:
    """Two handlers would log every event twice."""
    configure()
    configure()
    logging.getLogger("theirs").warning("once")
    assert len(lines(capsys)) == 1
