# Two stages: wheels are built and installed in the first, the second gets the environment alone.
#   docker build -t outrider .
#   docker run -v ./envoy.yaml:/etc/outrider/envoy.yaml:ro -p 10000:10000 outrider
# BASE is any Debian-like image with Python 3.11 to 3.14 as python3.
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
# An image of plain Debian has python3 without venv and pip.
RUN python3 -c 'import ensurepip' 2>/dev/null \
    || { apt-get update && apt-get install -y --no-install-recommends python3-venv; }
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY proxy proxy
COPY xds_client xds_client
COPY iptables iptables
COPY bench bench
RUN python3 -m venv /opt/outrider \
    && /opt/outrider/bin/pip install --no-cache-dir . \
    && /opt/outrider/bin/pip uninstall -y pip \
    && /opt/outrider/bin/python -m compileall -q /opt/outrider/lib \
    && mkdir -p /etc/outrider

FROM ${BASE}
# The uid by which Istio's redirection rules recognise the proxy's own traffic.
RUN echo 'outrider:x:1337:1337:outrider:/:/usr/sbin/nologin' >> /etc/passwd \
    && echo 'outrider:x:1337:' >> /etc/group
COPY --from=build /opt/outrider /opt/outrider
COPY --from=build /etc/outrider /etc/outrider
ENV PATH=/opt/outrider/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 1337:1337
# SIGTERM drains: connections are told to close and requests in flight finish.
STOPSIGNAL SIGTERM
ENTRYPOINT ["outrider"]
CMD ["-c", "/etc/outrider/envoy.yaml"]
