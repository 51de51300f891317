"""Puts a LiteLLM configuration and a settings file together.

Both apply. The settings file wins wherever it says something of its own; its providers
come first, those of the LiteLLM file after them in their order, and a name that both give
is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ksi_tui.config import ProviderSettings
from ksi_tui.engine.errors import ConfigError
from ksi_tui.litellm_config.deployments import Deployments, read_model_list
from ksi_tui.litellm_config.document import Document, read_document
from ksi_tui.litellm_config.sections import Sections, read_sections


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    """A LiteLLM configuration in our own words. `warnings` name what cannot be done, and where."""

    file: Path
    providers: tuple[ProviderSettings, ...]
    sections: Mapping[str, Mapping[str, Any]]
    warnings: tuple[str, ...]

    def under(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the settings file holds, with this where it says nothing.

        Raises ConfigError when a provider of the same name is in both.
        """
        merged = dict(data)
        for name, ours in self.sections.items():
            said = data.get(name)
            if said is None:
                merged[name] = ours
            elif isinstance(said, Mapping):
                merged[name] = _merged(ours, said)
        listed = data.get("providers") or ()
        if isinstance(listed, list | tuple):
            self._refuse_clashes(listed)
            merged["providers"] = (*listed, *self.providers)
        return merged

    def _refuse_clashes(self, listed: list[Any] | tuple[Any, ...]) -> None:
        # Whatever is no provider with a name is left to the check of the settings themselves.
        own = [
            each.name if isinstance(each, ProviderSettings) else each.get("name")
            for each in listed
            if isinstance(each, ProviderSettings | Mapping)
        ]
        for provider in self.providers:
            if provider.name in own:
                raise ConfigError(
                    f"{self.file}: the settings have a provider {provider.name!r} too; rename "
                    "that one, or give the deployment a model_info.id"
                )


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    both = {**under, **over}
    for key, value in under.items():
        other = over.get(key)
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            both[key] = {**value, **other}
    return both


def read_litellm_config(file: Path) -> Translation:
    """Read LiteLLM's own configuration, with the files that it includes.

    Raises ConfigError that names the file, the line, the key, what was found and what is
    allowed. A key is never read from it, nor shown.
    """
    documents = [read_document(file)]
    main = documents[0]
    for index, name in enumerate(main.listed(("include",), main.data.get("include"))):
        documents.append(read_document(file.parent / main.text(("include", index), name)))
    sections, deployments = Sections(), Deployments()
    for document in documents:
        if document is not main and document.data.get("include"):
            document.warn(("include",), "not read: only the file that is named includes others")
        read_sections(document, sections)
    for document in documents:
        read_model_list(document, deployments, sections.params, sections.max_concurrency)
    if not deployments.providers:
        raise ConfigError(f"{file}: model_list has no chat model; {_found(documents)}")
    return Translation(
        file=file,
        providers=tuple(deployments.providers),
        sections=_sections(sections, deployments),
        warnings=tuple(warning for document in documents for warning in document.warnings),
    )


def _found(documents: list[Document]) -> str:
    keys = [str(key) for document in documents for key in document.data]
    return f"found: {', '.join(keys) or 'nothing'}"


def _sections(sections: Sections, deployments: Deployments) -> dict[str, Mapping[str, Any]]:
    found = {
        "engine": sections.engine,
        "retry": sections.retry,
        "circuit": sections.circuit,
        "routing": sections.routing,
        "prices": deployments.prices,
    }
    return {name: values for name, values in found.items() if values}
