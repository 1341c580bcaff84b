"""The operator's own log: structured, one event a line, the same shape for this package and for kopf.

Log events are snake_case with fields; ``run``, ``agent`` and ``company`` come from the context of the run. Prompts and
secrets never get here: no object is ever logged, only names and numbers. kopf logs whole objects at DEBUG, so its
loggers stay at INFO whatever the level; where it names only the object, that is the run.
"""

import logging
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

import structlog

from agentrun_operator import names, settings

_CHATTY = {
    "kopf": logging.INFO,
    "kopf.objects": logging.WARNING,
    "aiohttp.access": logging.WARNING,
    "asyncio": logging.INFO,
}


def configure(config: settings.Settings) -> None:
    """Set up logging of the whole process; call it once, before anything is logged."""
    handler = logging.StreamHandler()  # standard error
    shared: list[Callable[..., Any]] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: Callable[..., Any] = (
        structlog.processors.JSONRenderer()
        if config.log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=handler.stream.isatty())
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            # kopf attaches the reference of the object it speaks of; everything else it attaches is the object itself.
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder(allow=["k8s_ref"]), _name_run],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    level = logging.getLevelNamesMapping()[config.log_level.upper()]
    logging.basicConfig(level=level, handlers=[handler], force=True)
    _catch_the_rest()
    for name, least in _CHATTY.items():
        logging.getLogger(name).setLevel(max(level, least))


def _catch_the_rest() -> None:
    """What Python itself would print as plain text: warnings, and the end of a thread or of the process by an error."""
    logging.captureWarnings(capture=True)
    log = structlog.get_logger(__name__)

    def thread_failed(told: threading.ExceptHookArgs) -> None:
        if told.exc_value is not None and not isinstance(told.exc_value, SystemExit):
            log.error("thread_failed", thread=told.thread.name if told.thread else "", exc_info=told.exc_value)

    def process_failed(_kind: type[BaseException], error: BaseException, _trace: types.TracebackType | None) -> None:
        log.critical("process_failed", exc_info=error)

    threading.excepthook = thread_failed
    sys.excepthook = process_failed


def _name_run(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    ref = event.get("k8s_ref")
    if isinstance(ref, dict) and ref.get("kind") == names.KIND and "run" not in event:
        event["run"] = f"{ref.get('namespace')}/{ref.get('name')}"
    return event
