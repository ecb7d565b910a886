#!/bin/sh
# Installs Outrider's units, or removes them: install.sh [--uninstall]
#
#   DESTDIR   in front of every path, for packages and tests; nothing of the running system is touched then
#   PREFIX    where `outrider` is (default /usr/local; its bin folder is named in the units)
#
# Uninstalling stops the services, which removes the rules, and leaves /etc/outrider, logs and the user.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
dest=${DESTDIR:-}
prefix=${PREFIX:-/usr/local}
units=$dest/etc/systemd/system
live() { [ -z "$dest" ]; }
fail() { echo "install.sh: $1" >&2; exit 1; }

uninstall() {
    if live && command -v systemctl >/dev/null; then
        systemctl disable --now outrider-rules.service outrider.service 2>/dev/null || true
    fi
    rm -f "$units/outrider.service" "$units/outrider-rules.service" "$dest/etc/logrotate.d/outrider"
    rmdir "$dest/etc/outrider" 2>/dev/null || true
    if live && command -v systemctl >/dev/null; then systemctl daemon-reload; fi
    echo "removed; what is in $dest/etc/outrider stays"
}

install_all() {
    if live; then
        [ -x "$prefix/bin/outrider" ] || fail "$prefix/bin/outrider is not there; give PREFIX, or install the package first"
        id outrider >/dev/null 2>&1 ||
            useradd --system --user-group --no-create-home --shell /usr/sbin/nologin outrider
    fi
    mkdir -p "$units" "$dest/etc/logrotate.d" "$dest/etc/outrider"
    for unit in outrider.service outrider-rules.service; do
        sed "s|@BINDIR@|$prefix/bin|g" "$here/$unit" >"$units/$unit.new"
        chmod 644 "$units/$unit.new"
        mv "$units/$unit.new" "$units/$unit"
    done
    cp "$here/outrider.logrotate" "$dest/etc/logrotate.d/outrider"
    chmod 644 "$dest/etc/logrotate.d/outrider"
    if live && command -v systemctl >/dev/null; then systemctl daemon-reload; fi
    echo "installed; write $dest/etc/outrider/envoy.yaml, then: systemctl enable --now outrider"
    echo "to capture traffic, write $dest/etc/outrider/rules.env, then: systemctl enable --now outrider-rules"
}

case "${1:-}" in
    "") ;;
    --uninstall) ;;
    *) fail "unknown argument $1; usage: install.sh [--uninstall]" ;;
esac
case "$prefix" in
    /*) ;;
    *) fail "PREFIX must be an absolute path" ;;
esac
if live && [ "$(id -u)" -ne 0 ]; then fail "run this as root, or set DESTDIR"; fi
if [ "${1:-}" = --uninstall ]; then uninstall; else install_all; fi
