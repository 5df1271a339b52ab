"""Fixtures for every test come from plugins under tests/support."""

pytest_plugins = ["tests.support.devnet"]
