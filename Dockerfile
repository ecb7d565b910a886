# Two stages: wheels are built and installed in the first, the second gets the environment alone.
#   docker build -t outrider .
#   docker run -v ./envoy.yaml:/etc/outrider/envoy.yaml:ro -p 10000:10000 outrider
# As an init container, which puts traffic capture in place and ends:
#   docker run --user 0 --cap-add NET_ADMIN outrider iptables -p 15001 -z 15006 -u 1337 -m REDIRECT -i '*' -b '*'
# BASE is any Debian-like image with Python 3.11 to 3.14 as python3.
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
# Further arguments to pip, such as --index-url, or --no-index --find-links of a folder that is mounted.
ARG PIP_ARGUMENTS=
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
    && /opt/outrider/bin/pip install --no-cache-dir ${PIP_ARGUMENTS} . \
    && /opt/outrider/bin/pip uninstall -y pip setuptools \
    && mkdir -p /etc/outrider

FROM ${BASE}
# What `outrider iptables` calls; an image of plain Debian has none of it.
RUN command -v nft >/dev/null && command -v ip >/dev/null \
    || { apt-get update && apt-get install -y --no-install-recommends iptables nftables iproute2 \
         && rm -rf /var/lib/apt/lists/*; }
# The uid by which Istio's redirection rules recognise the proxy's own traffic.
RUN echo 'outrider:x:1337:1337:outrider:/:/usr/sbin/nologin' >> /etc/passwd \
    && echo 'outrider:x:1337:' >> /etc/group
COPY --from=build /opt/outrider /opt/outrider
COPY --from=build /etc/outrider /etc/outrider
# ADMIN_PORT is asked by the health check; it is the port of `admin` in the bootstrap.
ENV PATH=/opt/outrider/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 ADMIN_PORT=15000
USER 1337:1337
# SIGTERM drains: connections are told to close and requests in flight finish.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s CMD ["python", "-c", "import os, urllib.request as r; \
r.urlopen('http://127.0.0.1:' + os.environ['ADMIN_PORT'] + '/ready', timeout=2)"]
ENTRYPOINT ["outrider"]
CMD ["-c", "/etc/outrider/envoy.yaml"]
