# Builds an image of the gateway: the wheel, the pinned packages of requirements.txt, and redis for GATEWAY_STATE.
#   docker build -t flask-llm-gateway .
#   docker run --rm -p 127.0.0.1:8000:8000 -e GATEWAY_API_KEYS="$(openssl rand -hex 32)" flask-llm-gateway
FROM python:3.13-slim AS build
WORKDIR /src
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY requirements.txt requirements-dev.txt ./
RUN python -m venv /opt/flask-gateway \
    && sed -n '/^redis==/,/^$/{/^    # /q;p}' requirements-dev.txt > requirements-redis.txt \
    && /opt/flask-gateway/bin/pip install --require-hashes -r requirements.txt \
    && /opt/flask-gateway/bin/pip install --require-hashes --no-deps -r requirements-redis.txt
COPY pyproject.toml setup.py README.md ./
COPY flask_gateway flask_gateway
RUN pip wheel --no-deps --wheel-dir /wheels . \
    && /opt/flask-gateway/bin/pip install --no-deps /wheels/*.whl

FROM python:3.13-slim
LABEL org.opencontainers.image.title="Flask Gateway" \
      org.opencontainers.image.description="A synchronous WSGI gateway for large language models"
COPY --from=build /opt/flask-gateway /opt/flask-gateway
# GATEWAY_BIND: the container's own addresses; publish the port where it should be reached.
ENV PATH=/opt/flask-gateway/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    GATEWAY_BIND=0.0.0.0:8000
# A user without a name and without rights. Nothing is written but /tmp and /dev/shm.
USER 10001:10001
WORKDIR /tmp
EXPOSE 8000
# gunicorn lets calls in flight end within GATEWAY_GRACEFUL_SECONDS.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["flask-gateway"]
CMD ["serve"]
