#!/usr/bin/env python3
"""List the licences of the crates in mixprec and refuse any that deny.toml does not allow.

usage: licences.py [--config FILE] [--metadata FILE]

Reads `cargo metadata` of the locked dependencies on this system, without a network where cargo has them, or the JSON in
FILE. Prints every licence expression with its crates. Exits with 1 when a crate has no licence, none that is allowed,
or comes from elsewhere than the registry. Needs Python 3.11.
"""

import argparse
import collections
import json
import pathlib
import re
import subprocess
import sys
import tomllib

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


def is_allowed(expression, allowed):
    """Whether an SPDX expression can be met with the allowed licences. AND binds tighter than OR; the old form with a
    slash is a choice."""
    tokens = re.findall(r"[()]|[^\s()]+", expression.replace("/", " OR "))

    def choice():
        met = both()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            # Not `met or both()`: the tokens have to be read.
            met = both() | met
        return met

    def both():
        met = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            met = one() & met
        return met

    def one():
        if not tokens:
            raise ValueError(f"licence expression {expression!r} ends too early")
        token = tokens.pop(0)
        if token == "(":
            met = choice()
            if not tokens or tokens.pop(0) != ")":
                raise ValueError(f"licence expression {expression!r} has an open parenthesis")
            return met
        if tokens and tokens[0] == "WITH":
            tokens.pop(0)
            token = f"{token} WITH {tokens.pop(0)}"
        return token in allowed

    met = choice()
    if tokens:
        raise ValueError(f"licence expression {expression!r} has {tokens[0]!r} too much")
    return met


def host():
    """The target triple of this system."""
    said = subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout
    return re.search(r"^host: (.*)$", said, re.MULTILINE).group(1)


def metadata():
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", host()]
    said = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    return json.loads(said.stdout)


def dependencies(found):
    """What is compiled for this system, except the workspace itself."""
    used = {node["id"] for node in found["resolve"]["nodes"]} - set(found["workspace_members"])
    return sorted((p for p in found["packages"] if p["id"] in used), key=lambda p: (p["name"], p["version"]))


def refusals(crates, allowed):
    for crate in crates:
        name = f"{crate['name']} {crate['version']}"
        if not (crate["source"] or "").startswith("registry+"):
            yield f"{name}: comes from {crate['source'] or 'a folder'}, not from the registry"
        if not crate["license"]:
            yield f"{name}: states no licence"
        elif not is_allowed(crate["license"], allowed):
            yield f"{name}: {crate['license']} is not allowed"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=pathlib.Path, default=REPOSITORY / "deny.toml")
    parser.add_argument("--metadata", type=pathlib.Path)
    arguments = parser.parse_args()
    allowed = set(tomllib.loads(arguments.config.read_text())["licenses"]["allow"])
    found = json.loads(arguments.metadata.read_text()) if arguments.metadata else metadata()
    crates = dependencies(found)
    groups = collections.defaultdict(list)
    for crate in crates:
        groups[crate["license"] or "none stated"].append(f"{crate['name']} {crate['version']}")
    for expression, names in sorted(groups.items(), key=lambda group: (-len(group[1]), group[0])):
        print(f"{expression} ({len(names)}): {', '.join(names)}")
    refused = list(refusals(crates, allowed))
    for line in refused:
        print(f"refused: {line}", file=sys.stderr)
    print(f"{len(crates)} crates, {len(groups)} licence expressions, {len(refused)} refused")
    sys.exit(1 if refused else 0)


if __name__ == "__main__":
    main()
