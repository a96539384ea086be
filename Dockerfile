# One image for every role: `leastwise serve`, `leastwise worker` and so on.
#
#   docker build -t leastwise:0.1.0 .
#
# Needs nothing but the base image and PyPI. Everything that comes from there is pinned by hash:
# requirements.lock is what runs, requirements-build.lock is what makes the package's wheel.

FROM python:3.13-slim AS dependencies
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY requirements.lock ./
RUN python -m venv --without-pip /opt/leastwise \
    && pip --python /opt/leastwise/bin/python install \
        --require-hashes --no-deps --only-binary :all: --no-compile -r requirements.lock
# Bytecode now, since the root is read-only later; it does not look at the sources' times.
RUN python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/leastwise/lib

# A stage of its own, for a layer of its own: a change of the code does not move the dependencies.
FROM dependencies AS package
COPY requirements-build.lock ./
# The stage's own Python, which is thrown away: the builder, and what the code's types refer to.
RUN pip install --require-hashes --no-deps --only-binary :all: --no-compile \
        -r requirements-build.lock \
    && pip install --require-hashes --no-deps --only-binary :all: --no-compile -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY app ./app
# The request's way is compiled (docs/adr/0008). The C compiler comes from PyPI, since the base image
# has none; the code is to run on any processor, and not on the builder's alone.
ENV HATCH_BUILD_HOOK_ENABLE_MYPYC=1 CC="python -m ziglang cc -mcpu=baseline"
RUN pip wheel --no-deps --no-build-isolation --no-index --wheel-dir . . \
    && pip --python /opt/leastwise/bin/python install \
        --no-deps --no-index --no-compile --prefix /package leastwise-*.whl \
    && python -m compileall -q -j 0 --invalidation-mode unchecked-hash \
        -s /package -p /opt/leastwise /package/lib \
    && cp -a /package/. /opt/leastwise/ \
    && pip --python /opt/leastwise/bin/python check \
    && /opt/leastwise/bin/leastwise --version \
    && /opt/leastwise/bin/python -c 'from app.proxy import exchange; assert exchange.__file__.endswith(".so")'

FROM python:3.13-slim
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="leastwise" \
      org.opencontainers.image.description="A least-connections HTTP balancer for pools of Kubernetes worker pods that do long requests" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="docker.io/library/python:3.13-slim"
COPY --from=dependencies /opt/leastwise /opt/leastwise
COPY --from=package /package /opt/leastwise
ENV PATH=/opt/leastwise/bin:$PATH PYTHONDONTWRITEBYTECODE=1
# A number, so that Kubernetes can see that it is not root.
USER 65532:65532
# serve: data, admin and peers; worker.
EXPOSE 8000 9000 9001 8080
ENTRYPOINT ["leastwise"]
CMD ["--help"]
