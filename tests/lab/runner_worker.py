# SPDX-License-Identifier: MIT
"""A program that acts as the runner's worker (Runner.Worker of actions/runner, on Linux).

It runs the steps of ``job.json`` in its directory as the runner does: the same processes with
the same variables, the file commands, ``pre`` and ``post`` of actions, background steps, and a
diagnostic log with the same lines in the same order (``StepsRunner``, ``CompositeActionHandler``,
``ProcessInvoker``, ``BackgroundStepCoordinator``, written by ``HostTraceListener``). Each process
that ends is told as a line of JSON on its standard output, and so is the job.

``lab/worker.py`` writes ``job.json`` and starts it. Only the standard library is used here: it
runs with a job's environment.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

GRACE_S = 5.0
"""How long the runner waits for who still holds a step's output (``ProcessExitedHandler``)."""
FILES = {
    "GITHUB_ENV": "set_env",
    "GITHUB_PATH": "add_path",
    "GITHUB_OUTPUT": "set_output",
    "GITHUB_STATE": "save_state",
    "GITHUB_STEP_SUMMARY": "step_summary",
}
Step = dict[str, Any]


class Log:
    """The diagnostic log, as HostTraceListener writes it: not for appending, flushed each time."""

    def __init__(self, directory: Path, page_bytes: int) -> None:
        self._directory, self._page_bytes = directory, page_bytes
        self._lock = threading.Lock()
        directory.mkdir(parents=True, exist_ok=True)
        self._open()

    def _open(self) -> None:
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        path = self._directory / f"Worker_{stamp}-utc.log"
        flags = os.O_WRONLY if path.exists() else os.O_RDWR | os.O_CREAT | os.O_TRUNC
        self._fd = os.open(path, flags | os.O_CLOEXEC, 0o644)
        self._at, self._page = os.fstat(self._fd).st_size, 0

    def info(self, source: str, message: str) -> None:
        """Write one entry, its head and its text each by itself."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime())
        with self._lock:
            self._write(f"[{stamp} INFO {source}] ")
            self._write(message + "\n")
            if self._page_bytes and self._page > self._page_bytes:
                os.close(self._fd)
                time.sleep(1.1 - time.time() % 1)  # else it goes on in the same file
                self._open()

    def _write(self, text: str) -> None:
        data = text.encode()
        self._at += os.pwrite(self._fd, data, self._at)
        self._page += len(data)


class Worker:
    """One job."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.job = json.loads((root / "job.json").read_text())
        self.log = Log(root / "_diag", self.job["page_bytes"])
        self.temp = root / "_work" / "_temp"
        self.workspace = root / "_work" / "repository" / "repository"
        for directory in (self.temp / "_runner_file_commands", self.workspace):
            directory.mkdir(parents=True, exist_ok=True)
        (self.temp / "event.json").write_text("{}")
        self.tracking = f"github_{uuid.uuid4()}"
        self.variables: dict[str, str] = {}
        self.path: list[str] = []
        self.summary = ""
        self.failed = False
        self.posts: list[Step] = []
        self.threads: list[threading.Thread] = []
        self._said = threading.Lock()

    # -- the job ------------------------------------------------------------------------

    def run(self) -> int:
        """Run all steps, then their posts, and clean up."""
        steps: list[Step] = self.job["steps"]
        self.log.info("Worker", "Message received.")
        self.log.info("Worker", "Job message:\n " + json.dumps(self.job["message"], indent=2))
        self.log.info("Worker", "Waiting for the job to complete or for a cancel message.")
        self.log.info("JobRunner", f"Total job steps: {len(steps)}.")
        self.log.info("JobRunner", "Run all job steps.")
        for step in steps:
            if "pre" in step.get("node", {}):
                self._step(step, "Pre")
        for step in steps:
            self._step(step, "Main")
        for thread in self.threads:  # the implicit wait-all before the posts
            thread.join()
        while self.posts:
            self._step(self.posts.pop(), "Post")
        self._clean_up()
        self._say({"result": "failure" if self.failed else "success", "summary": self.summary})
        return int(self.failed)

    def _step(self, step: Step, stage: str) -> None:
        shown = step["display"] if stage == "Main" else f"{stage} {step['display']}"
        self.log.info("StepsRunner", f"Processing step: DisplayName='{shown}'")
        self.log.info("StepsRunner", "Initialize Env context for step")
        if "wait" in step:
            for thread in self.threads:
                thread.join()
        elif step.get("background") and stage == "Main":
            self._queue(step)
            return
        elif self._holds(step, stage):
            self.log.info("StepsRunner", "Starting the step.")
            self.failed |= not self._work(step, stage, shown)
            self.log.info("StepsRunner", f"Step result: {self._result(self.failed)}")
        result = self._result(self.failed)
        self.log.info("StepsRunner", f"No need for updating job result with '{result}'.")
        self.log.info("StepsRunner", f"Current state: job state = '{result}'")

    def _holds(self, step: Step, stage: str) -> bool:
        always = stage != "Main" or step.get("always", False)
        holds = not step.get("skip") and (always or not self.failed)
        self.log.info("StepsRunner", f"Evaluating: {'always()' if always else 'success()'}")
        self.log.info("StepsRunner", f"Result: {str(holds).lower()}")
        if not holds:
            self.log.info("StepsRunner", "Skipping step due to condition evaluation.")
        return holds

    def _queue(self, step: Step) -> None:
        """Start a background step: it is waiting, and may be at work, before it is "queued"."""
        name, source = step["action"], "BackgroundStepCoordinator"
        self.log.info(source, f"Background step '{name}' waiting for slot.")
        self.log.info(source, f"Background step '{name}' acquired slot.")
        thread = threading.Thread(target=self._background, args=(step,))
        self.threads.append(thread)
        thread.start()
        queued = f"Background step '{name}' queued (slot will be acquired asynchronously)."
        self.log.info(source, queued)

    def _background(self, step: Step) -> None:
        name, source = step["action"], "BackgroundStepCoordinator"
        passed = self._work(step, "Main", step["display"])
        self.failed |= not passed
        result = self._result(not passed)
        self.log.info(source, f"Background step '{name}' completed with result: {result}")

    @staticmethod
    def _result(failed: bool) -> str:
        return "Failed" if failed else "Succeeded"

    def _work(self, step: Step, stage: str, shown: str) -> bool:
        """Run a script, an action of node, or the embedded steps of a composite."""
        if "steps" in step:
            return all(self._embedded(step, inner) for inner in step["steps"])
        if "node" in step:
            return self._node(step, stage, shown, step)
        return self._script(step, shown, step)

    def _embedded(self, outer: Step, inner: Step) -> bool:
        source, shown = "CompositeActionHandler", inner["display"]
        self.log.info(source, f"Processing embedded step: DisplayName='{shown}'")
        self.log.info(source, f"Starting: {shown}")
        work = self._node(inner, "Main", shown, outer) if "node" in inner else None
        passed = self._script(inner, shown, outer) if work is None else work
        self.log.info(source, f"Step result: {self._result(not passed)}")
        return passed

    def _script(self, step: Step, shown: str, outer: Step) -> bool:
        file = self.temp / f"{uuid.uuid4()}.sh"
        file.write_text(step["run"])
        return self._invoke(step, "Main", shown, ["/bin/bash", "-e", str(file)], outer)

    def _node(self, step: Step, stage: str, shown: str, outer: Step) -> bool:
        if stage != "Post" and "post" in step["node"] and step not in self.posts:
            self.posts.append(step)
        script = step["node"].get(stage.lower())
        if script is None:
            return True
        return self._invoke(step, stage, shown, [self.job["node"], script], outer)

    # -- a process ----------------------------------------------------------------------

    def _invoke(self, step: Step, stage: str, shown: str, argv: list[str], outer: Step) -> bool:
        files = {name: self._command_file(kind) for name, kind in FILES.items()}
        source = "ProcessInvokerWrapper"
        arguments = " ".join(argv[1:]) if argv[1] == "-e" else f'"{argv[1]}"'
        for line in (
            "Starting process:",
            f"  File name: '{argv[0]}'",
            f"  Arguments: '{arguments}'",
            f"  Working directory: '{self.workspace}'",
            "  Require exit code zero: 'False'",
            "  High priority process: 'False'",
        ):
            self.log.info(source, line)
        env = {**self._environment(step, outer), **{n: str(f) for n, f in files.items()}}
        begun = time.monotonic()
        process = subprocess.Popen(
            argv,
            env=env,
            cwd=self.workspace,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert process.stdin is not None
        process.stdin.close()
        started = f"Process started with process id {process.pid}, waiting for process exit."
        self.log.info(source, started)
        output = self._read(process)
        took = time.strftime("%H:%M:%S", time.gmtime(time.monotonic() - begun))
        ended = f"Finished process {process.pid} with exit code {process.returncode}"
        self.log.info(source, f"{ended}, and elapsed time {took}.0000000.")
        self._obey(step, files)
        told = {"step": shown, "action": outer["action"], "stage": stage, "pid": process.pid}
        self._say({**told, "code": process.returncode, "output": output})
        return process.returncode == 0

    def _read(self, process: subprocess.Popen[bytes]) -> str:
        """Read to the end, or for a while after the process itself has ended."""
        pieces: list[bytes] = []
        assert process.stdout is not None
        pipe = process.stdout

        def drain() -> None:
            with suppress(ValueError, OSError):
                while piece := os.read(pipe.fileno(), 1 << 16):
                    pieces.append(piece)

        reader = threading.Thread(target=drain, daemon=True)
        reader.start()
        process.wait()
        reader.join(GRACE_S)
        return b"".join(pieces).decode(errors="replace")

    def _environment(self, step: Step, outer: Step) -> dict[str, str]:
        job: dict[str, str] = self.job["github"]
        path = os.pathsep.join([*self.path, os.environ["PATH"]])
        owner, ref = outer.get("repository", ""), outer.get("ref", "")
        inner = step.get("repository", owner)
        action = {"GITHUB_ACTION": outer["action"]}
        if inner:
            action |= {"GITHUB_ACTION_REPOSITORY": inner, "GITHUB_ACTION_REF": ref}
        return {
            **os.environ,
            "CI": "true",
            **self.variables,
            **step.get("env", {}),
            **{f"INPUT_{k.upper().replace(' ', '_')}": v for k, v in step.get("with", {}).items()},
            **{f"STATE_{k}": v for k, v in step.get("state", {}).items()},
            "PATH": path,
            "GITHUB_ACTIONS": "true",
            "GITHUB_WORKSPACE": str(self.workspace),
            "GITHUB_EVENT_PATH": str(self.temp / "event.json"),
            "RUNNER_TEMP": str(self.temp),
            "RUNNER_OS": "Linux",
            "RUNNER_TRACKING_ID": self.tracking,
            **job,
            **action,
        }

    # -- file commands ------------------------------------------------------------------

    def _command_file(self, kind: str) -> Path:
        file = self.temp / "_runner_file_commands" / f"{kind}_{uuid.uuid4()}"
        file.touch()
        return file

    def _obey(self, step: Step, files: dict[str, Path]) -> None:
        self.variables.update(_pairs(files["GITHUB_ENV"]))
        step.setdefault("state", {}).update(_pairs(files["GITHUB_STATE"]))
        self.path[:0] = reversed(files["GITHUB_PATH"].read_text().split())
        self.summary += files["GITHUB_STEP_SUMMARY"].read_text()

    def _clean_up(self) -> None:
        """Kill what the steps left behind, as the runner does after the last post."""
        self.log.info("JobExtension", "Cleaning up orphan processes.")
        mark = f"RUNNER_TRACKING_ID={self.tracking}".encode()
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and int(entry.name) != os.getpid():
                with suppress(OSError):
                    if mark in (entry / "environ").read_bytes().split(b"\0"):
                        os.kill(int(entry.name), signal.SIGKILL)

    def _say(self, record: Step) -> None:
        with self._said:
            print(json.dumps(record), flush=True)


def _pairs(file: Path) -> dict[str, str]:
    """``NAME=value`` and ``NAME<<END``, as file commands are written."""
    text = file.read_text()
    long = re.compile(r"^([^=\n]+?)<<(\S+)\n(.*?)\n?^\2$\n?", re.MULTILINE | re.DOTALL)
    found = {match[1]: match[3] for match in long.finditer(text)}
    rest = long.sub("", text)
    return found | dict(line.split("=", 1) for line in rest.splitlines() if "=" in line)


if __name__ == "__main__":
    sys.exit(Worker(Path(sys.argv[1])).run())
