"""The manifests of `deploy/` as Kubernetes would get them, and the schemas that they are checked with."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import yaml

from tests.supply.tools import DEPLOY, INSTALLED, installed, run, tool

Manifest: TypeAlias = dict[str, Any]

KUSTOMIZED: Final = ("sidecar", "shared", "replicas")
"""Folders of deploy/kubernetes."""
RELEASE: Final = "llm-gateway"
_VALIDATE: Final = """
import { PodMonitor } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1";
let text = "";
for await (const part of process.stdin) text += part;
const fault = (one) => { try { new PodMonitor(one).validate(); return ""; } catch (error) { return error.message; } };
console.log(JSON.stringify(JSON.parse(text).map(fault)));
"""


def kustomized(name: str) -> list[Manifest]:
    """Return what kustomize makes of a folder of deploy/kubernetes; skips the test without kustomize or kubectl."""
    program = tool("kustomize", "kubectl", how="both have kustomize")
    command = "build" if program.endswith("kustomize") else "kustomize"
    done = run(program, command, str(DEPLOY / "kubernetes" / name))
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def charted(*settings: str) -> list[Manifest]:
    """Return what helm makes of the chart, with `--set` for each of the settings; skips the test without helm."""
    flags = [word for setting in settings for word in ("--set", setting)]
    done = run(tool("helm"), "template", "--kube-version", "1.37", RELEASE, str(DEPLOY / "helm"), *flags)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def of_kind(kind: str, manifests: list[Manifest]) -> Manifest:
    """Return the only manifest of a kind."""
    (found,) = (manifest for manifest in manifests if manifest["kind"] == kind)
    return found


def faults(manifests: list[Manifest], *, version: str) -> list[str]:
    """Return what a Kubernetes version would refuse of these, unknown fields too; skips the test without its schemas.

    PodMonitors are checked with the Prometheus operator's definition.
    """
    ours = [manifest for manifest in manifests if not manifest["apiVersion"].startswith("monitoring.coreos.com/")]
    program = installed("bin/kubernetes-validate")
    done = run(str(program), "--strict", "-k", version, "/dev/stdin", given=yaml.safe_dump_all(ours))
    said = (done.stdout + done.stderr).splitlines()
    found = [line for line in said if not line.startswith("INFO ")]
    assert found or done.returncode == 0, said
    return found + _faults_of_monitors([manifest for manifest in manifests if manifest not in ours])


def _faults_of_monitors(monitors: list[Manifest]) -> list[str]:
    """Return what the operator's definition says of PodMonitors. It lets unknown fields through."""
    if not monitors:
        return []
    installed("node_modules/@kubernetes-models/prometheus-operator")
    done = subprocess.run(
        [tool("node"), "--input-type=module", "-e", _VALIDATE],
        cwd=INSTALLED, input=json.dumps(monitors), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [fault for fault in json.loads(done.stdout) if fault]


def leaves(value: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the places of all values that are neither mappings nor lists."""
    match value:
        case dict():
            for name, each in value.items():
                yield from leaves(each, (*place, name))
        case list():
            for number, each in enumerate(value):
                yield from leaves(each, (*place, number))
        case _:
            yield place


def pods(manifests: list[Manifest]) -> list[Manifest]:
    """Return the pods' specs."""
    return [manifest["spec"]["template"]["spec"] for manifest in manifests if manifest["kind"] == "Deployment"]


def containers(pod: Manifest) -> Iterator[Manifest]:
    """Yield a pod's containers, the first ones first."""
    for kind in ("initContainers", "containers"):
        yield from pod.get(kind, ())
