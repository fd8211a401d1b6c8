# The image of every Rescore process:  docker build -t rescore .   then   docker run rescore --help
# Not built yet on a container engine; see the head of docker-compose.yml.

FROM python:3.13-slim AS build
WORKDIR /source
COPY requirements.lock requirements-runtime.lock ./
# Each package is checked by hash, and so is the builder that makes our own wheel.
RUN python -m venv /opt/rescore \
 && /opt/rescore/bin/pip install --no-cache-dir --require-hashes -r requirements-runtime.lock \
 && sed -n '/^setuptools==/,/[^\\]$/p' requirements.lock > requirements-build.lock \
 && pip install --no-cache-dir --require-hashes -r requirements-build.lock
COPY pyproject.toml README.md ./
COPY schemas schemas
COPY state state
COPY streams streams
COPY local local
RUN pip wheel --no-deps --no-build-isolation --no-index --wheel-dir /wheels . \
 && /opt/rescore/bin/pip install --no-deps --no-index /wheels/*.whl

FROM python:3.13-slim
RUN useradd --create-home --uid 10001 rescore && install -d -o rescore -g rescore /home/rescore/.cache
COPY --from=build /opt/rescore /opt/rescore
ENV PATH=/opt/rescore/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER rescore
WORKDIR /home/rescore
ENTRYPOINT ["rescore"]
CMD ["--help"]
