#!/usr/bin/env bash
# A study on the nodes of one Slurm job: Ray's head and the study on the first node, a Ray worker on each of the others.
#
#   sbatch --nodes=4 --gpus-per-node=4 --cpus-per-task=32 --time=08:00:00 cluster/slurm.sh pets.toml
#
# begins the study, or goes on with it where an earlier job left it. PETS.TOML may be a folder of definitions. A job that comes
# near its time limit ends the study in good order: every trial goes on from its last saved epoch in the next job.
#
#   STUDY_ENVIRONMENT    a virtual environment's folder, or an Apptainer image (*.sif); default: .venv where sbatch was called
#   STUDY_SLURM_FOLDER   a folder that all nodes see, for all that follows; default: study-slurm where sbatch was called
#   STUDY_OUTPUT, STUDY_STORAGE, STUDY_CACHE, MLFLOW_TRACKING_URI    as the README says; default: in STUDY_SLURM_FOLDER.
#                        Without an address of MLflow's, the job itself serves the record there; one job at a time can.
#   STUDY_REQUEUE=1      near its time limit the job queues itself again
#   STUDY_INTERFACE      the nodes' network, for example ib0; default: the one that the host's name stands for
#   STUDY_NODES_S=300    how long nodes may take to join
#
# Everything that a job says is in STUDY_SLURM_FOLDER/jobs/JOB/logs. To end a study early: scancel --batch --signal=TERM JOB
#SBATCH --job-name=study
#SBATCH --ntasks-per-node=1
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
set -m  # a process group for each child; and children that heed Ctrl-C, which bash else makes them ignore

OBJECT_STORE_BYTES=$((256 * 1024 * 1024)) # trials read their data by memory map; the store lies in the job's own memory
STOP_S=30                                 # Slurm's own patience between TERM and KILL (KillWait)
TOO_SHORT="a job must last until its study begins, but its end came before. Ask for more --time."
MLFLOW_S=300                              # a server's first start makes its database: 30 s on two busy cores

fail() {
  printf 'Error: %s\n' "$*" >&2
  exit 2
}

main() {
  check_request "$@"
  definition=$(realpath "$1")
  interrupted_by="" attended="" nodes="" record=""
  trap 'interrupt USR1' USR1
  trap 'interrupt TERM' TERM INT
  trap clean_up EXIT
  prepare_folders
  use_environment
  write_secrets
  STUDY_HEAD_ADDRESS=$(own_address)
  export STUDY_HEAD_ADDRESS
  begin_record
  local command status=0
  command=$(next_command)
  if [[ $command == complete ]]; then
    echo "This study is complete: study show says what it found."
    return
  fi
  begin_nodes
  await_nodes
  run_study "$command" || status=$?
  clean_up
  queue_again "$status"
  exit "$status"
}

check_request() {
  [[ $# -eq 1 && -e ${1:-} ]] || fail "one definition must be named, but got '$*'. sbatch cluster/slurm.sh FILE"
  [[ -n ${SLURM_JOB_ID:-} ]] || fail "this runs inside a Slurm job, but SLURM_JOB_ID is not set. sbatch cluster/slurm.sh $1"
  [[ ${SLURM_NTASKS_PER_NODE:-1} == 1 ]] ||
    fail "a node runs one task, but --ntasks-per-node is $SLURM_NTASKS_PER_NODE. Ask for --cpus-per-task instead."
  local command
  for command in srun scontrol flock realpath; do
    command -v "$command" >/dev/null || fail "\`$command\` must be on PATH, but is not. PATH is $PATH"
  done
}

prepare_folders() {
  local here=${SLURM_SUBMIT_DIR:-$PWD}
  shared=${STUDY_SLURM_FOLDER:-$here/study-slurm}
  job_folder=$shared/jobs/$SLURM_JOB_ID
  logs=$job_folder/logs
  if ! { mkdir -p "$shared/jobs" && install -d -m 700 "$job_folder" "$logs"; } 2>/dev/null; then
    fail "STUDY_SLURM_FOLDER must be a folder that can be written, but $shared cannot."
  fi
  rm -rf "$job_folder/nodes" "$job_folder/address" "$job_folder/stop" # of this job before it was queued again
  mkdir "$job_folder/nodes"
  install -m 700 "${BASH_SOURCE[0]}" "$job_folder/slurm.sh" # Slurm's own copy lies on the first node's disk
  export STUDY_OUTPUT=${STUDY_OUTPUT:-$shared/studies} STUDY_STORAGE=${STUDY_STORAGE:-$shared/study.journal}
  export STUDY_CACHE=${STUDY_CACHE:-$shared/cache}
}

# Sets in_environment: what stands in front of a command to run it where `study` and `ray` are installed.
use_environment() {
  local here=${SLURM_SUBMIT_DIR:-$PWD}
  local environment=${STUDY_ENVIRONMENT:-$here/.venv}
  if [[ -x $environment/bin/study ]]; then
    in_environment=(env "PATH=$environment/bin:$PATH")
  elif [[ -f $environment ]]; then
    local runtime
    runtime=$(command -v apptainer || command -v singularity) ||
      fail "an image needs apptainer or singularity, but neither is on PATH. Load its module before sbatch."
    in_environment=("$runtime" exec --bind "$shared,$here,/tmp,$(dirname "$definition")")
    [[ $(count_gpus) == 0 ]] || in_environment+=(--nv)
    in_environment+=("$environment")
  else
    fail "STUDY_ENVIRONMENT must be a virtual environment with \`study\` in it or an image file, but $environment is neither."
  fi
}

# A token for Ray and a password for MLflow, of this job alone, that nobody else on these nodes can read.
write_secrets() {
  (
    umask 077
    random_hex >"$job_folder/ray_token"
    random_hex >"$job_folder/mlflow_password"
  )
  export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$job_folder/ray_token RAY_USAGE_STATS_ENABLED=0
  unset RAY_AUTH_TOKEN RAY_ADDRESS
}

random_hex() {
  od -An -N32 -tx1 /dev/urandom | tr -d ' \n'
}

# This node's address in the network between the nodes.
own_address() {
  if [[ -n ${STUDY_INTERFACE:-} ]]; then
    local address
    address=$(ip -4 -o addr show dev "$STUDY_INTERFACE" 2>/dev/null | awk '{split($4, part, "/"); print part[1]; exit}')
    [[ -n $address ]] || fail "STUDY_INTERFACE must be a network of every node, but $(hostname) has no address on $STUDY_INTERFACE."
    echo "$address"
    return
  fi
  "${in_environment[@]}" python - <<'PYTHON'
import ipaddress, socket

try:
    address = socket.gethostbyname(socket.gethostname())
except OSError:
    address = "127.0.0.1"
if ipaddress.ip_address(address).is_loopback:  # as Debian's /etc/hosts has it: ask which way packets would leave, and send none
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(("192.0.2.1", 9))
            address = asking.getsockname()[0]
        except OSError:
            pass  # no way out: one machine, then
print(address)
PYTHON
}

# MLflow at the address given, or a server on this node over SQLite in the shared folder, for as long as the job lasts.
begin_record() {
  [[ -z ${MLFLOW_TRACKING_URI:-} ]] || return 0
  exec 9>"$shared/mlflow.lock"
  flock --nonblock 9 || fail "one job at a time can serve the record in $shared, but another does. Wait for it, give this one" \
    "another STUDY_SLURM_FOLDER, or give all jobs the address of one MLflow server in MLFLOW_TRACKING_URI."
  "${in_environment[@]}" python -c 'import flask_wtf' 2>/dev/null ||
    fail "a job that serves the record asks for a password, which needs study[cluster], but it is not installed. Install it, or" \
      "give the address of an MLflow server in MLFLOW_TRACKING_URI."
  local host=127.0.0.1
  [[ ${SLURM_JOB_NUM_NODES:-1} == 1 ]] || host=$STUDY_HEAD_ADDRESS # trials on other nodes append to their runs
  local port
  port=$(free_port)
  write_record_access
  "${in_environment[@]}" mlflow server --host "$host" --port "$port" --allowed-hosts "$host:$port,localhost:*" --workers 1 \
    --app-name basic-auth --backend-store-uri "sqlite:///$shared/mlflow.db" \
    --no-serve-artifacts --default-artifact-root "file://$shared/artifacts" >"$logs/mlflow.log" 2>&1 </dev/null &
  record=$!
  export MLFLOW_TRACKING_URI=http://$host:$port
  attend await_record || fail "MLflow's server must answer within $MLFLOW_S s, but did not: $(last_line "$logs/mlflow.log")." \
    "See $logs/mlflow.log"
  echo "MLflow: $MLFLOW_TRACKING_URI on $(hostname), user study, password in $job_folder/mlflow_password"
}

# Who may use the server: one user, whose password is hashed once in five minutes instead of at every call (0.1 s).
write_record_access() {
  rm -f "$job_folder/mlflow_users.db"
  (
    umask 077
    printf '%s\n' "[mlflow]" "default_permission = NO_PERMISSIONS" "database_uri = sqlite:///$job_folder/mlflow_users.db" \
      "auth_cache_ttl_seconds = 300" >"$job_folder/mlflow_users.ini"
  )
  MLFLOW_TRACKING_USERNAME=study MLFLOW_TRACKING_PASSWORD=$(<"$job_folder/mlflow_password")
  MLFLOW_FLASK_SERVER_SECRET_KEY=$(random_hex)
  export MLFLOW_TRACKING_USERNAME MLFLOW_TRACKING_PASSWORD MLFLOW_FLASK_SERVER_SECRET_KEY
  export MLFLOW_AUTH_CONFIG_PATH=$job_folder/mlflow_users.ini MLFLOW_AUTH_ADMIN_USERNAME=study
  export MLFLOW_AUTH_ADMIN_PASSWORD=$MLFLOW_TRACKING_PASSWORD
  export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false # seven processes, 1.7 GB, for traces of chats
}

await_record() {
  local deadline=$((SECONDS + MLFLOW_S))
  until "${in_environment[@]}" python -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1] + "/health", timeout=5)' \
    "$MLFLOW_TRACKING_URI" 2>/dev/null; do
    kill -0 "$record" 2>/dev/null && ((SECONDS < deadline)) || return 1
    sleep 1
  done
}

# One task a node: each finds its part by its number.
begin_nodes() {
  srun --nodes="${SLURM_JOB_NUM_NODES:-1}" --ntasks="${SLURM_JOB_NUM_NODES:-1}" --ntasks-per-node=1 \
    --cpus-per-task="$(count_cpus)" --kill-on-bad-exit=0 --export=ALL \
    bash "$job_folder/slurm.sh" --node "$job_folder" "${in_environment[@]}" >"$logs/srun.log" 2>&1 </dev/null &
  nodes=$!
}

# What a node's task does: Ray until it is told to end; then its logs go beside the others.
be_node() {
  job_folder=$1
  in_environment=("${@:2}")
  name=${SLURMD_NODENAME:-$(hostname)}
  exec >>"$job_folder/logs/node-$name.log" 2>&1
  ray_folder=$(mktemp -d "/tmp/study-$SLURM_JOB_ID.XXXXXX") # on the node's own disk: sockets; others' Rays use /tmp/ray
  ray="" status=0
  trap 'if [[ -z $ray ]]; then exit 143; else kill -TERM "$ray" 2>/dev/null || true; fi' TERM INT
  trap leave_node EXIT
  if [[ ${SLURM_NODEID:-0} == 0 ]]; then start_head; else start_worker; fi
  while kill -0 "$ray" 2>/dev/null && ! is_there "$job_folder/stop"; do sleep 1; done
  kill -TERM "$ray" 2>/dev/null || true
  wait_for "$ray" || status=$?
  echo "$status" >"$job_folder/nodes/$name"
}

# Whether a file that another node makes is there by now: NFS looks again for a name when its folder is opened, else after 60 s.
is_there() {
  ls "$(dirname "$1")" >/dev/null
  [[ -e $1 ]]
}

start_head() {
  local client=()
  # Ray's client server, where it is installed, takes port 10001 unless told another; a second job's could not start.
  if "${in_environment[@]}" python -c 'import grpc' 2>/dev/null; then client=(--ray-client-server-port="$(free_port)"); fi
  start_ray --head --port=0 --include-dashboard=false --node-ip-address="$STUDY_HEAD_ADDRESS" "${client[@]+"${client[@]}"}"
  until [[ -s $ray_folder/ray_current_cluster ]]; do
    kill -0 "$ray" 2>/dev/null || return 0
    sleep 0.2
  done
  cp "$ray_folder/ray_current_cluster" "$job_folder/address.part"
  mv "$job_folder/address.part" "$job_folder/address"
}

start_worker() {
  local address=()
  [[ -z ${STUDY_INTERFACE:-} ]] || address=(--node-ip-address="$(own_address)")
  until is_there "$job_folder/address"; do
    ! is_there "$job_folder/stop" || exit 0
    sleep 0.5
  done
  start_ray --address="$(<"$job_folder/address")" "${address[@]+"${address[@]}"}"
}

# Ports are free ones by the system's choice: two jobs may share a node.
start_ray() {
  "${in_environment[@]}" ray start "$@" --block --node-name="$name" --temp-dir="$ray_folder" --num-cpus="$(count_cpus)" \
    --num-gpus="$(count_gpus)" --object-store-memory="$OBJECT_STORE_BYTES" --min-worker-port=0 --max-worker-port=0 \
    --dashboard-agent-listen-port=0 --disable-usage-stats </dev/null &
  ray=$!
}

leave_node() {
  [[ -z $ray ]] || stop "$ray"
  mkdir -p "$job_folder/logs/ray-$name"
  cp -r "$ray_folder"/session_*/logs/. "$job_folder/logs/ray-$name/" 2>/dev/null || true
  rm -rf "$ray_folder"
}

count_cpus() {
  echo "${SLURM_CPUS_PER_TASK:-${SLURM_CPUS_ON_NODE:-$(nproc)}}"
}

# What Slurm gave to this step. Devices may be numbers or identifiers of slices (MIG).
count_gpus() {
  case ${CUDA_VISIBLE_DEVICES-unset} in
  unset) echo "${SLURM_GPUS_ON_NODE:-0}" ;;
  "" | -1 | NoDevFiles) echo 0 ;;
  *) awk -F, '{print NF}' <<<"$CUDA_VISIBLE_DEVICES" ;;
  esac
}

free_port() {
  "${in_environment[@]}" python -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])'
}

await_nodes() {
  attend "${in_environment[@]}" python - "$job_folder" "$nodes" "${STUDY_NODES_S:-300}" "$(node_names)" <<'PYTHON' || exit $?
import os, sys, time
from pathlib import Path

from ray._raylet import GcsClient

folder, srun, patience_s, wanted = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), set(sys.argv[4].split())
deadline_s, joined, client = time.monotonic() + patience_s, set(), None


def refuse(why):
    missing = ", ".join(sorted(wanted - joined))
    print(
        f"Error: all {len(wanted)} nodes must join Ray within {patience_s:g} s (STUDY_NODES_S), but {missing} did not: {why}. "
        f"See {folder}/logs/node-*.log and {folder}/logs/srun.log",
        file=sys.stderr,
    )
    sys.exit(1)


while True:
    address = folder / "address"
    if client is None and address.exists():
        client = GcsClient(address=address.read_text().strip())
    if client is not None:
        joined = {info.node_name for info in client.get_all_node_info(timeout=30).values() if info.state == 0}
    if wanted <= joined:
        break
    for ended in (folder / "nodes").iterdir():
        refuse(f"Ray ended there with code {ended.read_text().strip()}")
    try:
        os.kill(srun, 0)
    except ProcessLookupError:
        refuse("srun ended")
    if time.monotonic() > deadline_s:
        refuse("they did not answer")
    time.sleep(1)
PYTHON
  RAY_ADDRESS=$(<"$job_folder/address")
  export RAY_ADDRESS
  echo "Ray: $RAY_ADDRESS, ${SLURM_JOB_NUM_NODES:-1} nodes; logs in $logs"
}

node_names() {
  if [[ -n ${SLURM_JOB_NODELIST:-} ]]; then
    scontrol show hostnames "$SLURM_JOB_NODELIST" | tr '\n' ' '
  else
    hostname
  fi
}

run_study() {
  case $1 in
  run) attend_study run "$definition" ;;
  *) attend_study resume "${1#resume }" ;;
  esac
}

# What is to be done with the definition: run | resume NAME | complete. A folder knows by itself, an unreadable file is told.
next_command() {
  if [[ -d $definition ]]; then
    echo run
    return
  fi
  "${in_environment[@]}" study list --json >"$job_folder/studies.json" || return $?
  "${in_environment[@]}" python - "$definition" "$job_folder/studies.json" <<'PYTHON'
import json, sys
from pathlib import Path
from study.definition import load_definition
from study.errors import StudyError

try:
    definition = load_definition(Path(sys.argv[1]))
except StudyError:
    print("run")  # which says what is wrong with it
    sys.exit()
newest = {}
for entry in json.loads(Path(sys.argv[2]).read_text()):  # the newest first
    newest.setdefault(entry["study"], entry)
name, begun = definition.name, newest.get(definition.name)
if begun is not None and begun.get("definition_digest") not in (None, definition.digest):
    sys.exit(
        f"slurm.sh: a study that exists is gone on with as it was begun, but {name!r} was begun with another definition than "
        f"{definition.file} has now. Change `name` in the file, or undo the change."
    )
needed = [name, *([f"{name}.confirm"] if definition.confirm is not None else [])]
if all(each in newest and newest[each]["state"] == "COMPLETE" for each in needed):
    print("complete")
else:
    print("run" if begun is None else f"resume {name}")
PYTHON
}

# The study tells its process id: an image's runtime may pass signals on once, twice or not at all.
attend_study() {
  rm -f "$job_folder/study.pid"
  local status=0
  # shellcheck disable=SC2016  # expanded by the shell inside
  heed "${in_environment[@]}" bash -c 'echo $$ >"$0"; exec study "$@"' "$job_folder/study.pid" "$@" \
    > >(tee -a "$logs/study.log") 2> >(tee -a "$logs/study.log" >&2) || status=$?
  rm -f "$job_folder/study.pid"
  [[ -z $interrupted_by || $status == 0 ]] || echo "$interrupted_by ended the study early; the next job goes on with it." >&2
  return "$status"
}

# Runs what must come before the study; a signal ends it and the job.
attend() {
  local status=0
  heed "$@" || status=$?
  [[ -z $interrupted_by ]] || fail "$TOO_SHORT"
  return "$status"
}

# Runs a command to its end, and hears signals meanwhile: bash runs a trap only while it waits.
heed() {
  [[ -z $interrupted_by ]] || return 1
  "$@" <&0 &
  attended=$!
  local status=0
  wait_for "$attended" || status=$?
  attended=""
  return "$status"
}

# A process's exit code; a trap ends bash's `wait`, not the process.
wait_for() {
  local status=0
  wait "$1" || status=$?
  while kill -0 "$1" 2>/dev/null; do
    status=0
    wait "$1" || status=$?
  done
  return "$status"
}

# What Ctrl-C does, to the study if it is running, else to whatever is waited for; once, because the second time is an abort.
interrupt() {
  [[ -z $interrupted_by ]] || return 0
  interrupted_by=$1
  if [[ -s $job_folder/study.pid ]]; then
    kill -INT "$(<"$job_folder/study.pid")" 2>/dev/null || true
  elif [[ -n $attended ]]; then
    kill -TERM -- "-$attended" 2>/dev/null || true
  else
    fail "$TOO_SHORT"
  fi
}

clean_up() {
  trap '' USR1 TERM INT
  trap - EXIT
  set +e # whatever fails here, the rest must still be ended
  [[ -z $nodes ]] || stop_nodes
  [[ -z $record ]] || stop "$record"
  nodes="" record=""
  rm -f "${job_folder:-}"/ray_token "${job_folder:-}"/mlflow_password "${job_folder:-}"/mlflow_users.{ini,db}
  set -e
}

# By a file, because srun answers TERM by killing its tasks: their logs would stay where they are, and their folders too.
stop_nodes() {
  touch "$job_folder/stop"
  local deadline=$((SECONDS + STOP_S))
  while kill -0 "$nodes" 2>/dev/null && ((SECONDS < deadline)); do sleep 0.2; done
  stop "$nodes"
}

# Ends a process and what it started: asked first, then not.
stop() {
  kill -TERM "$1" 2>/dev/null || return 0
  local deadline=$((SECONDS + STOP_S))
  while kill -0 "$1" 2>/dev/null && ((SECONDS < deadline)); do sleep 0.2; done
  kill -KILL -- "-$1" 2>/dev/null || true
}

# The time limit is no end where the job may queue again; anything else is.
queue_again() {
  if [[ $interrupted_by == USR1 && $1 != 0 && ${STUDY_REQUEUE:-} == 1 ]]; then
    echo "Queued again: the study goes on in the next job."
    scontrol requeue "$SLURM_JOB_ID"
  fi
}

last_line() {
  tail -n 1 "$1" 2>/dev/null
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
  if [[ ${1:-} == --node ]]; then be_node "${@:2}"; else main "$@"; fi
fi
