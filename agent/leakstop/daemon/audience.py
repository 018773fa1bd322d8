# SPDX-License-Identifier: MIT
"""Those who talk to the agent: over its control socket, or as the process that owns it."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable
from typing import Any

from leakstop.daemon import control
from leakstop.daemon.control import Channel

ANSWER_S = 5.0
"""Patience with a peer that does not read its answer."""

MAX_CHANNELS = 16
"""Connections at a time: more would only be a way to run the agent out of descriptors."""

Answer = Callable[[dict[str, Any], socket.socket], dict[str, Any]]
"""Answers a message that came over a connection."""


class Audience:
    """Connections that are open."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        owner_uid: int,
        answer: Answer,
        abandoned: Callable[[], None],
    ) -> None:
        """``abandoned``: called when the owner hangs up."""
        self._selector = selector
        self._owner_uid = owner_uid
        self._answer = answer
        self._abandoned = abandoned
        self._channels: dict[Channel, None] = {}
        self._owner: Channel | None = None

    def listen(self, listener: socket.socket) -> None:
        """Let in who connects, if it is root or who started the agent."""
        self._watch(listener, lambda: self._accept(listener))

    def own(self, channel: Channel) -> None:
        """Attend to the owner."""
        self._owner = channel
        self._attend(channel)

    def close(self) -> None:
        """Hang up."""
        for channel in self._channels:
            channel.close()

    def _watch(self, connection: socket.socket, callback: Callable[[], None]) -> None:
        self._selector.register(connection, selectors.EVENT_READ, callback)

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return  # the peer gave up, or we are out of descriptors: neither may end the guard
        if control.peer_uid(connection) not in (0, self._owner_uid):
            connection.close()
            return
        self._attend(Channel(connection))
        # A job that opens connections and says nothing must not lock the last step out.
        if len(self._channels) > MAX_CHANNELS:
            self._dismiss(next(old for old in self._channels if old is not self._owner))

    def _attend(self, channel: Channel) -> None:
        self._channels[channel] = None
        channel.socket.settimeout(ANSWER_S)
        self._watch(channel.socket, lambda: self._hear(channel))

    def _hear(self, channel: Channel) -> None:
        if channel not in self._channels:
            return  # dismissed in this very round
        try:
            messages = channel.take(channel.socket.recv(1 << 16))
            for message in messages or ():
                channel.send(self._answer(message, channel.socket))
        except (OSError, ValueError):
            messages = None
        if messages is None:
            self._dismiss(channel)
            if channel is self._owner:
                self._abandoned()

    def _dismiss(self, channel: Channel) -> None:
        del self._channels[channel]
        self._selector.unregister(channel.socket)
        channel.close()


__all__ = ["ANSWER_S", "MAX_CHANNELS", "Answer", "Audience"]
