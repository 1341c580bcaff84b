# Not built in CI here (no Docker on that machine): for people with Docker, kind or a registry of their own.
# hack/images/agent.py makes the equivalent image from packages; keep the version in step with agent.toml.
#   docker build -f hack/images/agent.Dockerfile -t docker.io/agentrun/claude-code:2.1.329 hack/images
#   kind load docker-image docker.io/agentrun/claude-code:2.1.329
FROM node:22-bookworm-slim

ARG CLAUDE_CODE_VERSION=2.1.329

RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates git \
 && rm -rf /var/lib/apt/lists/* \
 && npm install --global "@anthropic-ai/claude-code@${CLAUDE_CODE_VERSION}" \
 && npm cache clean --force \
 && claude --version

# The node image gives uid 1000 to `node`; it becomes `agent` with the home that the operator's pods use.
RUN usermod --login agent --home /paperclip --shell /bin/bash node \
 && groupmod --new-name agent node \
 && mkdir -p /paperclip \
 && chown 1000:1000 /paperclip

ENV HOME=/paperclip SHELL=/bin/bash LANG=C.UTF-8 DISABLE_AUTOUPDATER=1
WORKDIR /paperclip
USER 1000:1000
CMD ["/bin/bash"]
