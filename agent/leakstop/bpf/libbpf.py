# SPDX-License-Identifier: MIT
"""A thin binding to the system's libbpf 1.x, through ctypes.

Only what the data plane needs: open an object, configure it, load, attach to a cgroup, pin,
read the ring. A failure raises ``BpfError`` with the last meaningful lines of libbpf's log.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from leakstop.bpf import object_file
from leakstop.errors import UnsupportedError

# By path, never by a search: ctypes.util.find_library may run a compiler from $PATH, and the
# loader's search order is the environment's to choose.
_DIRECTORIES = (
    *(
        f"{prefix}lib/{architecture}-linux-gnu"
        for prefix in ("usr/", "")
        for architecture in sorted(("x86_64", "aarch64"), key=lambda a: a != os.uname().machine)
    ),
    "usr/lib64",
    "lib64",
    "usr/lib",
    "lib",
    "usr/local/lib",
)
_LOG_LINES = 12
BPF_ANY, BPF_NOEXIST = 0, 1

_Print = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
Sample = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
"""What is called with a record of a ring: context, address, size."""

_POINTER, _INT, _TEXT, _SIZE = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t
_SIGNATURES: dict[str, tuple[object, tuple[object, ...]]] = {
    "libbpf_set_print": (_POINTER, (_Print,)),
    "bpf_object__open_mem": (_POINTER, (_TEXT, _SIZE, _POINTER)),
    "bpf_object__load": (_INT, (_POINTER,)),
    "bpf_object__close": (None, (_POINTER,)),
    "bpf_object__next_map": (_POINTER, (_POINTER, _POINTER)),
    "bpf_object__find_map_by_name": (_POINTER, (_POINTER, _TEXT)),
    "bpf_object__find_program_by_name": (_POINTER, (_POINTER, _TEXT)),
    "bpf_object__next_program": (_POINTER, (_POINTER, _POINTER)),
    "bpf_program__name": (_TEXT, (_POINTER,)),
    "bpf_program__fd": (_INT, (_POINTER,)),
    "bpf_program__section_name": (_TEXT, (_POINTER,)),
    "bpf_program__set_expected_attach_type": (_INT, (_POINTER, _INT)),
    "bpf_program__attach": (_POINTER, (_POINTER,)),
    "bpf_program__attach_cgroup": (_POINTER, (_POINTER, _INT)),
    "bpf_program__attach_perf_event": (_POINTER, (_POINTER, _INT)),
    "bpf_program__attach_uprobe_opts": (_POINTER, (_POINTER, _INT, _TEXT, _SIZE, _POINTER)),
    "bpf_link__destroy": (_INT, (_POINTER,)),
    "bpf_link__fd": (_INT, (_POINTER,)),
    "bpf_iter_create": (_INT, (_INT,)),
    "bpf_map__name": (_TEXT, (_POINTER,)),
    "bpf_map__fd": (_INT, (_POINTER,)),
    "bpf_map__value_size": (_INT, (_POINTER,)),
    "bpf_map__reuse_fd": (_INT, (_POINTER, _INT)),
    "bpf_map__set_max_entries": (_INT, (_POINTER, ctypes.c_uint)),
    "bpf_map__initial_value": (_POINTER, (_POINTER, ctypes.POINTER(_SIZE))),
    "bpf_map_update_elem": (_INT, (_INT, _POINTER, _POINTER, ctypes.c_ulonglong)),
    "bpf_map_update_batch": (
        _INT,
        (_INT, _POINTER, _POINTER, ctypes.POINTER(ctypes.c_uint), _POINTER),
    ),
    "bpf_map_delete_elem": (_INT, (_INT, _POINTER)),
    "bpf_map_lookup_elem": (_INT, (_INT, _POINTER, _POINTER)),
    "bpf_map_get_next_key": (_INT, (_INT, _POINTER, _POINTER)),
    "bpf_map_freeze": (_INT, (_INT,)),
    "bpf_obj_pin": (_INT, (_INT, _TEXT)),
    "bpf_obj_get": (_INT, (_TEXT,)),
    "bpf_prog_get_fd_by_id": (_INT, (ctypes.c_uint,)),
    "bpf_obj_get_info_by_fd": (_INT, (_INT, _POINTER, _POINTER)),
    "bpf_link_create": (_INT, (_INT, _INT, _INT, _POINTER)),
    "bpf_link_detach": (_INT, (_INT,)),
    "bpf_tc_hook_create": (_INT, (_POINTER,)),
    "bpf_tc_hook_destroy": (_INT, (_POINTER,)),
    "bpf_tc_attach": (_INT, (_POINTER, _POINTER)),
    "bpf_tc_detach": (_INT, (_POINTER, _POINTER)),
    "bpf_tc_query": (_INT, (_POINTER, _POINTER)),
    "ring_buffer__new": (_POINTER, (_INT, Sample, _POINTER, _POINTER)),
    "ring_buffer__epoll_fd": (_INT, (_POINTER,)),
    "ring_buffer__consume": (_INT, (_POINTER,)),
    "ring_buffer__free": (None, (_POINTER,)),
}


class BpfError(UnsupportedError):
    """The kernel or libbpf refused."""


class Library:
    """libbpf, loaded once; its messages are kept for the next error."""

    def __init__(self) -> None:
        self._lib = _open_library()
        self._log: list[str] = []
        self._print = _Print(self._on_print)
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(self._lib, name)
            function.restype, function.argtypes = result, arguments
        vsnprintf = ctypes.CDLL(None).vsnprintf
        vsnprintf.argtypes = (_POINTER, _SIZE, _TEXT, _POINTER)
        self._vsnprintf = vsnprintf
        self._lib.libbpf_set_print(self._print)

    def _on_print(self, level: int, text: bytes, arguments: int) -> int:
        if level > 1:  # LIBBPF_DEBUG
            return 0
        buffer = ctypes.create_string_buffer(1 << 16)
        self._vsnprintf(buffer, len(buffer), text, arguments)
        self._log += buffer.value.decode(errors="replace").splitlines()
        del self._log[: -_LOG_LINES * 20]
        return 0

    def call(self, name: str, *arguments: object) -> int:
        """Call a function that returns a negative number on failure.

        Raises:
            BpfError: with libbpf's own words.
        """
        result = self.attempt(name, *arguments)
        if result < 0:
            raise self.error(name, -result)
        return result

    def attempt(self, name: str, *arguments: object) -> int:
        """As ``call``, but a failure is the negative number."""
        return int(getattr(self._lib, name)(*arguments))

    def pointer(self, name: str, *arguments: object) -> int:
        """Call a function that returns NULL on failure.

        Raises:
            BpfError: with libbpf's own words.
        """
        result = getattr(self._lib, name)(*arguments)
        if not result:
            raise self.error(name, ctypes.get_errno())
        return int(result)

    def try_pointer(self, name: str, *arguments: object) -> int:
        """As ``pointer``, with 0 for NULL: end of a list, or not there."""
        return int(getattr(self._lib, name)(*arguments) or 0)

    def text(self, name: str, *arguments: object) -> str:
        """Call a function that returns text."""
        return (getattr(self._lib, name)(*arguments) or b"").decode()

    def error(self, name: str, code: int) -> BpfError:
        """What to raise when ``name`` failed with ``code``: with libbpf's own words."""
        log, self._log = self._log[-_LOG_LINES:], []
        known = os.strerror(code) if code in errno.errorcode else f"error {code}"
        return BpfError(
            f"the kernel refused {name}: {known}",
            why=" | ".join(line.strip() for line in log if line.strip()),
            fix="`leakstop doctor` says what this machine offers",
        )


@functools.cache
def library() -> Library:
    """The one of this process: libbpf keeps a single pointer to who prints its messages."""
    return Library()


class Map:
    """A map of a loaded object."""

    def __init__(self, library: Library, handle: int) -> None:
        self._library = library
        self._handle = handle
        self.name = library.text("bpf_map__name", handle)

    @property
    def fd(self) -> int:
        """File descriptor, valid once the object is loaded."""
        return self._library.call("bpf_map__fd", self._handle)

    @property
    def value_size(self) -> int:
        """Bytes of a value."""
        return self._library.call("bpf_map__value_size", self._handle)

    def resize(self, entries: int) -> None:
        """Set the capacity, before loading; at least 1."""
        self._library.call("bpf_map__set_max_entries", self._handle, max(1, entries))

    def preset(self, data: bytes) -> None:
        """Write the start of a data section, before loading."""
        size = ctypes.c_size_t()
        start = self._library.pointer("bpf_map__initial_value", self._handle, ctypes.byref(size))
        if len(data) > size.value:
            raise BpfError(f"{self.name} has {size.value} bytes, not {len(data)}")
        ctypes.memmove(start, data, len(data))

    def adopt(self, descriptor: int) -> None:
        """Before loading: use this map, which exists, with what is in it."""
        self._library.call("bpf_map__reuse_fd", self._handle, descriptor)

    def update(self, key: bytes, value: bytes) -> None:
        """Set one entry."""
        self._library.call("bpf_map_update_elem", self.fd, key, value, BPF_ANY)

    def create(self, key: bytes, value: bytes) -> bool:
        """Set an entry that is not there; return whether it was not.

        Raises:
            BpfError: there is no room for it.
        """
        result = self._library.attempt("bpf_map_update_elem", self.fd, key, value, BPF_NOEXIST)
        if result < 0 and result != -errno.EEXIST:
            raise self._library.error("bpf_map_update_elem", -result)
        return result == 0

    def keys(self, size: int) -> list[bytes]:
        """The keys that are there, of ``size`` bytes each; of some that go meanwhile not all."""
        found: list[bytes] = []
        after = ctypes.create_string_buffer(size)
        before: bytes | None = None
        while self._library.attempt("bpf_map_get_next_key", self.fd, before, after) == 0:
            before = after.raw
            found.append(before)
        return found

    def discard(self, key: bytes) -> bool:
        """Remove an entry that may be there; return whether it was."""
        return self._library.attempt("bpf_map_delete_elem", self.fd, key) == 0

    def update_all(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Set many entries, in one system call where the map type allows it."""
        pairs = list(entries)
        if len(pairs) < 16:
            for key, value in pairs:
                self.update(key, value)
            return
        count = ctypes.c_uint(len(pairs))
        keys = b"".join(key for key, _ in pairs)
        values = b"".join(value for _, value in pairs)
        self._library.call("bpf_map_update_batch", self.fd, keys, values, ctypes.byref(count), None)

    def delete(self, key: bytes) -> None:
        """Remove one entry."""
        self._library.call("bpf_map_delete_elem", self.fd, key)

    def lookup(self, key: bytes, value_size: int) -> bytes | None:
        """Read one entry; ``None`` if there is none."""
        value = ctypes.create_string_buffer(value_size)
        try:
            self._library.call("bpf_map_lookup_elem", self.fd, key, value)
        except BpfError:
            return None
        return value.raw

    def pin(self, path: Path) -> None:
        """Keep it when this process is gone."""
        self._library.call("bpf_obj_pin", self.fd, os.fsencode(path))

    def freeze(self) -> None:
        """No more writes from user space, root's included."""
        self._library.call("bpf_map_freeze", self.fd)


class Link:
    """An attached program."""

    def __init__(self, library: Library, handle: int) -> None:
        self._library = library
        self._handle = handle

    def pin(self, path: Path) -> None:
        """Keep it attached when this process is gone. May be done again (bpf_link__pin may not)."""
        self._library.call("bpf_obj_pin", self.fd, os.fsencode(path))

    @property
    def fd(self) -> int:
        """File descriptor."""
        return self._library.call("bpf_link__fd", self._handle)

    def iterate(self) -> None:
        """Run an iterator over all that there is; it prints nothing."""
        descriptor = self._library.call("bpf_iter_create", self.fd)
        try:
            while os.read(descriptor, 4096):
                pass
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Let go; the program stays attached if the link is pinned."""
        if self._handle:
            self._library.call("bpf_link__destroy", self._handle)
            self._handle = 0


class Object:
    """A BPF object: opened, configured, loaded, attached."""

    def __init__(self, library: Library, path: Path) -> None:
        self._library = library
        image, options = object_file.read(path), object_file.options(path)
        self._handle = library.pointer("bpf_object__open_mem", image, len(image), options)

    def map(self, name: str) -> Map:
        """The map of that name; data sections match by suffix, e.g. ``.rodata``."""
        if not name.startswith("."):
            return Map(
                self._library,
                self._library.pointer("bpf_object__find_map_by_name", self._handle, name.encode()),
            )
        for found in self.maps():
            if found.name.endswith(name):
                return found
        raise BpfError(f"the object has no section {name}")

    def maps(self) -> Iterator[Map]:
        """All maps, data sections included."""
        handle = 0
        while handle := self._library.try_pointer("bpf_object__next_map", self._handle, handle):
            yield Map(self._library, handle)

    def programs(self) -> Sequence[str]:
        """Names of all programs, in the object's order."""
        names, handle = [], 0
        while handle := self._library.try_pointer("bpf_object__next_program", self._handle, handle):
            names.append(self._library.text("bpf_program__name", handle))
        return names

    def load(self) -> None:
        """Hand the programs to the verifier and make the maps."""
        self._library.call("bpf_object__load", self._handle)

    def attach(self, program: str) -> Link:
        """Attach a tracing program where its section says."""
        return Link(
            self._library, self._library.pointer("bpf_program__attach", self.program(program))
        )

    def attach_cgroup(self, program: str, cgroup_fd: int) -> Link:
        """Attach a cgroup program; it runs beside those of others (BPF_F_ALLOW_MULTI)."""
        return Link(
            self._library,
            self._library.pointer("bpf_program__attach_cgroup", self.program(program), cgroup_fd),
        )

    def attach_event(self, program: str, event_fd: int) -> Link:
        """Attach a tracepoint's program to a perf event, which the link then owns."""
        attached = self._library.pointer(
            "bpf_program__attach_perf_event", self.program(program), event_fd
        )
        return Link(self._library, attached)

    def program_fd(self, program: str) -> int:
        """File descriptor of a loaded program."""
        return self._library.call("bpf_program__fd", self.program(program))

    def close(self) -> None:
        """Unload what is not attached or pinned."""
        if self._handle:
            self._library._lib.bpf_object__close(self._handle)
            self._handle = 0

    def program(self, name: str) -> int:
        """libbpf's handle of a program."""
        return self._library.pointer(
            "bpf_object__find_program_by_name", self._handle, name.encode()
        )


def find_libbpf(root: Path = Path("/")) -> Path | None:
    """The system's libbpf 1.x; that of this machine's architecture first."""
    places = (root / directory / "libbpf.so.1" for directory in _DIRECTORIES)
    return next((path for path in places if path.exists()), None)


def _open_library() -> ctypes.CDLL:
    path = find_libbpf()
    if path is None:
        raise UnsupportedError(
            "libbpf 1.x is not installed",
            why=f"libbpf.so.1 is in none of these: {', '.join(f'/{d}' for d in _DIRECTORIES)}",
            fix="install the package libbpf1 (Debian 12, Ubuntu 24.04) or libbpf (Fedora)",
        )
    return ctypes.CDLL(str(path), use_errno=True)
