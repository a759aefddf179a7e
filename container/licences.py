#!/usr/bin/env python3
"""List the licences of the crates in mixprec and refuse any, and any source of crates, that deny.toml does not allow.

usage: licences.py [--config FILE] [--metadata FILE]

Reads `cargo metadata` of the locked dependencies on this system, without a network where cargo has them, or the JSON in
FILE. Prints every licence expression with its crates. Exits with 1 when a crate has no licence, none that is allowed,
or comes from a folder or a source that is not allowed. Needs Python 3.11.
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


class Sources:
    """deny.toml's [sources], with cargo-deny's meaning and defaults. Crates in folders are refused as well: none is used."""

    DEFAULTS = {
        "unknown-registry": "warn",
        "unknown-git": "warn",
        "allow-registry": ["https://github.com/rust-lang/crates.io-index"],
        "allow-git": [],
    }

    def __init__(self, table):
        if strange := table.keys() - self.DEFAULTS.keys():
            sys.exit(f"error: sources.{min(strange)} is not applied here; known are {', '.join(self.DEFAULTS)}")
        self.table = self.DEFAULTS | table

    @staticmethod
    def address(url):
        """An address without what names a commit, or how the repository at it is spelt."""
        return re.sub(r"[?#].*", "", url).rstrip("/").removesuffix(".git")

    def level(self, source):
        """What to do about a crate from there: deny, warn or allow."""
        if source is None:
            return "deny"
        kind, _, url = source.partition("+")
        name = "git" if kind == "git" else "registry"
        # The kind is part of the address of a sparse registry.
        address = self.address(source if kind == "sparse" else url)
        is_allowed = address in map(self.address, self.table[f"allow-{name}"])
        return "allow" if is_allowed else self.table[f"unknown-{name}"]


def refusals(crates, allowed, sources):
    for crate in crates:
        name = f"{crate['name']} {crate['version']}"
        level = sources.level(crate["source"])
        if level != "allow":
            said = f"{name}: comes from {crate['source'] or 'a folder'}, which [sources] does not allow"
            if level == "warn":
                print(f"warning: {said}", file=sys.stderr)
            else:
                yield said
        if not crate["license"]:
            yield f"{name}: states no licence"
        elif not is_allowed(crate["license"], allowed):
            yield f"{name}: {crate['license']} is not allowed"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=pathlib.Path, default=REPOSITORY / "deny.toml")
    parser.add_argument("--metadata", type=pathlib.Path)
    arguments = parser.parse_args()
    config = tomllib.loads(arguments.config.read_text())
    allowed = set(config["licenses"]["allow"])
    sources = Sources(config.get("sources", {}))
    found = json.loads(arguments.metadata.read_text()) if arguments.metadata else metadata()
    crates = dependencies(found)
    groups = collections.defaultdict(list)
    for crate in crates:
        groups[crate["license"] or "none stated"].append(f"{crate['name']} {crate['version']}")
    for expression, names in sorted(groups.items(), key=lambda group: (-len(group[1]), group[0])):
        print(f"{expression} ({len(names)}): {', '.join(names)}")
    refused = list(refusals(crates, allowed, sources))
    for line in refused:
        print(f"refused: {line}", file=sys.stderr)
    print(f"{len(crates)} crates, {len(groups)} licence expressions, {len(refused)} refused")
    sys.exit(1 if refused else 0)


if __name__ == "__main__":
    main()
