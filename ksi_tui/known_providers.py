"""The providers that are found by the keys in the environment. A table, nothing else."""

from __future__ import annotations

KEY_VARIABLES: tuple[tuple[str, str, tuple[str, ...], str], ...] = (
    ("openai", "OPENAI_API_KEY", ("gpt-*", "o1*", "o3*", "o4*"), "gpt-4o-mini"),
    ("anthropic", "ANTHROPIC_API_KEY", ("claude-*",), "claude-haiku-4-5"),
    ("gemini", "GEMINI_API_KEY", ("gemini-*",), "gemini-2.5-flash"),
    ("mistral", "MISTRAL_API_KEY", ("mistral-*", "codestral-*"), "mistral-small-latest"),
    ("deepseek", "DEEPSEEK_API_KEY", ("deepseek-*",), "deepseek-chat"),
)
"""Provider, the variable that holds its key, the models it serves, and the one to begin with."""

KEY_NAMES = ("api_key", "authorization", "password", "token")
"""Names under which keys are given to providers: refused wherever they would be kept."""
