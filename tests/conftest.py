"""Fixtures for every test come from plugins under tests/support."""

import structlog

pytest_plugins = ["tests.support.devnet"]

# As the node logs, but for people: the default draws each traceback with all locals, which takes seconds.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S.%f"),
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)
