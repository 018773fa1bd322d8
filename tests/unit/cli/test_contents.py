# SPDX-License-Identifier: MIT
"""Reading a policy through the contents API: what is asked, and what is said when it fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from leakstop.cli import contents
from leakstop.cli.contents import Contents
from leakstop.errors import PolicyError

COMMIT = "9c1e2ab" + "0" * 33
PATH = ".github/leakstop.yml"


@dataclass
class Api:
    """A server that answers as it is told, and remembers what it was asked."""

    answers: list[tuple[int, bytes, dict[str, str]]] = field(default_factory=list)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    url: str = ""

    def contents(self, token: str = "t0ken", pauses: list[float] | None = None) -> Contents:
        """A client of this server that does not wait."""
        wait = pauses.append if pauses is not None else (lambda _: None)
        return Contents(self.url, "acme/app", COMMIT, token, wait)

    def refuses(self, status: int, headers: dict[str, str] | None = None) -> str:
        """The message for an answer with ``status``."""
        self.answers = [(status, b"", headers or {})] * 3
        with pytest.raises(PolicyError) as caught:
            self.contents()(PATH)
        return str(caught.value)


@pytest.fixture
def api() -> Iterator[Api]:
    state = Api()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append((self.path, dict(self.headers)))
            status, body, headers = state.answers.pop(0)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}/api"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_file_is_read_raw_at_the_commit_of_the_workflow(api: Api) -> None:
    api.answers = [(200, "version: 1 # ö\n".encode(), {})]
    assert api.contents()(PATH) == "version: 1 # ö\n"
    ((url, headers),) = api.asked
    assert urlsplit(url).path == "/api/repos/acme/app/contents/.github/leakstop.yml"
    assert parse_qs(urlsplit(url).query) == {"ref": [COMMIT]}
    assert headers["Authorization"] == "Bearer t0ken"
    assert headers["Accept"] == "application/vnd.github.raw+json"


def test_a_public_repository_needs_no_token(api: Api) -> None:
    api.answers = [(200, b"version: 1\n", {})]
    api.contents(token="")(PATH)
    assert "Authorization" not in api.asked[0][1]


def test_odd_names_are_quoted(api: Api) -> None:
    api.answers = [(200, b"", {})]
    api.contents()("a b/c?ref=main#x.yml")
    assert urlsplit(api.asked[0][0]).path.endswith("/contents/a%20b/c%3Fref%3Dmain%23x.yml")


def test_the_repository_is_the_workflow_s() -> None:
    found = Contents.of_workflow(
        {
            "GITHUB_WORKFLOW_REF": "acme/required/.github/workflows/ci.yml@refs/heads/main",
            "GITHUB_WORKFLOW_SHA": COMMIT,
            "GITHUB_REPOSITORY": "acme/app",
            "GITHUB_API_URL": "https://api.example.test",
        },
        "t0ken",
    )
    assert (found.repository, found.commit) == ("acme/required", COMMIT)
    assert found.api == "https://api.example.test"
    assert "t0ken" not in repr(found)


def test_an_unknown_commit_is_said() -> None:
    with pytest.raises(PolicyError, match="commit of this workflow is not known"):
        Contents.of_workflow({"GITHUB_WORKFLOW_REF": "acme/app/x@y"}, "t0ken")


@pytest.mark.parametrize("path", ["/etc/leakstop/policy.yml", "../x.yml", "a/../../x.yml"])
def test_a_path_outside_of_the_repository_is_refused(api: Api, path: str) -> None:
    with pytest.raises(PolicyError, match="no path in this repository"):
        api.contents()(path)
    assert api.asked == []


def test_403_names_the_permission(api: Api) -> None:
    assert api.refuses(403) == (
        "error: .github/leakstop.yml at 9c1e2ab could not be read: HTTP 403\n"
        "   = the job's token has no `contents: read`\n"
        "   = add it under `permissions:`, or put the policy into the step: `policy: |`\n"
        "   = nothing ran unguarded: the job ends here (exit 3)"
    )


def test_404_may_be_either(api: Api) -> None:
    message = api.refuses(404)
    assert "HTTP 404" in message
    assert "no such file in acme/app at this commit" in message
    assert "no `contents: read`" in message


@pytest.mark.parametrize(("status", "headers"), [(429, {}), (403, {"x-ratelimit-remaining": "0"})])
def test_a_rate_limit_is_not_called_a_missing_permission(
    api: Api, status: int, headers: dict[str, str]
) -> None:
    message = api.refuses(status, headers)
    assert "limit of requests" in message
    assert "contents: read" not in message


def test_a_refusal_is_not_asked_again(api: Api) -> None:
    api.refuses(404)
    assert len(api.asked) == 1


def test_a_fault_of_the_server_is_asked_again(api: Api) -> None:
    api.answers = [(502, b"", {}), (200, b"version: 1\n", {})]
    pauses: list[float] = []
    assert api.contents(pauses=pauses)(PATH) == "version: 1\n"
    assert pauses == [contents.PAUSES_S[0]]


def test_a_server_that_stays_broken_is_named(api: Api) -> None:
    message = api.refuses(503)
    assert "HTTP 503" in message
    assert len(api.asked) == 1 + len(contents.PAUSES_S)


def test_a_server_that_is_not_there_is_named() -> None:
    client = Contents("http://127.0.0.1:9", "acme/app", COMMIT, "t0ken", lambda _: None)
    with pytest.raises(PolicyError) as caught:
        client(PATH)
    assert "127.0.0.1 could not be reached" in str(caught.value)
    assert "t0ken" not in str(caught.value)


def test_the_token_goes_to_no_other_host(api: Api) -> None:
    elsewhere = api.url.replace("127.0.0.1", "localhost")
    message = api.refuses(302, {"Location": f"{elsewhere}/stolen"})
    assert "HTTP 302" in message
    assert len(api.asked) == 1


def test_a_renamed_repository_is_followed(api: Api) -> None:
    api.answers = [(301, b"", {"Location": f"{api.url}/repositories/1"}), (200, b"ok", {})]
    assert api.contents()(PATH) == "ok"


def test_what_is_no_policy_is_refused(api: Api) -> None:
    api.answers = [(200, b"x" * (contents.LARGEST + 1), {}), (200, b"\xff", {})]
    with pytest.raises(PolicyError, match="larger than 1 MiB"):
        api.contents()(PATH)
    with pytest.raises(PolicyError, match="not UTF-8"):
        api.contents()(PATH)
