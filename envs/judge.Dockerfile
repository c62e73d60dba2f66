# Evaluates, compares, judges and renders finished runs, on a CPU and without torch.
#   docker build -f envs/judge.Dockerfile -t replication-judge .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD/results:/data/results" replication-judge verdicts
FROM docker.io/library/python:3.12-slim-bookworm

ENV PYTHONPATH=/opt/replication \
    NUMBA_CACHE_DIR=/tmp/numba \
    MPLCONFIGDIR=/tmp/matplotlib

COPY envs/judge.txt /opt/replication/envs/judge.txt
RUN pip install --no-cache-dir --require-hashes --no-deps -r /opt/replication/envs/judge.txt

COPY configs /opt/replication/configs
COPY replication /opt/replication/replication

WORKDIR /data
ENTRYPOINT ["python", "-m", "replication"]
CMD ["--help"]
