# SPDX-License-Identifier: MIT
"""A host that speaks HTTP/2: headers arrive packed (HPACK), bodies in frames."""

from __future__ import annotations

import ssl

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded
from h2.exceptions import ProtocolError

from lab.collector import Collector, Stream


class Http2Stream(Stream):
    """Records a TCP connection, unpacks what HTTP/2 packs, and answers every request."""

    def __init__(self, collector: Collector, context: ssl.SSLContext | None = None) -> None:
        super().__init__(collector, context)
        self._http = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        self._http.initiate_connection()

    def answer(self, plain: bytes) -> None:
        """Take frames; what they carry is kept as ``message``."""
        if not plain:  # the handshake goes on
            self._send(b"")
            return
        try:
            events = self._http.receive_data(plain)
        except ProtocolError:
            self._transport.close()
            return
        for event in events:
            if isinstance(event, RequestReceived):
                self._seen.message += b"".join(b"%s: %s\n" % pair for pair in event.headers)
            elif isinstance(event, DataReceived):
                self._seen.message += event.data
                length = event.flow_controlled_length
                self._http.acknowledge_received_data(length, event.stream_id)
            elif isinstance(event, StreamEnded):
                self._http.send_headers(event.stream_id, [(":status", "200")])
                self._http.send_data(event.stream_id, b"ok\n", end_stream=True)
        self._send(self._http.data_to_send())
