#!/usr/bin/env python3
"""Download a wheel pinned in wheels.json and unpack the files listed there into FOLDER: all of them or none.

usage: wheel.py NAME FOLDER [--versioned] [--wheels FILE]

The wheel must have the pinned digest and size, and every unpacked file its own digest and size. FOLDER appears in one
step by a rename; a folder that is already whole is left alone, a damaged one is replaced. With --versioned it is
FOLDER/NAME-VERSION. Needs pip and nothing else; the wheel may be meant for another Python than the one that runs this.
"""

import argparse
import hashlib
import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import zipfile


class Refused(Exception):
    """A wheel or a file that is not what was pinned, or cannot be had."""


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()


def is_whole(folder, pins):
    return all((folder / name).is_file() and is_pinned(folder / name, pin) for name, pin in pins.items())


def is_pinned(path, pin):
    return path.stat().st_size == pin["bytes"] and sha256(path) == pin["sha256"]


def tags(wheel):
    """pip's options for the tags in the wheel's file name: a library for the C interface serves under any Python."""
    python, abi, platforms = wheel["file"].removesuffix(".whl").split("-")[-3:]
    if platforms == "any":
        return []
    implementation, version = python[:2], python[2:]
    options = ["--implementation", implementation, "--python-version", version, "--abi", abi]
    for platform in platforms.split("."):
        options += ["--platform", platform]
    return options


def download(wheel, into):
    """pip refuses any other digest; size and name are checked here, so that a wrong pin does not go unseen."""
    requirements = into / "requirements.txt"
    requirements.write_text(f"{wheel['name']}=={wheel['version']} --hash=sha256:{wheel['sha256']}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--require-hashes", "--dest", str(into), "--requirement", str(requirements)]
    command += tags(wheel)
    if subprocess.run(command).returncode != 0:
        raise Refused(f"{wheel['name']} {wheel['version']}: pip could not fetch a wheel with the pinned digest")
    path = into / wheel["file"]
    if not path.is_file():
        raise Refused(f"{wheel['name']} {wheel['version']}: pip brought no file named {wheel['file']}")
    if not is_pinned(path, wheel):
        raise Refused(f"{wheel['file']}: not the pinned bytes")
    return path


def copy_at_most(source, target, limit):
    """Copies what there is, but never more than one byte beyond the limit: a member may expand to anything."""
    while limit >= 0 and (piece := source.read(min(1 << 20, limit + 1))):
        target.write(piece)
        limit -= len(piece)


def unpack(path, wheel, into):
    """Members are read by the pinned names, so that no name in the archive decides where anything is written."""
    with zipfile.ZipFile(path) as archive:
        for name, pin in wheel["unpack"].items():
            if name in ("", ".", "..") or pathlib.PurePath(name).name != name:
                raise Refused(f"{wheel['file']}: the pinned name {name!r} is no plain file name")
            try:
                source = archive.open(f"{wheel['folder']}/{name}")
            except KeyError:
                raise Refused(f"{wheel['file']}: holds no {wheel['folder']}/{name}") from None
            with source, open(into / name, "wb") as target:
                copy_at_most(source, target, pin["bytes"])
            if not is_pinned(into / name, pin):
                raise Refused(f"{wheel['file']}: {name} does not have the pinned digest and size")


def fetch(arguments):
    name, folder, wheels = arguments.name, arguments.folder, arguments.wheels
    pins = json.loads(wheels.read_text())["wheels"]
    if name not in pins:
        raise Refused(f"{wheels}: no wheel named {name}; known are {', '.join(sorted(pins))}")
    wheel = pins[name]
    if arguments.versioned:
        folder = folder / f"{name}-{wheel['version']}"
    if is_whole(folder, wheel["unpack"]):
        print(f"{name}: {folder} is there and has the pinned digests")
        return
    print(f"{name}: fetching {wheel['name']} {wheel['version']} ({wheel['bytes'] / 1e6:.1f} MB)", flush=True)
    print(f"{name}: licence: {wheel['licence']}", flush=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{name}.") as scratch:
        scratch = pathlib.Path(scratch)
        whole = scratch / "whole"
        whole.mkdir()
        unpack(download(wheel, scratch), wheel, whole)
        if folder.exists():
            folder.rename(scratch / "replaced")
        whole.rename(folder)
    print(f"{name}: unpacked {', '.join(wheel['unpack'])} into {folder}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("folder", metavar="FOLDER", type=pathlib.Path)
    parser.add_argument("--versioned", action="store_true")
    parser.add_argument("--wheels", type=pathlib.Path, default=pathlib.Path(__file__).parent / "wheels.json")
    arguments = parser.parse_args()
    # Without this a terminated run would leave its scratch folder behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        fetch(arguments)
    except (Refused, OSError, ValueError, zipfile.BadZipFile) as error:
        sys.exit(f"error: {error}; nothing was kept")


if __name__ == "__main__":
    main()
