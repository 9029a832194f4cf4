# syntax=docker/dockerfile:1
# modeldl with Python, for conversions: docker build -f examples/docker/converting.Dockerfile -t modeldl:converting examples/docker
ARG MODELDL=modeldl
FROM ${MODELDL}
USER root
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
USER 1000:1000
