"""The kustomize folders and the chart of `deploy/`: valid for Kubernetes, locked down, and the gateway takes them."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import yaml

from gateway._version import __version__
from gateway.cli import build_parser
from gateway.cli.serve import read_options
from gateway.config.compiler.compiler import Compiler
from gateway.server.wiring import ServeOptions
from tests.gateway_process import gateway_process
from tests.supply import kubernetes
from tests.supply.kubernetes import Manifest, charted, containers, kustomized, of_kind, pods
from tests.supply.tools import DEPLOY, run, tool

pytestmark = pytest.mark.timeout(60)

VERSIONS: Final = ("1.29", "1.37")
"""The first with sidecars by default, and the newest that is published in schemas here."""
ALL_OF_CHART: Final = (
    "monitor.enabled=true", "maxUnavailable=50%", "image.digest=sha256:" + 64 * "0", "routesConfigMap=mine",
    "env[0].name=OPENAI_API_KEY",
    "env[0].value=sk-none", "nodeSelector.disk=ssd", "tolerations[0].operator=Exists", "drain.seconds=600",
    "affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight=1",
    "affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.topologyKey=zone",
)  # fmt: skip
MADE: Final = ["sidecar", "shared", "replicas", "chart", "chart, all set"]
LOCKED_DOWN: Final = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def manifests(name: str) -> list[Manifest]:
    match name:
        case "chart":
            return charted()
        case "chart, all set":
            return charted(*ALL_OF_CHART)
        case _:
            return kustomized(name)


def gateway_of(pod: Manifest) -> Manifest:
    (found,) = (container for container in containers(pod) if container["name"] == "gateway")
    return found


def environ(container: Manifest) -> dict[str, str]:
    return {entry["name"]: entry.get("value", "sk-none") for entry in container["env"]}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", MADE)
def test_kubernetes_takes_the_manifests(name: str, version: str) -> None:
    assert kubernetes.faults(manifests(name), version=version) == []


@pytest.mark.parametrize("name", MADE)
def test_a_field_that_kubernetes_does_not_know_is_found(name: str) -> None:
    made = manifests(name)
    deployment = of_kind("Deployment", made)
    deployment["spec"]["template"]["spec"]["terminationGraceSeconds"] = 5
    assert kubernetes.faults([deployment], version=VERSIONS[-1])


def test_the_operator_knows_each_field_of_the_monitor() -> None:
    """Its definition lets unknown fields through, but not a wrong type in one that it knows."""
    monitor = of_kind("PodMonitor", kustomized("shared"))
    spoilt = []
    for *above, last in kubernetes.leaves(monitor["spec"]):
        spoilt.append(deepcopy(monitor))
        inner = spoilt[-1]["spec"]
        for step in above:
            inner = inner[step]
        inner[last] = [{}]
    assert len(spoilt) >= 4
    assert len(kubernetes.faults(spoilt, version=VERSIONS[-1])) == len(spoilt)


def test_helm_finds_nothing_to_complain_about() -> None:
    done = run(tool("helm"), "lint", "--strict", "--kube-version", "1.37", str(DEPLOY / "helm"))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "setting", ["imagee.tag=1", "image.digest=latest", "drain.seconds=soon", "limits.inFlight=0", "maxUnavailable=some"]
)
def test_a_value_that_the_chart_does_not_know_is_refused(setting: str) -> None:
    done = run(tool("helm"), "template", "--kube-version", "1.37", str(DEPLOY / "helm"), "--set", setting)
    assert (done.returncode, "values don't meet" in done.stderr) == (1, True)


def test_a_policy_reaches_the_pods_as_it_is_and_a_release_may_be_called_a_number(tmp_path: Path) -> None:
    policy = tmp_path / "odd.yaml"
    policy.write_text('version: 1\nmodels:\n  "a<b>&\\"ü{{ .Values }}": mock/echo # 💥\n')
    flags = ["--kube-version", "1.37", "--set-file", f"routes={policy}"]
    done = run(tool("helm"), "template", "1.2", str(DEPLOY / "helm"), *flags)
    made = [each for each in yaml.safe_load_all(done.stdout) if each]
    assert of_kind("ConfigMap", made)["data"]["routes.yaml"] == policy.read_text()
    assert of_kind("Deployment", made)["metadata"]["name"] == "1.2"
    assert kubernetes.faults(made, version=VERSIONS[-1]) == []


def test_the_chart_has_the_gateways_version() -> None:
    chart = yaml.safe_load((DEPLOY / "helm" / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


@pytest.mark.parametrize("name", MADE)
def test_pods_are_nobody_and_have_no_token(name: str) -> None:
    (pod,) = pods(manifests(name))
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001, "the image's"
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    for container in containers(pod):
        assert container["securityContext"] == LOCKED_DOWN, container["name"]
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        image = container["image"]
        assert "/" in image, f"{image}: anybody's on the default registry"
        assert re.search(r":\d+\.\d+\.\d+$|@sha256:[0-9a-f]{64}$", image), image


def options_of(pod: Manifest, monkeypatch: pytest.MonkeyPatch) -> ServeOptions:
    """Return what `gateway serve` makes of the container's environment."""
    for name, value in environ(gateway_of(pod)).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GATEWAY_CONFIG", "/etc/gateway/routes.yaml")
    return read_options(build_parser(["serve"]).parse_args(gateway_of(pod)["args"]))


@pytest.mark.parametrize("name", MADE)
def test_the_gateway_takes_the_settings_and_has_time_to_drain(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (pod,) = pods(manifests(name))
    gateway = gateway_of(pod)
    options = options_of(pod, monkeypatch)
    ports = {port["name"]: port["containerPort"] for port in gateway["ports"]}
    assert ports["admin"] == options.admin_port
    assert options.admin_host == "0.0.0.0", "kubelet and Prometheus ask the pod's address"
    if name == "sidecar":
        assert (options.host, options.port, set(ports)) == ("127.0.0.1", 8080, {"admin"})
        assert options.admin_token_file is not None
    else:
        assert (options.host, ports["models"]) == ("0.0.0.0", options.port)
        assert options.client_keys_file is not None
    assert not options.insecure
    mounted = {mount["mountPath"]: mount for mount in gateway["volumeMounts"]}
    for path in (options.config, options.admin_token_file or options.client_keys_file):
        assert path is not None
        assert mounted[str(path.parent)]["readOnly"] is True
        assert "subPath" not in mounted[str(path.parent)], "an update would never show"
    assert options.state_dir is not None
    assert str(options.state_dir.parent) in mounted, "the volume itself is everybody's"
    (state,) = (volume for volume in pod["volumes"] if volume["name"] == "state")
    assert state.keys() == {"name", "emptyDir"}
    assert pod["terminationGracePeriodSeconds"] >= options.drain_delay_s + options.drain_s + 5


@pytest.mark.parametrize("name", MADE)
def test_probes_ask_whether_it_lives_and_whether_it_is_ready(name: str) -> None:
    (pod,) = pods(manifests(name))
    gateway = gateway_of(pod)
    asked = {probe: gateway[probe]["httpGet"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
    ready, live = {"path": "/readyz", "port": "admin"}, {"path": "/healthz", "port": "admin"}
    assert asked == {"startupProbe": ready, "livenessProbe": live, "readinessProbe": ready}


async def status_of(url: str, method: str = "GET", key: str = "") -> int:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with aiohttp.ClientSession() as session, session.request(method, url, headers=headers, json={}) as response:
        return response.status


@pytest.mark.parametrize("name", MADE)
async def test_the_gateway_runs_with_the_settings(name: str, tmp_path: Path) -> None:
    """All of a container's variables count but its ports and the delay; what it mounts is in a folder here."""
    made = manifests(name)
    (pod,) = pods(made)
    policies = [each["data"]["routes.yaml"] for each in made if each["kind"] == "ConfigMap"]
    (tmp_path / "routes.yaml").write_text(policies[0] if policies else "version: 1\nmodels: {demo: mock/hello}\n")
    (tmp_path / "clients").write_text("app sk-app\nops sk-ops admin\n")
    (tmp_path / "token").write_text("sk-ops\n")
    given = {
        name: re.sub("^/(run/secrets|var/lib)/gateway", str(tmp_path), value)
        for name, value in environ(gateway_of(pod)).items()
    }
    given |= {"GATEWAY_ADMIN_PORT": "0", "GATEWAY_DRAIN_DELAY": "0s", "GATEWAY_STATE": ""}  # that Redis is not here
    log = tmp_path / "log"
    async with gateway_process(tmp_path / "routes.yaml", log=log, environ=given) as gateway:
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        (admin,) = (line["url"] for line in lines if line["event"] == "listening for operators")
        operators, models = (f"http://127.0.0.1:{url.rpartition(':')[2]}" for url in (admin, gateway.url))
        for path in ("/healthz", "/readyz", "/metrics"):
            assert await status_of(operators + path) == 200, path
        assert await status_of(f"{operators}/-/reload", "POST") == 401
        assert await status_of(f"{operators}/-/reload", "POST", key="sk-ops") == 200
        assert await status_of(f"{models}/-/targets", key="sk-ops") == 404, "moved"
        wants_key = name != "sidecar"
        assert await status_of(f"{models}/v1/models") == (401 if wants_key else 200)
        assert await status_of(f"{models}/v1/models", key="sk-app") == 200


def test_replicas_share_a_redis_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    made = kustomized("replicas")
    (pod,) = pods(made)
    options = options_of(pod, monkeypatch)
    redis = of_kind("StatefulSet", made)
    assert options.state is not None
    assert str(options.state.address) == f"redis://{redis['metadata']['name']}:6379/0"
    spec = redis["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"] | {"runAsUser": 10001, "runAsGroup": 10001} == pod["securityContext"]
    (container,) = spec["containers"]
    assert container["securityContext"] == LOCKED_DOWN
    assert container["args"][-2:] == ["--requirepass", "$(STATE_PASSWORD)"]
    policy = of_kind("NetworkPolicy", made)["spec"]
    labels = of_kind("Deployment", made)["spec"]["template"]["metadata"]["labels"].items()
    assert policy["podSelector"]["matchLabels"].items() <= redis["spec"]["template"]["metadata"]["labels"].items()
    assert policy["ingress"][0]["from"][0]["podSelector"]["matchLabels"].items() <= labels


def test_the_sidecar_is_one_and_the_app_finds_it() -> None:
    (pod,) = pods(kustomized("sidecar"))
    (sidecar,) = pod["initContainers"]
    assert (sidecar["name"], sidecar["restartPolicy"]) == ("gateway", "Always")
    (app,) = pod["containers"]
    port = environ(sidecar)["GATEWAY_PORT"]
    assert environ(app) == {
        "OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1",
        "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{port}",
    }


@pytest.mark.parametrize("name", ["shared", "chart", "chart, all set"])
def test_everything_around_a_deployment_means_its_pods(name: str) -> None:
    made = manifests(name)
    deployment = of_kind("Deployment", made)
    labels = deployment["spec"]["template"]["metadata"]["labels"].items()
    service, scaler, budget = (
        of_kind(kind, made) for kind in ("Service", "HorizontalPodAutoscaler", "PodDisruptionBudget")
    )
    assert service["spec"]["selector"].items() <= labels
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels
    assert budget["spec"]["selector"]["matchLabels"].items() <= labels
    target = scaler["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
    assert "replicas" not in deployment["spec"], "each apply would undo the autoscaler's"
    names = {port["name"] for port in gateway_of(deployment["spec"]["template"]["spec"])["ports"]}
    assert {port["targetPort"] for port in service["spec"]["ports"]} == {"models"} <= names
    for monitor in (each for each in made if each["kind"] == "PodMonitor"):
        assert monitor["spec"]["selector"]["matchLabels"].items() <= labels
        assert [(end["port"], end["path"]) for end in monitor["spec"]["podMetricsEndpoints"]] == [("admin", "/metrics")]
    assert ("PodMonitor" in {each["kind"] for each in made}) == (name != "chart")


def test_the_chart_and_the_shared_folder_run_the_same_pod() -> None:
    (chart,), (shared,) = pods(charted()), pods(kustomized("shared"))
    assert gateway_of(chart).keys() == gateway_of(shared).keys()
    for field in ("args", "ports", "startupProbe", "livenessProbe", "readinessProbe", "resources", "volumeMounts"):
        assert gateway_of(chart)[field] == gateway_of(shared)[field], field
    keys = {"OPENAI_API_KEY", "ANTHROPIC_API_KEY"}
    assert environ(gateway_of(chart)) == {
        name: value for name, value in environ(gateway_of(shared)).items() if name not in keys
    }
    for field in ("terminationGracePeriodSeconds", "securityContext"):
        assert chart[field] == shared[field], field


@pytest.mark.parametrize("name", ["sidecar", "shared", "chart"])
def test_the_policy_in_the_config_map_compiles(name: str) -> None:
    made = manifests(name)
    policy = of_kind("ConfigMap", made)
    (mounted,) = (volume for volume in pods(made)[0]["volumes"] if volume["name"] == "routes")
    assert policy["metadata"]["name"] == mounted["configMap"]["name"], "an edit is live without a new pod"
    compiled = Compiler(environ={}).compile(policy["data"]["routes.yaml"].encode(), source="routes.yaml")
    assert [problem for problem in compiled.found if problem.severity == "error"] == []


def test_every_yaml_file_of_kubernetes_is_a_part_of_a_folder() -> None:
    for folder in kubernetes.KUSTOMIZED:
        path = DEPLOY / "kubernetes" / folder
        made: dict[str, Any] = yaml.safe_load((path / "kustomization.yaml").read_text())
        maps, patches = made.get("configMapGenerator", []), made.get("patches", [])
        own = {resource for resource in made["resources"] if not resource.startswith("../")}
        used = {*own, *(file for each in maps for file in each["files"]), "kustomization.yaml"}
        used |= {patch["path"] for patch in patches}
        assert {file.name for file in path.iterdir()} == used
    assert {path.name for path in Path(DEPLOY / "kubernetes").iterdir()} == set(kubernetes.KUSTOMIZED)
