#!/bin/bash
# All that a GPU decides, in one run of some minutes, under JAX: training step, whole epoch, loader, the demo's study.
#
#     bench/gpu.sh [python]
#
# The Python given needs lsml's requirements with a JAX that fits the GPU's driver. Each trial's run in MLflow names
# the device (tag lsml.device_name) and has images_per_second as a curve. Without a GPU, SMOKE=1 rehearses it at tiny
# sizes. Not yet measured on a GPU.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${1:-.venv-jax/bin/python}
export KERAS_BACKEND=jax PYTHONPATH=$PWD
smoke=${SMOKE:+--smoke}
gpu=${SMOKE:-require}

[ "$gpu" != require ] || "$python" -m lsml doctor --require-gpu
for bench in step loop loader training; do
    "$python" "bench/$bench.py" $smoke
done
[ -n "$smoke" ] || "$python" bench/step.py --filters 64 --batch 32
[ -n "$smoke" ] || "$python" bench/step.py --architecture resnet_unet --filters 64 --batch 32
[ -n "$smoke" ] || "$python" -m lsml tune experiments/demo.yaml --study "gpu-$(date +%s)" --require-gpu
