"""The container image, built by buildah on a base that is made of this machine's own Python and tools.

No registry is asked. The image runs in a mount namespace of its own: its root read-only, as the user that it names.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from tests.support.outrider import ROOT
from tests.support.wheels import needed, pack

_PROGRAMS = (
    "sh",
    "mkdir",
    "rm",
    "cat",
    "env",
    "id",
    "iptables-nft-restore",
    "iptables-nft-save",
    "ip",
    "nft",
)
_LINKS = {name: f"usr/{name}" for name in ("bin", "sbin", "lib", "lib64")}
_FOLDERS = ("proc", "dev", "sys", "tmp", "etc", "root", "run", "mnt", "src")
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_LEFT_OUT = shutil.ignore_patterns(
    "test", "tests", "site-packages", "dist-packages", "config-*", "__pycache__"
)


def make_root(root: Path) -> None:
    """A file system with a Python of this version and the few programs that the build calls."""
    for name, to in _LINKS.items():
        (root / to).mkdir(parents=True)
        (root / name).symlink_to(to)
    for folder in _FOLDERS:
        (root / folder).mkdir()
    (root / "tmp").chmod(0o1777)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    interpreter = Path(sys.executable).resolve()
    standard = Path(sysconfig.get_path("stdlib"))
    shutil.copytree(standard, _under(root, standard), ignore=_LEFT_OUT, dirs_exist_ok=True)
    wheels = Path("/usr/share/python-wheels")
    if wheels.is_dir():
        shutil.copytree(wheels, _under(root, wheels))
    binaries = [interpreter, *standard.glob("lib-dynload/*.so")]
    binaries += [*Path(sysconfig.get_path("platlib")).rglob("*.so")]
    programs = [Path(found) for name in _PROGRAMS if (found := shutil.which(name, path=_PATH))]
    for program in programs:
        _copy(root, program.resolve())
        if program.resolve() != program and not (link := _under(root, program)).exists():
            link.symlink_to(program.resolve())
    _copy(root, interpreter)
    for name in ("python3", "python"):
        alias = root / "usr/bin" / name
        if not alias.exists():
            alias.symlink_to(interpreter)
    for library in _libraries([*binaries, *(program.resolve() for program in programs)]):
        _copy(root, library)
    for extensions in Path("/usr/lib").glob("*/xtables"):
        shutil.copytree(extensions, _under(root, extensions), dirs_exist_ok=True)


def _under(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def _copy(root: Path, path: Path) -> None:
    target = _under(root, path)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(path, target)


def _libraries(binaries: Sequence[Path]) -> Iterator[Path]:
    listing = subprocess.run(["ldd", *map(str, binaries)], capture_output=True, text=True, check=False).stdout
    yield from sorted({Path(found) for found in re.findall(r"(?:=> |^\s+)(/\S+) \(", listing, re.MULTILINE)})


@dataclass(frozen=True)
class Image:
    """What buildah has built, and where it is mounted."""

    storage: Path
    container: str
    mount: Path

    @functools.cached_property
    def config(self) -> dict[str, object]:
        """What the image says of itself, in Docker's words."""
        found = json.loads(buildah(self.storage, "inspect", self.container))
        config: dict[str, object] = found["Docker"]["config"]
        return config

    def run(self, *words: str) -> str:
        """Run a program in the container, as its user, by buildah; what it printed."""
        return buildah(self.storage, "run", "--isolation", "chroot", self.container, "--", *words)

    def command(self, *arguments: str, binds: Mapping[Path, str] | None = None, user: str = "") -> list[str]:
        """To start the entry point with a read-only root; `binds` are host folders by their place in it.

        The places must exist in the image. `user` is `uid:gid`, if not the image's own.
        """
        entry: list[str] = list(self.config["Entrypoint"])  # type: ignore[call-overload]
        return self.inside(*entry, *arguments, binds=binds, user=user)

    def inside(self, *words: str, binds: Mapping[Path, str] | None = None, user: str = "") -> list[str]:
        """As `command`, for any program of the image."""
        steps = [f"mount --bind '{self.mount}' '{self.mount}'", f"cd '{self.mount}'"]
        steps += [f"mount --bind '{source}' '.{target}'" for source, target in (binds or {}).items()]
        steps += [
            "mount --bind /proc ./proc",
            "mount --rbind /dev ./dev",
            "mount -t tmpfs tmpfs ./tmp",
            f"mount -o remount,ro,bind '{self.mount}'",
        ]
        uid, _, group = (user or str(self.config["User"])).partition(":")
        environment: list[str] = list(self.config["Env"])  # type: ignore[call-overload]
        clean = ["env", "-i", *environment]
        inside = ["chroot", f"--userspec={uid}:{group}", "--groups=", ".", *clean, *words]
        script = " && ".join([*steps, 'exec "$@"'])
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", *inside]


def buildah(storage: Path, *words: str) -> str:
    """Run buildah with a storage of its own; what it printed, AssertionError with its complaint if it fails."""
    path = shutil.which("buildah")
    assert path is not None, "the tests of the container image need the Debian package buildah"
    done = subprocess.run(
        [path, "--root", f"{storage}/root", "--runroot", f"{storage}/run", "--storage-driver", "vfs", *words],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"buildah {' '.join(words)}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


def build(folder: Path) -> Image:
    """Build the Dockerfile of this tree in an empty folder, which the caller removes."""
    root, wheels, storage = folder / "base", folder / "wheels", folder / "storage"
    root.mkdir()
    make_root(root)
    base = buildah(storage, "from", "scratch").strip()
    buildah(storage, "copy", "-q", base, str(root), "/")
    buildah(storage, "commit", "-q", "--rm", base, "localhost/base")
    shutil.rmtree(root)
    wheels.mkdir()
    for found in (*needed("outrider").values(), metadata.distribution("setuptools")):
        pack(found, wheels)
    buildah(
        *(
            storage,
            "bud",
            "-q",
            "--format",
            "docker",
            "--isolation",
            "chroot",
            "--pull-never",
            "--network",
            "host",
        ),
        *("--build-arg", "BASE=localhost/base"),
        *(
            "--build-arg",
            "PIP_ARGUMENTS=--no-compile --no-index --find-links /mnt",
            "-v",
            f"{wheels}:/mnt:ro",
        ),
        *("-t", "localhost/outrider", "-f", str(ROOT / "Dockerfile"), str(ROOT)),
    )
    container = buildah(storage, "from", "--pull-never", "localhost/outrider").strip()
    return Image(storage, container, Path(buildah(storage, "mount", container).strip()))
