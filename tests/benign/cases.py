# SPDX-License-Identifier: MIT
"""The cases: each a few lines of shell and a host of its own, ``NAME.own.test``.

``$HOST`` is that host. The job's secrets are in the environment: ``API_TOKEN``, ``NPM_TOKEN``,
``PIP_TOKEN`` and ``GIT_TOKEN`` belong below own.test, ``AWS_SECRET_ACCESS_KEY`` nowhere.
"""

from __future__ import annotations

_GIT = 'git -c http.extraHeader="Authorization: Basic $(printf "x:%s" "$GIT_TOKEN" | base64 -w0)"'
_COMMIT = "git init -q -b main . && git -c user.name=a -c user.email=a@own.test commit -q"
_COMMIT += " --allow-empty -m x"
_PIP = "$PYTHON -m pip -q --disable-pip-version-check download --no-deps --no-cache-dir -d out"
_RC = 'printf "//%s/:_authToken=%s\\n" "$HOST" "$NPM_TOKEN" > .npmrc'

TO_ITS_HOME = {
    "curl-header": 'curl -sf -H "Authorization: Bearer $API_TOKEN" https://$HOST/',
    "curl-config": 'echo "header = \\"X-Key: $API_TOKEN\\"" | curl -sf -K - https://$HOST/',
    "curl-cookie": 'curl -sf -b "session=$API_TOKEN" https://$HOST/',
    "curl-query": 'curl -sf "https://$HOST/?token=$API_TOKEN"',
    "curl-path": 'curl -sf "https://$HOST/hooks/$API_TOKEN"',
    "curl-form": 'curl -sf -d "token=$API_TOKEN" https://$HOST/',
    "curl-json": 'curl -sf -d "{\\"token\\": \\"$API_TOKEN\\"}" https://$HOST/',
    "curl-basic": 'curl -sf -u "ci:$API_TOKEN" https://$HOST/',
    "curl-netrc": 'echo "machine $HOST login ci password $API_TOKEN" > rc;'
    " curl -sf --netrc-file rc https://$HOST/",
    "curl-multipart": 'printf %s "$API_TOKEN" > f; curl -sf -F file=@f https://$HOST/',
    "curl-chunked": 'printf %s "$API_TOKEN" |'
    ' curl -sf -H "Transfer-Encoding: chunked" -d @- https://$HOST/',
    "curl-gzip": 'printf %s "$API_TOKEN" | gzip > f;'
    ' curl -sf -H "Content-Encoding: gzip" --data-binary @f https://$HOST/',
    "curl-base64": 'printf %s "$API_TOKEN" | base64 > f; curl -sf -d @f https://$HOST/',
    "curl-twice": 'echo "header = \\"X-Key: $API_TOKEN\\"" |'
    " curl -sf -K - https://$HOST/a https://$HOST/b",
    "curl-http2-header": 'curl -sf -H "Authorization: Bearer $API_TOKEN" https://$HOST:2443/',
    "curl-http2-config": 'echo "header = \\"X-Key: $API_TOKEN\\"" | curl -sf -K - https://$HOST:2443/',
    "curl-http2-body": 'printf %s "$API_TOKEN" > f; curl -sf -d @f https://$HOST:2443/',
    "curl-http2-query": 'curl -sf "https://$HOST:2443/?token=$API_TOKEN"',
    "curl-pinned": "key=$(openssl s_client -connect $HOST:443 -servername $HOST </dev/null 2>&1 |"
    " openssl x509 -pubkey -noout | openssl pkey -pubin -outform der |"
    " openssl dgst -sha256 -binary | base64);"
    ' curl -sf --pinnedpubkey "sha256//$key" -H "X-Key: $API_TOKEN" https://$HOST/',
    "wget-header": 'wget -qO- --ca-certificate=$SSL_CERT_FILE --header="X-Key: $API_TOKEN"'
    " https://$HOST/",
    "wget-body": 'printf %s "$API_TOKEN" > f;'
    " wget -qO- --ca-certificate=$SSL_CERT_FILE --post-file=f https://$HOST/",
    "openssl-header": 'printf "GET / HTTP/1.1\\r\\nHost: %s\\r\\nX-Key: %s\\r\\n\\r\\n" $HOST'
    " $API_TOKEN | openssl s_client -quiet -connect $HOST:443 -servername $HOST | grep ok",
    "urllib-header": "$PYTHON $HERE/web.py https://$HOST/ - 'Authorization: Bearer $API_TOKEN'",
    "urllib-query": "$PYTHON $HERE/web.py 'https://'$HOST'/?token=$API_TOKEN' -",
    "requests-cookie": "$PYTHON $HERE/web.py --requests https://$HOST/ - 'Cookie: s=$API_TOKEN'",
    "requests-body": 'printf %s "$API_TOKEN" > f; $PYTHON $HERE/web.py --requests https://$HOST/ f',
    "node": "node $HERE/web.js 1 $HOST",
    "node-http2": "node $HERE/web.js 2 $HOST",
    "websocket": "$PYTHON $HERE/websocket.py $HOST",
    "loopback-service": "$PYTHON $HERE/local.py service $HOST",
    "loopback-proxy": "$PYTHON $HERE/local.py proxy $HOST",
    "unix-socket": "$PYTHON $HERE/local.py unix $HOST",
}
"""A secret on the way to where it belongs, or to this machine itself."""

TOOLS = {
    "pip-url": _PIP + " --index-url https://__token__:$PIP_TOKEN@$HOST/simple/ lab-package",
    "pip-netrc": 'echo "machine $HOST login __token__ password $PIP_TOKEN" > .netrc; HOME=$PWD '
    + _PIP
    + " --index-url https://$HOST/simple/ lab-package",
    "uv-index": "printf 'lab-package\\n' |"
    " UV_DEFAULT_INDEX=https://u:$PIP_TOKEN@$HOST/simple/ $UV pip compile -q -",
    "uv-publish": "UV_PUBLISH_TOKEN=$PIP_TOKEN $UV publish -q --publish-url https://$HOST/legacy/"
    " $WHEEL",
    "twine": '$PYTHON $HERE/web.py --requests https://$HOST/legacy/ $WHEEL "Authorization: Basic'
    ' $(printf "__token__:%s" "$PIP_TOKEN" | base64 -w0)"',
    "npm-whoami": _RC + "; npm whoami --registry https://$HOST/",
    "npm-publish": _RC + '; echo \'{"name": "lab-package", "version": "1.0.0"}\' > package.json;'
    " npm publish --registry https://$HOST/",
    "docker-login": 'curl -sf -u "ci:$API_TOKEN" "https://$HOST/token?service=r&scope=r" &&'
    ' curl -sf -H "Authorization: Bearer $API_TOKEN" https://$HOST/v2/',
    "docker-config": 'printf \'{"auths": {"%s": {"auth": "%s"}}}\' "$HOST"'
    ' "$(printf "ci:%s" "$API_TOKEN" | base64 -w0)" > config.json; auth=$(cut -d\'"\' -f8'
    ' config.json); curl -sf -H "Authorization: Basic $auth" https://$HOST/v2/',
    "gh": 'curl -sf -H "Authorization: token $GIT_TOKEN" -d "{}" https://$HOST/repos/o/r/issues',
    "gh-graphql": 'curl -sf -H "Authorization: bearer $GIT_TOKEN" -d "{\\"query\\": \\"{}\\"}"'
    " https://$HOST/graphql",
    "git-fetch": _GIT + " ls-remote https://$HOST/r",
    "git-push": _COMMIT + " && " + _GIT + " push -q https://$HOST/r main",
    "git-url": "git ls-remote https://x-access-token:$GIT_TOKEN@$HOST/r",
    "git-store": 'echo "https://x:$GIT_TOKEN@$HOST" > .git-credentials; HOME=$PWD'
    " git -c credential.helper=store ls-remote https://$HOST/r",
    "aws-signed": "$PYTHON $HERE/signed.py $HOST",
    "aws-openssl": 'openssl dgst -sha256 -hmac "$AWS_SECRET_ACCESS_KEY" /etc/hosts > f;'
    " curl -sf -d @f https://$HOST/",
}
"""What package managers, registries, git and clouds are told, by their own clients mostly."""

DATA = (
    *("uuids", "commits", "digests", "npm-lock", "pip-lock", "go-sum", "data-uris", "examples"),
    *("jwt", "random", "text", "compressed", "base64", "hex", "javascript", "protobuf"),
    *("certificate", "ssh-public-key", "source-map", "coverage", "prefix", "fingerprint", "masked"),
)
"""Kinds of ``made.py``: uploaded they are no leak, whatever they look like."""

UPLOADS = {
    **{f"upload-{kind}": f"$PYTHON $HERE/made.py {kind} |"
       " curl -sf -X POST -T - https://$HOST/" for kind in DATA},
    "cdn-path": "curl -sf https://$HOST/$(head -c 20 /dev/urandom | sha1sum | cut -c1-40)/a.js",
    "hashed-name": "curl -sf https://$(head -c 16 /dev/urandom | sha1sum | cut -c1-32).$HOST/",
    "wget-upload": "$PYTHON $HERE/made.py npm-lock > f;"
    " wget -qO- --ca-certificate=$SSL_CERT_FILE --post-file=f https://$HOST/",
    "http2-upload": "$PYTHON $HERE/made.py protobuf > f; curl -sf --data-binary @f"
    " https://$HOST:2443/",
    "git-bundle": _COMMIT + " && git bundle create -q f HEAD &&"
    " curl -sf --data-binary @f https://$HOST/",
    "tarball": "tar cz -C $HERE . | curl -sf -X POST -T - https://$HOST/",
}  # fmt: skip
"""Data without a secret in it."""

CASES = {"home": TO_ITS_HOME, "tools": TOOLS, "uploads": UPLOADS}
"""By the run in which they are."""
