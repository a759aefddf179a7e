#!/usr/bin/env python3
"""Download a wheel pinned in wheels.json and unpack the files listed there into FOLDER: all of them or none.

usage: wheel.py NAME FOLDER [--versioned] [--wheels FILE]

The wheel must have the pinned digest and size, and every unpacked file its own digest and size. FOLDER appears in one
step by a rename, and says in wheel.sha256 which wheel it is of. One that is already whole and of the pinned wheel is left
alone, any other is replaced. With --versioned it is FOLDER/NAME-VERSION. Needs pip and nothing else; the wheel may be meant
for another Python than the one that runs this.
"""

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import re
import shutil
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


def is_text(pattern):
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value, re.ASCII) is not None


# What a pin must be: a test, and its words. A word gets into a requirement, a path, and pip's options.
DIGEST = is_text("[0-9a-f]{64}"), "a digest of 64 hexadecimal digits"
SIZE = lambda value: type(value) is int and value > 0, "a number of bytes"
TEXT = is_text("[^\n]+"), "a line of text"
WORD = is_text(r"\w[\w.+!-]*"), "a name or version"
WHEEL = is_text(r"[\w.+!]+(-[\w.+!]+){4,5}\.whl"), "the file name of a wheel"
TABLE = lambda value: isinstance(value, dict) and value, "a table with something in it"
PINS = {"name": WORD, "version": WORD, "file": WHEEL, "bytes": SIZE, "sha256": DIGEST, "licence": TEXT, "folder": TEXT}


def read_pins(path):
    """The wheels by their names. Everything is looked at here, so that nobody below meets a pin of another shape."""

    def pin(table, place, key, kind):
        is_right, words = kind
        if key not in table:
            raise Refused(f"{path}: {place}{key}: missing, it should be {words}")
        if not is_right(table[key]):
            raise Refused(f"{path}: {place}{key}: {json.dumps(table[key])[:80]} is not {words}")
        return table[key]

    try:
        document = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise Refused(f"{path}: not JSON: {error}") from None
    if not isinstance(document, dict):
        raise Refused(f"{path}: not a table")
    wheels = pin(document, "", "wheels", TABLE)
    for name in wheels:
        if not WORD[0](name):
            raise Refused(f"{path}: wheels: {name!r} is not {WORD[1]}")
        wheel = pin(wheels, "wheels.", name, TABLE)
        for key, kind in PINS.items():
            pin(wheel, f"wheels.{name}.", key, kind)
        for file in pin(wheel, f"wheels.{name}.", "unpack", TABLE):
            if file in ("", ".", "..", RECORD) or pathlib.PurePath(file).name != file:
                raise Refused(f"{path}: wheels.{name}.unpack: the pinned name {file!r} is no plain file name")
            digests = pin(wheel["unpack"], f"wheels.{name}.unpack.", file, TABLE)
            for key, kind in {"bytes": SIZE, "sha256": DIGEST}.items():
                pin(digests, f"wheels.{name}.unpack.{file}.", key, kind)
    return wheels


# Names the wheel in a folder that was unpacked from it.
RECORD = "wheel.sha256"


def record(wheel):
    return f"{wheel['sha256']}  {wheel['file']}\n"


def flaw(folder, wheel):
    """What makes a folder another than the pinned one; None where it is that one."""
    if not (folder / RECORD).is_file():
        return "it does not say which wheel it is of"
    if (folder / RECORD).read_text(errors="replace") != record(wheel):
        return "it is of another wheel"
    for name, pin in wheel["unpack"].items():
        if not (folder / name).is_file() or not is_pinned(folder / name, pin):
            return f"{name} is not the pinned file"
    return None


def is_pinned(path, pin):
    return path.stat().st_size == pin["bytes"] and sha256(path) == pin["sha256"]


@contextlib.contextmanager
def alone(folder, name):
    """One run at a time for a name in a folder, without what killed ones have left there. Where nothing can be written, or
    the file system has no locks, nothing is cleared away."""
    if not os.access(folder, os.W_OK):
        yield
        return
    path = folder / f".{name}.lock"
    while True:
        with open(path, "a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"{name}: waiting for another run that fetches it", flush=True)
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError:
                path.unlink(missing_ok=True)
                yield
                return
            # The run that held it has deleted it; a third may hold a new one by now.
            if not is_still(file, path):
                continue
            try:
                for left in folder.glob(f".{name}.*"):
                    if left.is_dir() and not left.is_symlink():
                        shutil.rmtree(left, ignore_errors=True)
                yield
            finally:
                path.unlink()
            return


def is_still(file, path):
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


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
            try:
                source = archive.open(f"{wheel['folder']}/{name}")
            except KeyError:
                raise Refused(f"{wheel['file']}: holds no {wheel['folder']}/{name}") from None
            with source, open(into / name, "wb") as target:
                copy_at_most(source, target, pin["bytes"])
            if not is_pinned(into / name, pin):
                raise Refused(f"{wheel['file']}: {name} does not have the pinned digest and size")


def fetch(arguments):
    name, folder = arguments.name, arguments.folder
    pins = read_pins(arguments.wheels)
    if name not in pins:
        raise Refused(f"{arguments.wheels}: no wheel named {name}; known are {', '.join(sorted(pins))}")
    wheel = pins[name]
    if arguments.versioned:
        folder = folder / f"{name}-{wheel['version']}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with alone(folder.parent, name):
        found = flaw(folder, wheel)
        if found is None:
            print(f"{name}: {folder} is there and has the pinned digests")
            return
        if folder.exists():
            print(f"{name}: {folder} is to be replaced: {found}")
        print(f"{name}: fetching {wheel['name']} {wheel['version']} ({wheel['bytes'] / 1e6:.1f} MB)", flush=True)
        print(f"{name}: licence: {wheel['licence']}", flush=True)
        replace(folder, name, wheel)
        print(f"{name}: unpacked {', '.join(wheel['unpack'])} into {folder}")


def replace(folder, name, wheel):
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{name}.") as scratch:
        scratch = pathlib.Path(scratch)
        whole = scratch / "whole"
        whole.mkdir()
        unpack(download(wheel, scratch), wheel, whole)
        (whole / RECORD).write_text(record(wheel))
        if folder.exists():
            folder.rename(scratch / "replaced")
        whole.rename(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("folder", metavar="FOLDER", type=pathlib.Path)
    parser.add_argument("--versioned", action="store_true")
    parser.add_argument("--wheels", type=pathlib.Path, default=pathlib.Path(__file__).parent / "wheels.json")
    arguments = parser.parse_args()
    # Without this a terminated run would leave its scratch folder behind. What nohup has ignored stays so.
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        fetch(arguments)
    except (Refused, OSError, ValueError, zipfile.BadZipFile) as error:
        sys.exit(f"error: {error}; nothing was kept")


if __name__ == "__main__":
    main()
