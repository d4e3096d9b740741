# The room server. Settings come from the environment: docs/how-to/run-in-a-container.md
FROM python:3.12-slim AS build
WORKDIR /src
RUN python -m venv /opt/openmeshagent
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY src src
RUN /opt/openmeshagent/bin/pip install --no-cache-dir --constraint constraints.txt ".[server,agents]"

FROM python:3.12-slim
RUN useradd --system --uid 10001 --create-home --home-dir /home/meshagent meshagent \
    && install -d -o meshagent -g meshagent -m 0700 /data
COPY --from=build /opt/openmeshagent /opt/openmeshagent
ENV PATH=/opt/openmeshagent/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    MESHAGENT_SERVER_HOST=0.0.0.0 \
    MESHAGENT_SERVER_PORT=8080 \
    MESHAGENT_SERVER_DATA_DIR=/data
USER meshagent
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD \
    ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
CMD ["meshagent", "serve"]
