"""cluster/kuberay.yaml: its parts fit together. Kubernetes' and KubeRay's own schemas are too large to be kept here.

By hand on 2026-11-23: every part but the two of KubeRay's, and the four pods within those, against Kubernetes 1.37's schemas
(kubernetes-validate 1.37.0, strict: unknown fields are errors); KubeRay's own fields against the reference of its API (1.6 and
1.7), which the lists below repeat; anchors and merges as kubectl 1.32 reads them.
"""

import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

Part = dict[str, Any]
CLUSTER_FIELDS = {
    *("authOptions", "autoscalerOptions", "enableInTreeAutoscaling", "gcsFaultToleranceOptions", "headGroupSpec"),
    *("headServiceAnnotations", "managedBy", "rayVersion", "suspend", "upgradeStrategy", "workerGroupSpecs"),
}
AUTOSCALER_FIELDS = {
    *("env", "envFrom", "idleTimeoutSeconds", "image", "imagePullPolicy", "resources", "securityContext", "upscalingMode"),
    *("version", "volumeMounts"),
}
HEAD_FIELDS = {"enableIngress", "headService", "labels", "rayStartParams", "resources", "serviceType", "template"}
WORKER_FIELDS = {
    *("groupName", "idleTimeoutSeconds", "labels", "maxReplicas", "minReplicas", "numOfHosts", "rayStartParams", "replicas"),
    *("resources", "scaleStrategy", "suspend", "template"),
}
JOB_FIELDS = {
    *("activeDeadlineSeconds", "backoffLimit", "clusterSelector", "deletionStrategy", "entrypoint", "entrypointNumCpus"),
    *("entrypointNumGpus", "entrypointResources", "jobId", "managedBy", "metadata", "preRunningDeadlineSeconds"),
    *("rayClusterSpec", "runtimeEnvYAML", "shutdownAfterJobFinishes", "submissionMode", "submitterConfig"),
    *("submitterPodTemplate", "suspend", "ttlSecondsAfterFinished"),
}
SECRET_KEYS = {
    *("mlflow_username", "mlflow_password", "mlflow_secret_key", "mlflow_database", "mlflow_auth_database", "study_storage"),
}


@pytest.fixture(scope="module")
def text(project: Path) -> str:
    return (project / "cluster" / "kuberay.yaml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def parts(text: str) -> list[Part]:
    loaded: list[Part] = yaml.safe_load(text)["items"]
    return loaded


def only(parts: list[Part], kind: str) -> Part:
    [part] = [part for part in parts if part["kind"] == kind]
    return part


@pytest.fixture(scope="module")
def cluster(parts: list[Part]) -> Part:
    spec: Part = only(parts, "RayCluster")["spec"]
    return spec


@pytest.fixture(scope="module")
def pods(parts: list[Part], cluster: Part) -> dict[str, Part]:
    """Pod templates by what they run."""
    return {
        "mlflow": only(parts, "Deployment")["spec"]["template"],
        "head": cluster["headGroupSpec"]["template"],
        **{group["groupName"]: group["template"] for group in cluster["workerGroupSpecs"]},
        "submitter": only(parts, "RayJob")["spec"]["submitterPodTemplate"],
    }


def containers(pods: dict[str, Part]) -> list[Part]:
    return [container for pod in pods.values() for container in pod["spec"]["containers"]]


def test_every_part_has_its_kinds_version_and_is_chosen_by_a_label(parts: list[Part]) -> None:
    kinds = [(part["apiVersion"], part["kind"]) for part in parts]
    assert kinds == [
        *[("v1", "PersistentVolumeClaim")] * 3,
        *[("networking.k8s.io/v1", "NetworkPolicy"), ("v1", "Service"), ("apps/v1", "Deployment")],
        *[("ray.io/v1", "RayCluster"), ("ray.io/v1", "RayJob")],
    ]
    assert [part["metadata"]["labels"]["part"] for part in parts] == [*["cluster"] * 7, "study"]


def test_kuberays_fields_are_spelt_as_it_knows_them(parts: list[Part], cluster: Part) -> None:
    assert cluster.keys() <= CLUSTER_FIELDS
    assert cluster["autoscalerOptions"].keys() <= AUTOSCALER_FIELDS
    assert cluster["headGroupSpec"].keys() <= HEAD_FIELDS
    for group in cluster["workerGroupSpecs"]:
        assert group.keys() <= WORKER_FIELDS
    assert only(parts, "RayJob")["spec"].keys() <= JOB_FIELDS


def test_parameters_of_ray_start_are_strings(cluster: Part) -> None:
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert {type(value) for value in group["rayStartParams"].values()} == {str}


def test_ray_is_the_version_that_is_installed(cluster: Part) -> None:
    assert cluster["rayVersion"] == version("ray")


def test_the_image_is_named_in_one_place(text: str, pods: dict[str, Part]) -> None:
    [named] = re.findall(r"^ *image: &image (\S+)", text, re.MULTILINE)
    assert {container["image"] for container in containers(pods)} == {named}
    assert len(re.findall(r"study:\d", text)) == 1


def test_no_secret_is_in_the_file_and_those_referred_to_are_known(pods: dict[str, Part], cluster: Part) -> None:
    variables = [variable for container in containers(pods) for variable in container.get("env", [])]
    secret = {variable["valueFrom"]["secretKeyRef"]["key"] for variable in variables if "valueFrom" in variable}
    assert secret == SECRET_KEYS
    plain = {variable["name"] for variable in variables if "value" in variable}
    assert not {name for name in plain if re.search("PASSWORD|TOKEN|SECRET|DATABASE|STORAGE", name)}
    assert cluster["authOptions"] == {"mode": "token", "secretName": "study"}


def test_drivers_alone_are_told_optunas_database(pods: dict[str, Part]) -> None:
    def told(name: str) -> set[str]:
        return {variable["name"] for variable in pods[name]["spec"]["containers"][0]["env"]}

    assert "STUDY_STORAGE" in told("head")
    assert told("cpu") == told("gpu") == told("head") - {"STUDY_STORAGE"}


def test_nobody_is_root_and_no_root_folder_can_be_written(pods: dict[str, Part], cluster: Part) -> None:
    for pod in pods.values():
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        assert pod["spec"]["securityContext"]["runAsUser"] == 10001
    for container in (*containers(pods), cluster["autoscalerOptions"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}


def test_every_mount_is_a_volume_of_its_pod_and_every_claim_is_made_here(pods: dict[str, Part], parts: list[Part]) -> None:
    claims = {part["metadata"]["name"] for part in parts if part["kind"] == "PersistentVolumeClaim"}
    claimed = set()
    for pod in pods.values():
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        for container in pod["spec"]["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes.keys()
        claimed |= {
            volume["persistentVolumeClaim"]["claimName"] for volume in volumes.values() if "persistentVolumeClaim" in volume
        }
    assert claimed == claims


def test_head_and_workers_share_the_studies_folder_and_have_shared_memory(pods: dict[str, Part]) -> None:
    for name in ("head", "cpu", "gpu"):
        volumes = {volume["name"]: volume for volume in pods[name]["spec"]["volumes"]}
        mounts = {mount["name"]: mount["mountPath"] for mount in pods[name]["spec"]["containers"][0]["volumeMounts"]}
        assert volumes["studies"]["persistentVolumeClaim"]["claimName"] == "study-studies"
        assert mounts["studies"] == "/studies"
        assert volumes["shm"]["emptyDir"]["medium"] == "Memory"
        assert mounts["shm"] == "/dev/shm"


def test_the_head_takes_no_trial(cluster: Part) -> None:
    parameters = cluster["headGroupSpec"]["rayStartParams"]
    assert (parameters["num-cpus"], parameters["num-gpus"]) == ("0", "0")


def test_workers_come_when_they_are_needed_and_gpus_are_asked_for_by_their_group_only(cluster: Part) -> None:
    assert cluster["enableInTreeAutoscaling"] is True
    groups = {group["groupName"]: group for group in cluster["workerGroupSpecs"]}
    assert {name: group["minReplicas"] for name, group in groups.items()} == {"cpu": 0, "gpu": 0}
    assert all(group["maxReplicas"] > 0 for group in groups.values())
    limits = {name: group["template"]["spec"]["containers"][0]["resources"]["limits"] for name, group in groups.items()}
    assert "nvidia.com/gpu" not in limits["cpu"]
    assert limits["gpu"]["nvidia.com/gpu"] == "1"
    assert groups["gpu"]["template"]["spec"]["tolerations"]


def test_every_container_has_requests_and_a_memory_limit_and_servers_have_probes(pods: dict[str, Part]) -> None:
    for container in containers(pods):
        assert container["resources"]["requests"].keys() >= {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]
        if container["name"] != "ray-job-submitter":
            assert container.keys() >= {"startupProbe", "readinessProbe", "livenessProbe"}


def test_mlflow_is_reached_by_the_service_and_under_a_name_that_it_allows(pods: dict[str, Part], parts: list[Part]) -> None:
    service = only(parts, "Service")
    [address] = {
        variable["value"]
        for name in ("head", "cpu", "gpu")
        for variable in pods[name]["spec"]["containers"][0]["env"]
        if variable["name"] == "MLFLOW_TRACKING_URI"
    }
    host = f"{service['metadata']['name']}:{service['spec']['ports'][0]['port']}"
    assert address == f"http://{host}"
    [mlflow] = pods["mlflow"]["spec"]["containers"]
    [allowed] = [variable["value"] for variable in mlflow["env"] if variable["name"] == "MLFLOW_SERVER_ALLOWED_HOSTS"]
    assert host in allowed.split(",")
    assert service["spec"]["selector"].items() <= pods["mlflow"]["metadata"]["labels"].items()


def test_the_job_runs_on_this_cluster(parts: list[Part]) -> None:
    name = only(parts, "RayCluster")["metadata"]["name"]
    assert only(parts, "RayJob")["spec"]["clusterSelector"] == {"ray.io/cluster": name}
