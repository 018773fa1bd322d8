# SPDX-License-Identifier: MIT
"""The structs of records.py are those of the committed object, field by field."""

from __future__ import annotations

import ctypes
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from leakstop.bpf import records, values
from leakstop.bpf.libbpf import Object, library
from leakstop.model.channel import Channel, Library, Tie
from leakstop.model.tamper import KERNEL_TRICKS
from leakstop.model.verdict import Action, Carriage, Reason
from leakstop.policy.scopes import PROGRAM_BYTES

BPF = Path(records.__file__).parent
OBJECTS = sorted(BPF.glob("leakstop.*.bpf.o"))
DENIALS = sorted(BPF.glob("deny.*.bpf.o"))


def btf_types(path: Path) -> list[dict[str, Any]]:
    dump = subprocess.run(
        ["bpftool", "--json", "btf", "dump", "file", str(path)], capture_output=True, check=True
    )
    types: list[dict[str, Any]] = json.loads(dump.stdout)["types"]
    return types


def map_names(path: Path) -> set[str]:
    opened = Object(library(), path)
    try:
        return {each.name for each in opened.maps() if "." not in each.name}
    finally:
        opened.close()


def test_there_is_an_object_for_both_architectures() -> None:
    for name, found in (("leakstop", OBJECTS), ("deny", DENIALS)):
        wanted = [f"{name}.aarch64.bpf.o", f"{name}.x86_64.bpf.o"]
        assert [path.name for path in found] == wanted


@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: path.name)
def test_structs(path: Path) -> None:
    structs = {item["name"]: item for item in btf_types(path) if item["kind"] == "STRUCT"}
    for name, mirror in (records.MIRRORS | values.MIRRORS).items():
        in_object = structs[name]
        assert ctypes.sizeof(mirror) == in_object["size"], name
        offsets = {field: getattr(mirror, field).offset for field, *_ in mirror._fields_}
        assert offsets == {
            member["name"]: member["bits_offset"] // 8 for member in in_object["members"]
        }, name


@pytest.mark.parametrize("path", DENIALS, ids=lambda path: path.name)
def test_what_denies_knows_the_same_structs_and_maps(path: Path) -> None:
    """It is loaded upon the maps of the data plane."""
    plane = BPF / path.name.replace("deny", "leakstop")
    theirs = {each["name"]: each for each in btf_types(plane) if each["kind"] == "STRUCT"}
    shared = [each for each in btf_types(path) if each["name"] in ("config", "owner")]
    assert len(shared) == 2
    for each in shared:
        assert each["size"] == theirs[each["name"]]["size"]
    assert map_names(path) and map_names(path) <= map_names(plane)


@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: path.name)
@pytest.mark.parametrize(
    ("name", "prefix", "words"),
    [
        ("action", "ACTION_", [each.name for each in Action]),
        ("reason", "REASON_", [each.name for each in Reason]),
        ("carriage", "CARRIAGE_", [each.name for each in Carriage]),
        ("channel", "CHANNEL_", [each.name for each in Channel]),
        ("library", "LIBRARY_", [each.name for each in Library]),
        ("tie", "TIE_", [each.name for each in Tie]),
        ("trick", "TRICK_", [each.name for each in KERNEL_TRICKS]),
    ],
)
def test_enums_follow_the_model(path: Path, name: str, prefix: str, words: list[str]) -> None:
    header = (BPF / "leakstop.h").read_text()
    body = header.partition(f"enum {name} {{")[2].partition("}")[0]
    words_there = re.sub(r"/\*.*?\*/", "", body, flags=re.DOTALL).split(",")
    assert [word.strip().removeprefix(prefix) for word in words_there if word.strip()] == words


def test_a_policy_takes_a_path_for_which_the_key_has_room() -> None:
    assert values.PROGRAM_MAX - len("\0") == PROGRAM_BYTES
