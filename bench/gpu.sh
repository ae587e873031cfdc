#!/bin/bash
# The demo's study on a GPU under JAX, then images a second of training on that GPU and on the same machine's CPU.
#
#     bench/gpu.sh [python]
#
# The Python given needs lsml's requirements with a JAX that fits the GPU's driver. Each trial's run in MLflow names
# the device (tag lsml.device_name) and has images_per_second as a curve. Not yet measured on a GPU.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${1:-.venv-jax/bin/python}
export KERAS_BACKEND=jax PYTHONPATH=$PWD

"$python" -m lsml doctor --require-gpu
"$python" -m lsml tune experiments/demo.yaml --study "gpu-$(date +%s)" --require-gpu
"$python" bench/training.py
CUDA_VISIBLE_DEVICES='' JAX_PLATFORMS=cpu "$python" bench/training.py
