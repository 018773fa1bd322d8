# SPDX-License-Identifier: MIT
"""Short ways to build a policy from text in tests, with made-up presets and indexes."""

from __future__ import annotations

from collections.abc import Mapping

from leakstop.policy.merge import Built, Given, Overrides, build, gather, needed_managers
from leakstop.policy.presets import Presets

PRESETS: Mapping[str, str] = {
    "runner": "version: 1\nallow: [results.runner.test, logs7.store.test]\n",
    "github": "version: 1\nallow: |\n  git.test\n  api.git.test\n",
    "python": "version: 1\nallow: registry:pip\n",
    "node": "version: 1\nallow: registry:npm\n",
    "metadata": "version: 1\nallow: http://192.0.2.254\n",
    "public-sinks": (
        "version: 1\nallow:\n"
        '  - host: ["**.store.test", "**.paste.test", drop.test]\n    why: strangers\n'
    ),
}

INDEXES: Mapping[str, tuple[str, ...]] = {
    "registry:pip": ("https://index.test:443", "http://mirror:8080"),
    "registry:npm": ("https://packages.test:443",),
    "registry:apt": (),
    "publish:pip": ("https://**.index.test:443",),
    "publish:npm": ("https://packages.test:443",),
}


def built(
    *texts: str,
    files: Mapping[str, str] | None = None,
    overrides: Overrides | None = None,
    indexes: Mapping[str, tuple[str, ...]] = INDEXES,
    cases: bool = False,
) -> Built:
    """Build a policy from texts, named ``policy-1.yml`` and so on; ``version`` is added."""
    given = [Given(f"policy-{n}.yml", f"version: 1\n{text}\n") for n, text in enumerate(texts, 1)]
    gathered = gather(
        given, loader=Loader(files or {}), presets=Presets(PRESETS), overrides=overrides
    )
    asked = needed_managers(gathered, cases=cases)
    return build(gathered, {word: indexes[word] for word in asked}, cases=cases)


class Loader:
    """Loads files from memory, and remembers which."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self.files = files
        self.loaded: list[str] = []

    def __call__(self, path: str) -> str:
        self.loaded.append(path)
        if path not in self.files:
            raise FileNotFoundError(2, "No such file or directory", path)
        return self.files[path]
