# Everything: training on NVIDIA GPUs, the workflow, the tests. CUDA's libraries come with the locked torch; the host
# brings a driver for them. 5 GB.
#   docker build -f envs/train.Dockerfile -t replication-train .
#   docker run --rm --gpus all --shm-size 8g -v "$PWD/results:/data/results" replication-train train --variant retinanet_R50
FROM docker.io/library/python:3.12-slim-bookworm

WORKDIR /opt/replication
COPY pyproject.toml README.md LICENSE Snakefile ./
COPY envs envs
COPY configs configs
COPY replication replication
COPY rules rules
COPY profiles profiles
# uv's cache, like pip's, holds what was installed a second time.
RUN UV_NO_CACHE=1 PIP_NO_CACHE_DIR=1 python envs/environment.py

ENV PATH=/opt/replication/.venv/bin:$PATH
WORKDIR /data
ENTRYPOINT ["replication"]
CMD ["--help"]
