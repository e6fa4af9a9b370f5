"""The bill of materials of what we ship, in CycloneDX 1.6, read from the lock. Shape: https://cyclonedx.org/docs/1.6/json/"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Final

from gateway._version import __version__
from gateway.wire.json import Json
from tests.supply.locked import Locked

OURS: Final = "routes-gateway"
_NAMESPACE: Final = uuid.UUID("6f0f3a52-5d0c-5c0e-9d0e-2f1c6b7a8e11")


def bill(lock: Mapping[str, Locked], *, name: str = OURS) -> dict[str, Json]:
    """Return the document. The same lock gives the same one: it has no time, and its serial number is a digest.

    `name`: the distribution that the lock is of.
    """
    ours = f"pkg:pypi/{name}@{__version__}"
    refs = {name: ours, **{each: _ref(package) for each, package in lock.items()}}
    needs: dict[str, list[Json]] = {ref: [] for ref in refs.values()}
    for each, package in lock.items():
        for parent in package.parents:
            needs[refs[parent]].append(refs[each])
    contents = " ".join(digest for package in lock.values() for digest in package.sha256)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, f'{ours} {contents}')}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": ours,
                "name": name,
                "version": __version__,
                "purl": ours,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            }
        },
        "components": [_component(package) for package in lock.values()],
        "dependencies": [{"ref": ref, "dependsOn": needed} for ref, needed in needs.items()],
    }


def _component(package: Locked) -> dict[str, Json]:
    component: dict[str, Json] = {
        "type": "library",
        "bom-ref": _ref(package),
        "name": package.name,
        "version": package.version,
        "purl": _ref(package),
        "scope": "required",
        "hashes": [{"alg": "SHA-256", "content": digest} for digest in package.sha256],
    }
    if package.marker is not None:
        component["scope"] = "optional"
        component["properties"] = [{"name": "marker", "value": str(package.marker)}]
    return component


def _ref(package: Locked) -> str:
    return f"pkg:pypi/{package.name}@{package.version}"
