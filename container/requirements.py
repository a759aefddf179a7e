#!/usr/bin/env python3
"""Write requirements-test.txt or requirements-parity.txt anew, of today's releases: packages with the digests of their wheels.

usage: container/requirements.py test|parity, then make pins

Asks the package index that pip uses, for every Python and machine of the file, what it would install; nothing is installed.
Needs a network, and pip 23.1 or newer. For `parity`, pip fetches 3.5 GB for each Python to look into them.
"""

import collections
import dataclasses
import json
import pathlib
import subprocess
import sys
import tempfile


@dataclasses.dataclass
class File:
    """What a file of pins is for."""

    head: str
    wanted: list
    pythons: list
    machines: list


FILES = {
    "test": File(
        "What the tests that compare with other programs need: container/setup.sh --test installs it into runs/venv.",
        ["numpy", "onnx", "pyarrow", "safetensors"],
        ["3.10", "3.11", "3.12", "3.13", "3.14"],
        ["x86_64", "aarch64"],
    ),
    "parity": File(
        "What make parity compares with: container/setup.sh --parity installs it into runs/venv-parity.",
        # torch wants setuptools from Python 3.12 on, which pip does not see from an older one.
        ["numpy", "setuptools", "torch==2.9.1", "transformers==5.24.0"],
        ["3.11", "3.12", "3.13"],
        ["x86_64"],
    ),
}
GLIBC = (2, 28)


def resolve(wanted, python, machine):
    """(name, version, digest) of each package that a machine's Python would get."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--dry-run"]
    command += ["--ignore-installed", "--only-binary", ":all:", "--implementation", "cp", "--python-version", python]
    for minor in range(17, GLIBC[1] + 1):
        command += ["--platform", f"manylinux_{GLIBC[0]}_{minor}_{machine}"]
    command += ["--platform", f"manylinux2014_{machine}"]
    with tempfile.TemporaryDirectory() as scratch:
        report = pathlib.Path(scratch) / "report.json"
        command += ["--target", scratch, "--report", str(report), *wanted]
        subprocess.run(command, check=True)
        packages = json.loads(report.read_text())["install"]
    for package in packages:
        digest = package["download_info"]["archive_info"]["hashes"]["sha256"]
        yield package["metadata"]["name"], package["metadata"]["version"], digest


def marker(pythons, every):
    """The oldest release serves older Pythons too, and the newest newer ones, so that pip refuses a Python that has none
    and leaves nothing out."""
    first, last = pythons[0], pythons[-1]
    parts = [] if first == every[0] else [f'python_version >= "{first}"']
    if last != every[-1]:
        parts.append(f'python_version < "{every[every.index(last) + 1]}"')
    return " ; " + " and ".join(parts) if parts else ""


def main():
    if len(sys.argv) != 2 or sys.argv[1] not in FILES:
        sys.exit(f"usage: container/requirements.py {'|'.join(FILES)}")
    kind = sys.argv[1]
    file = FILES[kind]
    digests, pythons = collections.defaultdict(list), collections.defaultdict(list)
    for python in file.pythons:
        for machine in file.machines:
            for name, version, digest in resolve(file.wanted, python, machine):
                if digest not in digests[name, version]:
                    digests[name, version].append(digest)
                if python not in pythons[name, version]:
                    pythons[name, version].append(python)
    lines = [
        f"# {file.head}",
        f"# For CPython {' '.join(file.pythons)} on {' '.join(file.machines)} with glibc {GLIBC[0]}.{GLIBC[1]} or newer.",
        f"# Made anew by: container/requirements.py {kind}, then make pins",
    ]
    for name, version in sorted(digests):
        hashes = "".join(f" \\\n    --hash=sha256:{digest}" for digest in digests[name, version])
        lines.append(f"{name}=={version}{marker(pythons[name, version], file.pythons)}{hashes}")
    pathlib.Path(__file__).with_name(f"requirements-{kind}.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
