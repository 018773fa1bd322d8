# SPDX-License-Identifier: MIT
"""Reads policy files at the commit of the workflow, through GitHub's contents API.

Never from the workspace: before checkout it is empty, after it holds what a pull request
brought, and on a machine that is used again it holds yesterday's.
"""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPMessage
from typing import IO
from urllib.parse import quote, urlsplit

from leakstop.errors import PolicyError

TIMEOUT_S = 10.0
PAUSES_S = (0.5, 2.0)
"""Before the second and the third try."""
LARGEST = 1024 * 1024

_RAW = "application/vnd.github.raw+json"
_VERSION = "2022-11-28"
_SHORT = 7
_ENDS_HERE = "nothing ran unguarded: the job ends here (exit 3)"


@dataclass(frozen=True, slots=True)
class Contents:
    """The files of a repository at one commit. Calling it reads one: a policy loader."""

    api: str
    """Such as ``GITHUB_API_URL``."""
    repository: str
    commit: str
    token: str = field(repr=False)
    pause: Callable[[float], None] = time.sleep

    @classmethod
    def of_workflow(cls, environ: Mapping[str, str], token: str) -> Contents:
        """The repository and commit that this workflow's file comes from.

        Raises:
            PolicyError: the runner does not say which.
        """
        # OWNER/NAME/.github/workflows/FILE@REF: in a workflow that an organisation requires
        # it is not the repository that the job runs for.
        reference = environ.get("GITHUB_WORKFLOW_REF", "")
        repository = "/".join(reference.split("/")[:2])
        commit = environ.get("GITHUB_WORKFLOW_SHA", "")
        if not repository or not commit:
            raise PolicyError(
                "the commit of this workflow is not known, so its policy cannot be read",
                why="the runner sets neither GITHUB_WORKFLOW_REF nor GITHUB_WORKFLOW_SHA",
                fix="put the policy into the step: `policy: |`",
                where="input `policy`",
            )
        return cls(environ.get("GITHUB_API_URL", ""), repository, commit, token)

    def __call__(self, path: str) -> str:
        """Read the file ``path``.

        Raises:
            PolicyError: it could not be read; the message says what to change.
        """
        if path.startswith("/") or ".." in path.split("/"):
            raise PolicyError(
                f"`{path}` is no path in this repository",
                fix="name it from the repository's root, such as `.github/leakstop.yml`",
                where="input `policy`",
            )
        data = self._get(path)
        if len(data) > LARGEST:
            raise PolicyError(f"`{path}` is larger than 1 MiB", where=path)
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise PolicyError(
                f"`{path}` is not UTF-8", where=path, fix="save it as UTF-8"
            ) from error

    def _get(self, path: str) -> bytes:
        for pause in (*PAUSES_S, None):
            try:
                return self._request(path)
            except urllib.error.HTTPError as error:
                with error:
                    if error.code < 500 or pause is None:
                        raise self._refused(path, error) from error
            except (OSError, HTTPException) as error:
                if pause is None:
                    raise self._unreachable(path, error) from error
            if pause is not None:
                self.pause(pause)
        raise AssertionError("unreachable")

    def _request(self, path: str) -> bytes:
        place = f"{self.api}/repos/{quote(self.repository)}/contents/{quote(path)}"
        headers = {"Accept": _RAW, "X-GitHub-Api-Version": _VERSION, "User-Agent": "leakstop"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(f"{place}?ref={quote(self.commit)}", headers=headers)
        opener = urllib.request.build_opener(_SameHost)
        with opener.open(request, timeout=TIMEOUT_S) as response:
            body: bytes = response.read(LARGEST + 1)
        return body

    def _refused(self, path: str, error: urllib.error.HTTPError) -> PolicyError:
        inline = "or put the policy into the step: `policy: |`"
        limited = error.code == 429 or error.headers.get("x-ratelimit-remaining") == "0"
        if limited:
            why = "the limit of requests for the job's token is reached"
            fix = f"run the job again later, {inline}"
        elif error.code in (401, 403):
            why = "the job's token has no `contents: read`"
            fix = f"add it under `permissions:`, {inline}"
        elif error.code == 404:
            why = (
                f"there is no such file in {self.repository} at this commit, "
                "or the job's token has no `contents: read`"
            )
            fix = f"check the path, add `contents: read` under `permissions:`, {inline}"
        else:
            why, fix = "GitHub's API could not answer", f"run the job again, {inline}"
        return self._unread(path, f"HTTP {error.code}", why, fix)

    def _unreachable(self, path: str, error: Exception) -> PolicyError:
        reason = getattr(error, "reason", None) or error
        host = urlsplit(self.api).hostname or "GitHub's API"
        return self._unread(
            path,
            f"{host} could not be reached ({reason})",
            "the policy is read before anything else runs, and that takes the network",
            "run the job again, or put the policy into the step: `policy: |`",
        )

    def _unread(self, path: str, how: str, why: str, fix: str) -> PolicyError:
        return PolicyError(
            f"{path} at {self.commit[:_SHORT]} could not be read: {how}",
            why=why,
            fix=f"{fix}\n   = {_ENDS_HERE}",
        )


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follows a redirect (a repository that was renamed), but takes the token nowhere else."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if _origin(newurl) != _origin(req.full_url):
            return None  # becomes the HTTPError that it is
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


__all__ = ["Contents"]
