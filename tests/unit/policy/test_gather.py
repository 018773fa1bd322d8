# SPDX-License-Identifier: MIT
"""What is read, in which order, and what cannot be."""

from __future__ import annotations

import pytest

from leakstop.errors import PolicyError
from leakstop.policy.gather import FILES, Gathered, Given, Overrides, gather, needed_managers
from leakstop.policy.presets import Presets
from leakstop.policy.problem import PolicyErrors
from unit.policy.written import PRESETS, Loader

BASE = "version: 1\n"


def gathered(
    *sources: Given, files: dict[str, str] | None = None, overrides: Overrides | None = None
) -> Gathered:
    return gather(
        sources, loader=Loader(files or {}), presets=Presets(PRESETS), overrides=overrides
    )


def names(found: Gathered) -> list[str]:
    return [document.name for document in found.documents]


def test_what_is_extended_is_read_first_and_once() -> None:
    files = {
        "a.yml": BASE + "extends: [./b.yml, ./c.yml]\n",
        "b.yml": BASE + "extends: ./d.yml\n",
        "c.yml": BASE + "extends: ./d.yml\n",
        "d.yml": BASE,
    }
    assert names(gathered(Given("a.yml"), Given("d.yml"), files=files)) == [
        "d.yml",
        "b.yml",
        "c.yml",
        "a.yml",
    ]


def test_a_text_is_not_loaded() -> None:
    loader = Loader({})
    gather([Given("input `policy`", BASE)], loader=loader, presets=Presets(PRESETS))
    assert loader.loaded == []


@pytest.mark.parametrize(
    ("files", "circle"),
    [
        ({"a.yml": "./a.yml"}, "a.yml → a.yml"),
        ({"a.yml": "./b.yml", "b.yml": "./c.yml", "c.yml": "./b.yml"}, "b.yml → c.yml → b.yml"),
    ],
)
def test_a_circle_is_shown(files: dict[str, str], circle: str) -> None:
    texts = {name: f"{BASE}extends: {other}\n" for name, other in files.items()}
    with pytest.raises(PolicyError, match=circle):
        gathered(Given("a.yml"), files=texts)


def test_a_file_that_is_missing_is_named() -> None:
    with pytest.raises(PolicyError, match=r"`a\.yml` could not be read: No such file"):
        gathered(Given("a.yml"))


def test_a_file_that_is_missing_is_named_where_it_is_extended() -> None:
    with pytest.raises(PolicyError) as error:
        gathered(Given("a.yml"), files={"a.yml": BASE + "extends:\n  - ./b.yml\n"})
    assert error.value.where == "a.yml:3:5"
    assert "`b.yml` could not be read" in error.value.what


def test_a_file_that_is_no_text_is_named() -> None:
    def loader(path: str) -> str:
        return b"\xff".decode()

    with pytest.raises(PolicyError, match=r"`a\.yml` is not UTF-8"):
        gather([Given("a.yml")], loader=loader, presets=Presets(PRESETS))


def test_there_is_an_end_to_extending() -> None:
    files = {f"{n}.yml": f"{BASE}extends: ./{n + 1}.yml\n" for n in range(FILES + 2)}
    files[f"{FILES + 2}.yml"] = BASE
    with pytest.raises(PolicyError, match=f"more than {FILES} files"):
        gathered(Given("0.yml"), files=files)


def test_errors_of_all_files_and_inputs_come_together() -> None:
    files = {
        "a.yml": BASE + "extends: ./b.yml\nmode: enforce\n",
        "b.yml": BASE + "allow: gihub\n",
        "c.yml": BASE + "extends: ./d.yml\n",
        "d.yml": BASE + "deny: gihub\n",
    }
    overrides = Overrides(allow=(Given("input `allow`", "pyhton"),), homes={"TOKEN": ("gihub",)})
    with pytest.raises(PolicyErrors) as error:
        gathered(Given("a.yml"), Given("c.yml"), files=files, overrides=overrides)
    assert [problem.source for problem in error.value.problems] == [
        "a.yml",
        "d.yml",
        "input `allow`",
        "input `secrets`",
    ]


def test_the_nearest_home_counts() -> None:
    overrides = Overrides(
        homes={"A": ("input.test",)},
        format_homes={"A": ("format.test",), "B": ("format.test",), "C": ("format.test",)},
    )
    files = {
        "base.yml": BASE + "secrets: {A: base.test, B: base.test}\n",
        "near.yml": BASE + "extends: ./base.yml\nsecrets: {B: near.test}\n",
    }
    found = gathered(Given("near.yml"), files=files, overrides=overrides)
    assert {name: (home.home.text, home.placed_by) for name, home in found.homes.items()} == {
        "A": (("input.test",), "input"),
        "B": (("near.test",), "policy"),
        "C": (("format.test",), "format"),
    }


def test_only_managers_that_are_named_are_asked() -> None:
    assert needed_managers(gathered(Given("a.yml", BASE + "allow: [a.test, github]\n"))) == set()
    text = BASE + "allow: python\nsecrets: {T: publish:npm}\nexpect: {deny: publish:pip}\n"
    overrides = Overrides(
        allow=(Given("--allow", "registry:apt"),), format_homes={"N": ("registry:npm",)}
    )
    found = gathered(Given("a.yml", text), overrides=overrides)
    needed = {"registry:pip", "publish:npm", "registry:apt", "registry:npm"}
    assert needed_managers(found) == needed
    assert needed_managers(found, cases=True) == needed | {"publish:pip"}


def test_a_home_that_is_overruled_asks_nobody() -> None:
    overrides = Overrides(format_homes={"T": ("registry:npm",)})
    found = gathered(Given("a.yml", BASE + "secrets: {T: a.test}\n"), overrides=overrides)
    assert needed_managers(found) == set()
