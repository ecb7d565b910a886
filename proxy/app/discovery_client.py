"""The client of the control plane as the command line wants it: remembering, and watching for unknown fields."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from proxy.app.command_line import Options

if TYPE_CHECKING:
    from proxy.discovery.surviving_client import SurvivingClient
    from xds_client.api import Client


def open_client(
    loop: asyncio.AbstractEventLoop,
    bootstrap: Any,
    options: Options,
    clusters: Mapping[str, bytes],
    secrets: Callable[[], Mapping[str, bytes]],
    started: Callable[[], bool],
    count_unknown_field: Callable[[], None],
) -> tuple[Client, SurvivingClient | None]:
    """The client, and the part of it that keeps what it brings over restarts, if that is wanted and can be.

    `clusters` are those that lead to control planes, by name; `secrets` gives the secrets that are here by now.
    """
    from proxy.discovery.client import make_client  # the control plane's client costs time to import

    client = make_client(loop, bootstrap, clusters, secrets)
    surviving = _surviving(client, loop, bootstrap, options, started)
    return _inspected(surviving or client, options, count_unknown_field), surviving


def _surviving(
    client: Client,
    loop: asyncio.AbstractEventLoop,
    bootstrap: Any,
    options: Options,
    started: Callable[[], bool],
) -> SurvivingClient | None:
    if options.no_state:
        return None
    from proxy.discovery.snapshot_store import open_store
    from proxy.discovery.surviving_client import SurvivingClient

    age, key_file = options.state_max_age, options.state_key_file
    store = open_store(loop, bootstrap.node, options.state_dir, age, key_file)
    if store is None:
        return None
    ads_config = bootstrap.dynamic_resources.ads_config
    return SurvivingClient(loop, client, store, ads_config, time.time, started)


def _inspected(client: Client, options: Options, count_unknown_field: Callable[[], None]) -> Client:
    """Unknown fields of what comes are counted or refused, as the command line says."""
    if options.ignore_unknown_dynamic_fields and not options.reject_unknown_dynamic_fields:
        return client
    from proxy.discovery.unknown_fields import UnknownFieldsClient

    return UnknownFieldsClient(client, count_unknown_field, reject=options.reject_unknown_dynamic_fields)
