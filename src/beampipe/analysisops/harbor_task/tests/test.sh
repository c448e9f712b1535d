#!/bin/sh
# Grades the answer, and writes the reward, which is 0 without an answer.
set -eu
tests=$(dirname "$0")
logs=${LOGS:-/logs/verifier}
mkdir -p "$logs"
python -m beampipe.analysisops.harbor "$tests" "${APP:-/app}" > "$logs/reward.json"
