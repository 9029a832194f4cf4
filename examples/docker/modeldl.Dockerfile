# syntax=docker/dockerfile:1
# The image of modeldl, of a checkout: docker build -f examples/docker/modeldl.Dockerfile -t modeldl .
ARG BASE=node:22-slim

FROM ${BASE} AS build
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
# Where npm needs them: its configuration as the secret `npmrc`, further certificates as the secret `ca`.
RUN --mount=type=cache,target=/root/.npm \
    --mount=type=secret,id=npmrc,target=/root/.npmrc \
    --mount=type=secret,id=ca,target=/run/secrets/ca \
    if [ -f /run/secrets/ca ]; then export NODE_EXTRA_CA_CERTS=/run/secrets/ca; fi; \
    npm ci --ignore-scripts --no-audit --no-fund
COPY . .
# What is published, without what only development needs: `npm run build` but for its check of the types, which takes longest.
RUN npx tsc --noEmit false --emitDeclarationOnly --noCheck \
    && npx rolldown -c \
    && npm prune --omit=dev --omit=optional --ignore-scripts --offline \
    && npm pack --silent --ignore-scripts --pack-destination /tmp \
    && mkdir /opt/modeldl \
    && tar -xzf /tmp/modeldl-*.tgz -C /opt/modeldl --strip-components=1 --no-same-owner \
    && mv node_modules /opt/modeldl/

FROM ${BASE}
COPY --from=build /opt/modeldl /opt/modeldl
# Volumes take owner and mode from here, mounts in memory the mode alone: any user may write there.
RUN chmod +x /opt/modeldl/dist/bin/modeldl.js \
    && ln -s /opt/modeldl/dist/bin/modeldl.js /usr/local/bin/modeldl \
    && mkdir -p /cache /work/models \
    && chmod -R 1777 /cache /work
ENV MODELDL_CACHE_DIR=/cache
USER 1000:1000
WORKDIR /work
ENTRYPOINT ["modeldl"]
CMD ["--help"]
