#!/bin/sh
# The answer of the reference analysis, which worked on the same data with the tools of the benchmark.
set -eu
cp "$(dirname "$0")/answer.json" "${APP:-/app}/answer.json"
