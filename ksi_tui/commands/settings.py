"""The settings that a command runs with: the file, and the common options over it."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from ksi_tui.config import Config, load_config


def settings(options: argparse.Namespace) -> Config:
    """Return the settings that apply; raises ConfigError."""
    config = load_config(options.config, getattr(options, "litellm_config", None))
    return config if options.db is None else with_database(config, options.db)


def with_database(config: Config, database: Path) -> Config:
    """Return the same settings for another database."""
    engine = config.engine.model_copy(update={"database": database})
    return config.model_copy(update={"engine": engine})


def as_typed(options: argparse.Namespace, command: str) -> str:
    """Return how to type another command on the same settings and database."""
    words = ["ksi-tui"]
    litellm_config = getattr(options, "litellm_config", None)
    given = (
        ("--config", options.config),
        ("--litellm-config", litellm_config),
        ("--db", options.db),
    )
    for option, value in given:
        if value is not None:
            words += [option, str(value)]
    return " ".join([*map(shlex.quote, words), command])
