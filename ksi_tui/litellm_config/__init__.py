"""LiteLLM's own `config.yaml`, read as settings of ours.

Only the settings' reader imports this, and only when such a file is named: YAML costs
nobody else anything. Nothing in here calls a provider or knows the package litellm.
"""

from __future__ import annotations

from ksi_tui.litellm_config.translation import Translation, read_litellm_config

__all__ = ["Translation", "read_litellm_config"]
