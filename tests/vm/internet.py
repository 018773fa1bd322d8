# SPDX-License-Identifier: MIT
"""The lab's internet at the other end of a virtual machine's network card.

Its servers are outside of the machine: nothing that they do is the guard's business. A serial
line tells the machine what they got.
"""

from __future__ import annotations

import dataclasses
import json
import socket
import threading
from collections.abc import Sequence
from pathlib import Path

from lab import Lab
from lab.collector import Collector


class Internet(Lab):
    """The lab, with a machine in the job's place."""

    def _lay_wire(self) -> None:
        self.configure(self.services, "tuntap add dev service0 mode tap\n")

    @property
    def card(self) -> Sequence[str]:
        """The machine's end of the wire, for QEMU in the services' namespace."""
        return ("-nic", "tap,model=virtio-net-pci,ifname=service0,script=no,downscript=no")

    def telling(self, place: Path) -> Sequence[str]:
        """A serial line, for QEMU, on which ``place`` answers what the servers got."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(place))
        listener.listen(1)
        self._closing.append(listener.close)
        threading.Thread(target=self._tell, args=(listener,), daemon=True).start()
        return ("-serial", f"unix:{place}")

    def _tell(self, listener: socket.socket) -> None:
        line, _ = listener.accept()
        with line, line.makefile("rwb") as talk:
            for question in talk:
                self.settle()
                host = getattr(self, question.decode().strip())
                talk.write(json.dumps(host_to_json(host)).encode() + b"\n")
                talk.flush()


def host_to_json(host: Collector) -> list[dict[str, str]]:
    """What a host got, as text."""
    return [
        {
            name: bytes(value).hex() if isinstance(value, bytearray) else value
            for name, value in dataclasses.asdict(connection).items()
        }
        for connection in host.connections
    ]


__all__ = ["Internet", "host_to_json"]
