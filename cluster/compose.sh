# Sourced by the scripts beside it: Compose as this machine has it, in the project's folder.
cd "$(dirname "$0")/.."
if docker compose version >/dev/null 2>&1; then
  compose() { docker compose "$@"; }
elif command -v docker-compose >/dev/null; then
  compose() { docker-compose "$@"; }
else
  echo "$0: Docker Compose must be installed (v2, or 1.29), but neither \`docker compose\` nor docker-compose answers." >&2
  exit 2
fi
