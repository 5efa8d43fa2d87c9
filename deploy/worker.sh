#!/bin/sh
# Registers the work pool and the deployments at the server of PREFECT_API_URL, then works until it is asked to end.
set -e
flows=$(python -c 'from pathlib import Path; import firstfault.flows; print(Path(firstfault.flows.__file__).parent)')
python -m prefect work-pool create firstfault --type process --overwrite --base-job-template "$flows/work_pool.json"
python -m prefect --no-prompt deploy --all --prefect-file "$flows/prefect.yaml"
exec python -m prefect worker start --pool firstfault --name "worker-$(hostname)" --with-healthcheck
