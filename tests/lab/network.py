# SPDX-License-Identifier: MIT
"""The lab itself: a job and the internet it thinks it has.

::

    job namespace                               services namespace
    203.0.113.2, 2001:db8::2   job0 ── veth ── service0   every other address
    own resolv.conf                             DNS :53, collectors, homes, metadata

Neither side has a default route or an uplink, so nothing that runs here can reach the world. All
servers are sockets made inside the services namespace and served by one thread of this process:
what they got is simply there to be looked at.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from lab.collector import Collector, Datagrams, Stream
from lab.dns import NameServer, TcpFront, UdpFront
from lab.http2 import Http2Stream
from lab.namespace import Namespace
from lab.tls import Authority

T = TypeVar("T")

RESOLVER = "203.0.113.53"
RESOLVER6 = "2001:db8::53"
COLLECTOR = ("203.0.113.66", "2001:db8::66")
BARE = "198.51.100.66"
"""An address of the collector that no name leads to."""
HOME = ("203.0.113.20", "2001:db8::20")
OTHER = ("203.0.113.30", "2001:db8::30")
METADATA = "169.254.169.254"
HTTP2 = 2443
"""Port of the hosts that speak HTTP/2."""

JOB_LINK = """\
link set lo up
link set {device} addrgenmode none
address add 203.0.113.2/24 dev {device}
address add 2001:db8::2/64 dev {device} nodad
link set {device} up
route add 198.51.100.0/24 dev {device}
route add 169.254.0.0/16 dev {device}
"""
"""Lines of ip(8) that make an interface the job's."""
_SERVICE_LINK = """\
link set lo up
link set service0 addrgenmode none
address add 203.0.113.1/24 dev service0
address add 2001:db8::1/64 dev service0 nodad
link set service0 up
"""
# Public and routable, yet nobody's: the AS112 sinks of RFC 7535 exist to swallow stray packets.
_OUTSIDE = ((socket.AF_INET, "192.31.196.1"), (socket.AF_INET6, "2001:4:112::1"))
# <net/tcp_states.h>: everything that may still carry data. LISTEN, TIME_WAIT, FIN_WAIT2 and CLOSE
# may not.
_CARRYING = {"01", "02", "03", "04", "08", "09", "0B", "0C"}
_NSCD = Path("/run/nscd/socket")

_authority = cache(Authority)
"""One for the process: making keys takes longer than making a network."""


class Lab:
    """Two namespaces, a name server and the hosts of a story; a context manager.

    ``collector`` is the thief's (``collector.test``, any name below it, and the address ``BARE``),
    ``home`` is where a secret may go (``home.test``), ``other`` is any other host
    (``other.test``), ``metadata`` is the cloud's metadata address.
    """

    def __init__(self, zone: Mapping[str, Sequence[str]] | None = None) -> None:
        """``zone`` adds names to the name server (name → addresses, or one other name)."""
        self.dns = NameServer(zone or {})
        self._loop = asyncio.new_event_loop()
        self._closing: list[Callable[[], object]] = []
        self._open_ends: list[asyncio.AbstractServer | asyncio.BaseTransport] = []
        self._faults: list[dict[str, Any]] = []

    def __enter__(self) -> Lab:
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every process inside and take the network down."""
        while self._closing:
            self._closing.pop()()

    # -- building ---------------------------------------------------------------------------

    def _open(self) -> None:
        self._closing.append(self._loop.close)
        self._loop.set_exception_handler(lambda _, context: self._faults.append(context))
        thread = threading.Thread(target=self._loop.run_forever, name="lab-services", daemon=True)
        thread.start()
        self._closing.append(lambda: self._stop(thread))
        self.directory = Path(tempfile.mkdtemp(prefix=f"leakstop-lab-{os.getpid()}-"))
        """Readable by every user: a guard may read its policy without privileges."""
        self._closing.append(lambda: shutil.rmtree(self.directory, ignore_errors=True))
        self.directory.chmod(0o755)
        self.services = Namespace()
        self._closing.append(self.services.close)
        self.job = Namespace(files=self._job_files())
        self._closing.append(self.job.close)
        self._lay_wire()
        self.configure(self.services, _SERVICE_LINK)

        _authority().write(self.directory / "ca.pem")
        self.listen([RESOLVER, RESOLVER6], tcp={53: lambda: TcpFront(self.dns)})
        self.listen([], udp={53: lambda: UdpFront(self.dns)}, bound=[RESOLVER, RESOLVER6])
        self.collector = self.serve(
            "collector.test",
            COLLECTOR,
            bare=[BARE],
            http=(80, 8443),
            http2=(HTTP2,),
            udp=(53, 443, 9999),
        )
        self.dns.zone.setdefault("*.collector.test", COLLECTOR)
        self.home = self.serve("home.test", HOME, http2=(HTTP2,))
        self.other = self.serve("other.test", OTHER)
        self.metadata = self.serve("", [], bare=[METADATA], https=())

    def _lay_wire(self) -> None:
        peer = f"type veth peer name service0 netns {self.services.path}"
        self.configure(self.job, f"link add job0 {peer}\n{JOB_LINK.format(device='job0')}")

    def _job_files(self) -> dict[str, Path]:
        files = {
            "/etc/resolv.conf": f"nameserver {RESOLVER}\noptions timeout:1 attempts:1\n",
            "/etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
            # Some systems resolve through a daemon over a unix socket, which no network
            # namespace closes.
            "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
            str(_NSCD): "",
        }
        written = {}
        for place, text in files.items():
            if os.path.exists(place):
                written[place] = self.directory / Path(place).name
                written[place].write_text(text)
        return written

    def serve(
        self,
        name: str,
        addresses: Sequence[str],
        *,
        bare: Sequence[str] = (),
        http: Sequence[int] = (80,),
        https: Sequence[int] = (443,),
        http2: Sequence[int] = (),
        udp: Sequence[int] = (),
        speaks: type[Stream] = Stream,
    ) -> Collector:
        """Add a host; ``bare`` addresses are its own too, but the name does not lead there.

        A port of ``http`` takes anything over TCP, and answers where it understands a request. A
        port of ``http2`` speaks nothing else; one of ``https`` never does.
        """
        host = Collector(name)
        everywhere = [*addresses, *bare]
        if name:
            self.dns.zone.setdefault(name, list(addresses))
        context = _authority().server_context(everywhere) if https else None
        newer = _authority().server_context(everywhere, protocols=["h2"]) if http2 else None
        streams = {port: lambda: speaks(host) for port in http}
        sealed = {port: lambda: speaks(host, context) for port in https}
        framed = {port: lambda: Http2Stream(host, newer) for port in http2}
        datagrams = {port: lambda: Datagrams(host) for port in udp}
        self.listen(everywhere, tcp={**streams, **sealed, **framed}, udp=datagrams)
        return host

    def serve_names(self, address: str) -> None:
        """Let the name server answer at ``address``, too."""
        tcp, udp = {53: lambda: TcpFront(self.dns)}, {53: lambda: UdpFront(self.dns)}
        self.listen([address], tcp=tcp, udp=udp)

    def listen(
        self,
        addresses: Iterable[str],
        *,
        tcp: Mapping[int, Callable[[], asyncio.Protocol]] | None = None,
        udp: Mapping[int, Callable[[], asyncio.DatagramProtocol]] | None = None,
        bound: Iterable[str] = (),
    ) -> None:
        """Give the services ``addresses`` (``bound`` are there already) and listen on each."""
        new = list(addresses)
        self.configure(self.services, "".join(map(_address_line, new)))
        for address in [*new, *bound]:
            for port, stream in (tcp or {}).items():
                listener = self._socket(address, port, socket.SOCK_STREAM)
                server = self._await(self._loop.create_server(stream, sock=listener))
                self._open_ends.append(server)
            for port, datagram in (udp or {}).items():
                receiver = self._socket(address, port, socket.SOCK_DGRAM)
                endpoint = self._loop.create_datagram_endpoint(datagram, sock=receiver)
                self._open_ends.append(self._await(endpoint)[0])

    def _socket(self, address: str, port: int, kind: socket.SocketKind) -> socket.socket:
        def bind() -> socket.socket:
            made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
            made.bind((address, port))
            return made

        return self.services.call(bind)

    @staticmethod
    def configure(namespace: Namespace, script: str) -> None:
        """Run lines of ip(8) in a namespace.

        Raises:
            RuntimeError: one of them failed.
        """
        command = ["ip", "-batch", "-"]
        done = namespace.call(
            lambda: subprocess.run(command, input=script, text=True, capture_output=True)
        )
        if done.returncode:
            raise RuntimeError(f"the lab's network could not be made: {done.stderr.strip()}")

    # -- using ------------------------------------------------------------------------------

    @property
    def environ(self) -> dict[str, str]:
        """The environment of a command in the lab: nothing of this process's own but ``PATH``."""
        authority = str(self.directory / "ca.pem")
        names = ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "LANG": "C.UTF-8",
            **dict.fromkeys(names, authority),
        }

    def popen(
        self,
        command: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        **options: Any,
    ) -> subprocess.Popen[str]:
        """Start a command as the job; ``env`` is added to ``environ``."""
        self.assert_sealed()
        return self.job.call(
            lambda: subprocess.Popen(
                command,
                env={**self.environ, **(env or {})},
                cwd=cwd or self.directory,
                text=True,
                errors="surrogateescape",
                start_new_session=True,
                **options,
            )
        )

    def run(
        self,
        command: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        stdin: str | None = None,
        timeout_s: float = 20,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as the job to its end, until all that it sent has arrived.

        Raises:
            subprocess.TimeoutExpired: it took too long and was killed.
            TimeoutError: it left something behind that still holds a connection.
        """
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        pipes["stdin"] = subprocess.DEVNULL if stdin is None else subprocess.PIPE
        process = self.popen(command, env=env, cwd=cwd, **pipes)
        try:
            out, err = process.communicate(stdin, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        self.settle()
        return subprocess.CompletedProcess(list(command), process.returncode, out, err)

    def settle(self, timeout_s: float = 5) -> None:
        """Wait until nothing is on its way any more, so that "0 bytes" means none will come.

        Raises:
            TimeoutError: a connection stays open.
            RuntimeError: a server of the lab failed, so what it got is not known.
        """
        deadline = time.monotonic() + timeout_s
        while busy := self.job.call(_carrying) + self.services.call(_carrying):
            if time.monotonic() > deadline:
                raise TimeoutError(f"connections are still open: {busy}")
            time.sleep(0.002)
        # Every socket is closed or drained by the kernel: let the servers read what they hold.
        self._await(_turns())
        if self._faults:
            raise RuntimeError(f"a server of the lab failed: {self._faults}")

    def assert_sealed(self) -> None:
        """Check that the world cannot be reached from either side.

        Raises:
            RuntimeError: it can: nothing may run here.
        """
        for namespace in (self.job, self.services):
            if ways := namespace.call(_ways_out):
                raise RuntimeError(f"the lab is not sealed: {ways} can be reached")

    def _await(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def _stop(self, thread: threading.Thread) -> None:
        async def close_all() -> None:
            for end in self._open_ends:
                end.close()
            await _turns()  # the job's processes are dead: their connections close by themselves

        self._await(close_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        thread.join(5)


def _address_line(address: str) -> str:
    suffix = "/128 dev service0 nodad" if ":" in address else "/32 dev service0"
    return f"address add {address}{suffix}\n"


def _ways_out() -> list[str]:
    found = []
    for family, address in _OUTSIDE:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.settimeout(0.5)
            try:
                probe.connect((address, 443))
            except TimeoutError:  # a route exists: somebody was asked
                found.append(address)
            except OSError:
                continue
            else:
                found.append(address)
    return found


def _carrying() -> list[str]:
    """TCP sockets of this namespace that may still carry data."""
    rows = []
    for table in ("tcp", "tcp6"):
        with open(f"/proc/thread-self/net/{table}") as lines:
            rows += [line.split() for line in list(lines)[1:]]
    return [f"{local} > {remote}" for _, local, remote, state, *_ in rows if state in _CARRYING]


async def _turns() -> None:
    """Let the loop turn often enough to accept, read and record what its sockets hold."""
    for _ in range(10):
        await asyncio.sleep(0)
