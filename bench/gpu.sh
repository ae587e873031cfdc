#!/bin/bash
# All that a GPU decides, in one run of some minutes, under JAX: training step, whole epoch, loader, the demo's study.
#
#     bench/gpu.sh [python]
#
# The Python given needs lsml's requirements with a JAX that fits the GPU's driver. Each trial's run in MLflow names
# the device (tag lsml.device_name) and has images_per_second as a curve. Without a GPU, SMOKE=1 rehearses it at tiny
# sizes. docs/performance.md has what an H200 gave.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${1:-.venv-jax/bin/python}
export KERAS_BACKEND=jax PYTHONPATH=$PWD
smoke=${SMOKE:+--smoke}
gpu=${SMOKE:-require}

[ "$gpu" != require ] || "$python" -m lsml doctor --require-gpu
for bench in loop loader training; do
    "$python" "bench/$bench.py" $smoke
done
"$python" bench/step.py --remedies 0 --rounds 1 ${smoke:---steps 60}
[ -n "$smoke" ] && exit
# As many steps as it takes for batches to be prepared by all processes.
"$python" bench/loop.py --patches 384 --rounds 3
"$python" bench/step.py --remedies 0 --rounds 1 --steps 60 --filters 64 --batch 32
"$python" -m lsml tune experiments/demo.yaml --study "gpu-$(date +%s)" --require-gpu
