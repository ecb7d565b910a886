"""The `outrider` command: Envoy's flags, and our own verbs."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from proxy.app.command_line import HOT_RESTART_VERSION, OWN_VERBS, parse, usage
from proxy.base.errors import UsageError
from proxy.version import build_text


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line (without the program's name); returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if arguments and arguments[0] in OWN_VERBS:
            return _own_verb(arguments[0], arguments[1:])
        options = parse(arguments)
    except UsageError as error:
        print(error, file=sys.stderr)
        return 1
    if options.help:
        print(usage())
        return 0
    if options.version:
        print(f"\noutrider  version: {build_text()}\n")
        return 0
    if options.hot_restart_version:
        print("disabled" if options.disable_hot_restart else HOT_RESTART_VERSION)
        return 0
    if options.mode == "validate":
        from proxy.app.validate import validate

        return validate(options)
    from proxy.app.serve import serve

    return serve(options)


def _own_verb(verb: str, arguments: list[str]) -> int:
    if verb == "demo":
        from proxy.demo.__main__ import main as demo

        return demo(arguments)
    if verb == "control-plane":
        from proxy.control_plane.__main__ import main as control_plane

        return control_plane(arguments)
    if verb == "iptables":
        from iptables.cli import main as capture

        return capture(arguments)
    if verb == "run":
        from proxy.launch.run import main as run

        return run(arguments)
    if verb == "vm":
        from proxy.vm.cli import main as machine

        return machine(arguments)
    if verb == "bench":
        from bench.client.command import main as bench

        return bench(arguments)
    if verb == "wait":
        from proxy.launch.wait import main as wait

        return wait(arguments)
    raise UsageError(f"error: 'outrider {verb}' is not in this version")


if __name__ == "__main__":
    sys.exit(main())
