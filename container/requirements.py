#!/usr/bin/env python3
"""Write requirements-test.txt anew, of today's releases: the packages of the tests with the digests of their wheels.

usage: container/requirements.py, then make pins

Asks the package index that pip uses, for every Python and machine below, what it would install; nothing is installed.
Needs a network, and pip 23.1 or newer.
"""

import collections
import json
import pathlib
import subprocess
import sys
import tempfile

WANTED = ["numpy", "onnx", "pyarrow", "safetensors"]
PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]
MACHINES = ["x86_64", "aarch64"]
GLIBC = (2, 28)


def resolve(python, machine):
    """(name, version, digest) of each package that a machine's Python would get."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--dry-run"]
    command += ["--ignore-installed", "--only-binary", ":all:", "--implementation", "cp", "--python-version", python]
    for minor in range(17, GLIBC[1] + 1):
        command += ["--platform", f"manylinux_{GLIBC[0]}_{minor}_{machine}"]
    command += ["--platform", f"manylinux2014_{machine}"]
    with tempfile.TemporaryDirectory() as scratch:
        report = pathlib.Path(scratch) / "report.json"
        command += ["--target", scratch, "--report", str(report), *WANTED]
        subprocess.run(command, check=True)
        packages = json.loads(report.read_text())["install"]
    for package in packages:
        digest = package["download_info"]["archive_info"]["hashes"]["sha256"]
        yield package["metadata"]["name"], package["metadata"]["version"], digest


def marker(pythons):
    """The oldest release serves older Pythons too, and the newest newer ones, so that pip refuses a Python that has none
    and leaves nothing out."""
    first, last = pythons[0], pythons[-1]
    parts = [] if first == PYTHONS[0] else [f'python_version >= "{first}"']
    if last != PYTHONS[-1]:
        parts.append(f'python_version < "{PYTHONS[PYTHONS.index(last) + 1]}"')
    return " ; " + " and ".join(parts) if parts else ""


def main():
    digests, pythons = collections.defaultdict(list), collections.defaultdict(list)
    for python in PYTHONS:
        for machine in MACHINES:
            for name, version, digest in resolve(python, machine):
                if digest not in digests[name, version]:
                    digests[name, version].append(digest)
                if python not in pythons[name, version]:
                    pythons[name, version].append(python)
    lines = [
        "# What the tests that compare with other programs need: container/setup.sh --test installs it into runs/venv.",
        f"# For CPython {' '.join(PYTHONS)} on {' '.join(MACHINES)} with glibc {GLIBC[0]}.{GLIBC[1]} or newer.",
        "# Made anew by: container/requirements.py, then make pins",
    ]
    for name, version in sorted(digests):
        hashes = "".join(f" \\\n    --hash=sha256:{digest}" for digest in digests[name, version])
        lines.append(f"{name}=={version}{marker(pythons[name, version])}{hashes}")
    pathlib.Path(__file__).with_name("requirements-test.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
