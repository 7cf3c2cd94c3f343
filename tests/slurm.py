"""A Slurm cluster of one machine: `srun` and `scontrol` that start local processes, and what `sbatch` gives to a job."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

PATIENCE_S = 600.0  # on a machine that others use too
NODE_NAMES = ("node1", "node2")

# As Slurm's own: the command once a node, told apart by environment; the highest exit code is srun's; TERM kills the step's
# processes at once.
SRUN = f"""#!{sys.executable}
import os, signal, subprocess, sys
from pathlib import Path

step = f"SLURM_STEP_OF_TEST={{os.getpid()}}"


def kill_all(*_):
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if step.encode() in (process / "environ").read_bytes().split(b"\\0"):
                os.kill(int(process.name), signal.SIGKILL)
        except OSError:
            pass


arguments = sys.argv[1:]
start = next(index for index, argument in enumerate(arguments) if not argument.startswith("--"))
options = dict(argument[2:].split("=", 1) for argument in arguments[:start])
absent = os.environ.get("ABSENT_NODE")
tasks = []
for number in range(int(options["nodes"])):
    name = f"node{{number + 1}}"
    command = ["true"] if name == absent else arguments[start:]
    node = {{"SLURM_NODEID": str(number), "SLURMD_NODENAME": name, "SLURM_CPUS_PER_TASK": options["cpus-per-task"]}}
    tasks.append(subprocess.Popen(command, env=os.environ | node | dict([step.split("=")])))
signal.signal(signal.SIGTERM, kill_all)
sys.exit(max(abs(task.wait()) for task in tasks))
"""
SCONTROL = f"""#!/bin/sh
case "$1" in
show) printf '%s\\n' {" ".join(NODE_NAMES)} | head -n "$SLURM_JOB_NUM_NODES" ;;
*) echo "$@" >>"$SCONTROL_LOG" ;;
esac
"""


@dataclass
class Slurm:
    """Submits cluster/slurm.sh as `sbatch` does: a copy of it, in the job's environment.

    Attributes:
        folder: where users call sbatch.
        environment: beside the present process's, for each job.
    """

    project: Path
    folder: Path
    environment: Mapping[str, str]
    jobs: "list[Job]" = field(default_factory=list)

    def submit(self, *arguments: str | Path, num_nodes: int = 1, **environment: str) -> "Job":
        """Starts a job."""
        number = str(len(self.jobs) + 1)
        spooled = self.folder / "spool" / f"job{number}" / "slurm_script"
        spooled.parent.mkdir(parents=True)
        spooled.write_bytes((self.project / "cluster" / "slurm.sh").read_bytes())
        log = self.folder / f"slurm-{number}.out"
        given = {
            "SLURM_JOB_ID": number,
            "SLURM_JOB_NUM_NODES": str(num_nodes),
            "SLURM_JOB_NODELIST": "node[1-2]",
            "SLURM_CPUS_PER_TASK": "1",
            "SLURM_SUBMIT_DIR": str(self.folder),
        }
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["bash", str(spooled), *map(str, arguments)],
                cwd=self.folder,
                env={**os.environ, **given, **self.environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.jobs.append(Job(process, log, self.folder / "study-slurm" / "jobs" / number))
        return self.jobs[-1]

    def cancel(self) -> None:
        """Ends the jobs that still run."""
        for job in self.jobs:
            if job.process.poll() is None:
                job.process.terminate()
                job.wait()

    def requests(self) -> list[str]:
        """What jobs asked scontrol to do."""
        log = Path(self.environment["SCONTROL_LOG"])
        return log.read_text(encoding="utf-8").splitlines() if log.exists() else []


@dataclass(frozen=True)
class Job:
    """One job.

    Attributes:
        log: what it prints.
        folder: its own, in the shared one.
    """

    process: "subprocess.Popen[bytes]"
    log: Path
    folder: Path

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def wait(self) -> int:
        """Its exit code."""
        return self.process.wait(PATIENCE_S)

    def wait_for(self, text: str) -> None:
        """Until it has printed this."""
        deadline_s = time.monotonic() + PATIENCE_S
        while text not in self.output:
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline_s, self.output
            time.sleep(0.1)


def make_slurm(project: Path, folder: Path, **environment: str) -> Slurm:
    """A cluster on which nothing has run.

    Args:
        project: the root with cluster/slurm.sh.
        folder: where its users work; its programs go below it.
    """
    programs = folder / "programs"
    programs.mkdir()
    for name, text in {"srun": SRUN, "scontrol": SCONTROL}.items():
        (programs / name).write_text(text, encoding="utf-8")
        (programs / name).chmod(0o755)
    own = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "SCONTROL_LOG": str(folder / "scontrol.log"),
        "STUDY_ENVIRONMENT": sys.prefix,
        # What the user's own shell might say of studies and MLflow is not the job's.
        **dict.fromkeys(("MLFLOW_TRACKING_URI", "STUDY_OUTPUT", "STUDY_STORAGE", "STUDY_CACHE", "RAY_ADDRESS"), ""),
    }
    return Slurm(project, folder, own | environment)
