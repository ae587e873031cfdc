# lsml for a CPU: docker build -t lsml . && docker run --rm -v "$PWD:/project" lsml tune --demo
# With requirements-gpu.lock for the lock, and a driver on the host, docker run --gpus all has the GPUs too.
FROM python:3.11-slim
ARG LOCK=requirements.lock
COPY ${LOCK} /opt/lsml/requirements.lock
RUN python -m pip install --no-cache-dir --require-hashes --no-deps --requirement /opt/lsml/requirements.lock
COPY pyproject.toml README.md LICENSE /opt/lsml/
COPY lsml /opt/lsml/lsml
COPY experiments /opt/lsml/experiments
RUN python -m pip install --no-cache-dir --no-deps --no-build-isolation /opt/lsml
WORKDIR /project
RUN useradd --create-home --uid 1000 lsml && chown lsml /project
USER lsml
ENTRYPOINT ["lsml"]
