# SPDX-License-Identifier: MIT
"""What is known about one kind of secret."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from leakstop.secrets.inventory import Secret

_PLACEHOLDER = re.compile(
    r"[\w.~+/:=-]*(?:example|placeholder|change-?me|abcdefgh|12345678|x{8})[\w.~+/:=-]*",
    re.ASCII | re.IGNORECASE,
)
"""A token in somebody's documentation. Each word is so long that no random token holds it by
chance; documents and URLs with settings in them, whose names may say so, are no such token."""


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of secret."""

    kind: str
    """In words, e.g. ``npm token``."""
    provider: str = ""
    """Who issues it and can revoke it; empty if the shape is nobody's own."""
    pattern: str = ""
    """What the whole value looks like; empty if only the name tells."""
    name: str = ""
    """What the secret's name looks like; empty if the value alone tells."""
    checksum: Callable[[str], bool] | None = None
    """Makes the value certain where it holds, and says nothing where it does not."""
    home: tuple[str, ...] = ()
    """Policy words; empty means unplaced."""
    own_home: bool = False
    """The value says where it belongs: it is a URL."""
    revoke: str = ""
    """The provider's page as an ``https://`` address, or the way to it in words."""
    short_lived: bool = False
    """Ends with the job."""
    public: bool = False
    """Names an account and opens nothing by itself: watched if declared, not looked for."""

    @property
    def found(self) -> bool:
        """Whether one that nobody declared is taken.

        Not a URL: it belongs at its own host, which no table has that was compiled before.
        """
        return not (self.own_home or self.public)

    def matches(self, secret: Secret) -> bool:
        """Whether ``secret`` is of this kind."""
        if self.name and not _is(self.name, secret.name):
            return False
        text = secret.value.decode("utf-8", "replace")
        return not self.pattern or (
            _is(self.pattern, text) and (self.own_home or not is_placeholder(text))
        )


def is_placeholder(text: str) -> bool:
    """Whether ``text`` says of itself that it is an example."""
    return _PLACEHOLDER.fullmatch(text) is not None


def _is(pattern: str, text: str) -> bool:
    return re.fullmatch(pattern, text, re.ASCII | re.DOTALL) is not None
