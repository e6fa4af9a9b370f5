"""Metadata of routes-gateway-slim: that of routes-gateway, without LiteLLM. Called by hatchling at each build."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Final

from hatchling.metadata.plugin.interface import MetadataHookInterface

LEFT_OUT: Final = "litellm"
EXTRAS: Final = ("otel", "redis")
SAME: Final = ("classifiers", "license", "license-files", "requires-python", "scripts")
"""Fields of `[project]` that are taken over unchanged."""


class SlimMetadata(MetadataHookInterface):
    """Reads `[project]` of the repository's pyproject.toml, two folders above."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Fill in the dynamic fields of `metadata`. Raises FileNotFoundError where the repository is not around it."""
        repository = Path(self.root).parent.parent
        project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        kept = [line for line in project["dependencies"] if re.split(r"[^\w.-]", line, maxsplit=1)[0] != LEFT_OUT]
        if len(kept) != len(project["dependencies"]) - 1:
            raise ValueError(f"{repository / 'pyproject.toml'}: {LEFT_OUT} is not one of its dependencies")
        metadata.update({field: project[field] for field in SAME})
        metadata["dependencies"] = kept
        metadata["optional-dependencies"] = {name: project["optional-dependencies"][name] for name in EXTRAS}
        metadata["description"] = f"{project['description']} Without LiteLLM."
        text = (repository / project["readme"]).read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
