# The service in an image: `docker build --tag bandit-router:0.1.0 .`
# Pin the base by its digest where images must be repeatable: --build-arg PYTHON_IMAGE=python:3.11-slim@sha256:...
ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY requirements.lock pyproject.toml ./
# What installs and builds comes by the hashes of the lock, too.
RUN python -m venv /opt/build \
    && awk 'BEGIN {split("uv hatchling packaging pathspec pluggy trove-classifiers", names); for (i in names) wanted[names[i]]} \
            /^[a-z]/ {split($1, name, "=="); on = name[1] in wanted} on' requirements.lock > /tmp/build.lock \
    && /opt/build/bin/pip install --quiet --require-hashes --no-deps --only-binary :all: --requirement /tmp/build.lock
# What the service needs at work, in the versions of the lock; what has no hash there is refused.
RUN python -m venv --without-pip /opt/bandit-router \
    && /opt/build/bin/uv pip install --quiet --no-cache --python /opt/bandit-router --compile-bytecode \
        --require-hashes --only-binary :all: --constraint requirements.lock --requirement pyproject.toml
COPY README.md LICENSE CHANGELOG.md ./
COPY bandit ./bandit
COPY services ./services
COPY migrations ./migrations
RUN /opt/build/bin/uv build --quiet --no-cache --wheel --no-build-isolation --python /opt/build/bin/python --out-dir /tmp/dist . \
    && /opt/build/bin/uv pip install --quiet --no-cache --python /opt/bandit-router --compile-bytecode --no-deps /tmp/dist/*.whl

FROM ${PYTHON_IMAGE}
# A number, so that a cluster can see that it is not root's.
RUN groupadd --gid 10001 bandit-router \
    && useradd --no-create-home --uid 10001 --gid 10001 --home-dir /nonexistent --shell /usr/sbin/nologin bandit-router \
    && install --directory --owner 10001 --group 10001 --mode 0700 /var/cache/bandit-router
COPY --from=build /opt/bandit-router /opt/bandit-router
ENV PATH=/opt/bandit-router/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    BANDIT_KERNEL_CACHE=/var/cache/bandit-router \
    BANDIT_LOG_FORMAT=json
# Kernels are compiled for the processor that they run on, when a process starts, into this folder; the image holds none.
# Mount a private writable folder here where the root is read-only.
USER 10001:10001
WORKDIR /var/cache/bandit-router
EXPOSE 50051
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 CMD ["bandit-router", "health"]
ENTRYPOINT ["bandit-router"]
CMD ["serve"]
