# SPDX-License-Identifier: MIT
"""Which program sends what, where: the table channel by client, and what is left out of it."""

from __future__ import annotations

CHANNELS = {
    "argv": "command line",
    "tls": "TLS",
    "h2": "HTTP/2 header (HPACK)",
    "http": "plain HTTP",
    "tcp": "plain TCP",
    "udp": "UDP",
    "dns": "DNS name",
}
"""By id."""

CLIENTS = {
    "curl": "curl (OpenSSL)",
    "wget": "wget (GnuTLS)",
    "python": "Python, ssl",
    "urllib": "Python, urllib",
    "requests": "Python, requests",
    "node": "node",
    "git": "git (libcurl, GnuTLS)",
    "go": "a Go program",
    "go-stripped": "a static Go program, stripped",
    "uv": "uv (Rust, rustls, stripped)",
    "openssl": "openssl s_client",
}
"""By id. Names of libraries are those of the Debian packages."""

_GIT = "GIT_TERMINAL_PROMPT=0 GIT_SSL_CAINFO=$SSL_CERT_FILE GIT_CONFIG_GLOBAL={config} git"
_UV = "printf 'a\\n' | UV_NO_CACHE=1 UV_HTTP_RETRIES=0 UV_DEFAULT_INDEX=$(cat {config}) {uv} -q"
_WGET = "wget -q -t 1 -T 5 -O /dev/null --ca-certificate=$SSL_CERT_FILE"
_S_CLIENT = "openssl s_client -quiet -verify_return_error -CAfile $SSL_CERT_FILE"
_ARGV = " argv {host} {text}"

COMMANDS = {
    ("curl", "argv"): "curl -s --data-raw {text} https://{host}/",
    ("curl", "tls"): "curl -s {headers} --data-binary @{body} https://{host}/",
    ("curl", "h2"): "curl -s --http2 -K {config} https://{host}:2443/",
    ("curl", "http"): "curl -s {headers} --data-binary @{body} http://{host}/",
    ("curl", "tcp"): "(cat {tagged}; sleep 0.2) | curl -s -m 1 telnet://{host}:8443",
    ("curl", "udp"): "curl -s -m 1 -K {config}",
    ("curl", "dns"): "curl -s -K {config}",
    ("wget", "argv"): _WGET + " --post-data={text} https://{host}/",
    ("wget", "tls"): _WGET + " --post-file={body} https://{host}/",
    ("wget", "http"): _WGET + " --post-file={body} http://{host}/",
    ("wget", "dns"): _WGET + " -i {config}",
    ("python", "argv"): "{python} {senders}/send.py argv {host} whole {text}",
    ("python", "tls"): "{python} {senders}/send.py tls {host} {how} {body} {bare_headers}",
    ("python", "http"): "{python} {senders}/send.py http {host} {how} {body} {bare_headers}",
    ("python", "tcp"): "{python} {senders}/send.py tcp {host} {how} {body}",
    ("python", "udp"): "{python} {senders}/send.py udp {host} {how} {body}",
    ("python", "dns"): "{python} {senders}/send.py dns {host} whole {names}",
    ("urllib", "tls"): "{python} {senders}/library.py urllib https://{host}/ {body}",
    ("urllib", "http"): "{python} {senders}/library.py urllib http://{host}/ {body}",
    ("requests", "tls"): "{python} {senders}/library.py requests https://{host}/ {body}",
    ("requests", "http"): "{python} {senders}/library.py requests http://{host}/ {body}",
    ("node", "argv"): "node {senders}/send.js" + _ARGV,
    ("git", "argv"): _GIT + " -c http.extraHeader=X-Token:{text} ls-remote https://{host}/r",
    ("git", "tls"): _GIT + " ls-remote https://{host}/r",
    ("git", "http"): _GIT + " ls-remote http://{host}/r",
    ("git", "tcp"): _GIT + " ls-remote drop:r",
    ("git", "dns"): _GIT + " ls-remote drop:r",
    ("go", "argv"): "{go}" + _ARGV,
    ("go-stripped", "argv"): "{go_stripped}" + _ARGV,
    ("uv", "argv"): "printf 'a\\n' | UV_NO_CACHE=1 UV_HTTP_RETRIES=0 {uv} -q pip compile -"
    " --default-index https://{host}/{text}",
    ("uv", "tls"): _UV + " pip compile -",
    ("uv", "http"): _UV + " pip compile -",
    ("uv", "dns"): _UV + " pip compile -",
    ("openssl", "argv"): _S_CLIENT + " -connect {host}:443 -servername {text}.{host} < {request}",
    ("openssl", "tls"): _S_CLIENT + " -connect {host}:443 -servername {host} < {request}",
    **{("node", channel): f"node {{senders}}/send.js {channel} {{host}} {{body}}"
       for channel in ("tls", "h2", "http", "tcp", "udp")},
    **{("go", channel): f"{{go}} {channel} {{host}} {{body}}"
       for channel in ("tls", "h2", "http", "tcp", "udp")},
    **{("go-stripped", channel): f"{{go_stripped}} {channel} {{host}} {{body}}"
       for channel in ("tls", "h2", "http", "tcp", "udp")},
    ("node", "dns"): "node {senders}/send.js dns {host} {names}",
    ("go", "dns"): "{go} dns {host} {names}",
    ("go-stripped", "dns"): "{go_stripped} dns {host} {names}",
}  # fmt: skip
"""Lines for a shell, by client and channel. What stands in braces is ``cells.Cell.fill``'s."""

CONFIGS = {
    ("curl", "h2"): 'header = "X-Token: {text}"\n',
    ("curl", "udp"): 'url = "tftp://{host}:9999/{host}{text}"\n',
    ("curl", "dns"): 'url = "https://{name}/"\n',
    ("wget", "dns"): "https://{name}/\n",
    ("git", "argv"): "",
    ("git", "tls"): "[http]\nextraHeader = X-Token: {text}\n",
    ("git", "http"): "[http]\nextraHeader = X-Token: {text}\n",
    ("git", "tcp"): '[url "git://{host}:8443/{text}/"]\ninsteadOf = drop:\n',
    ("git", "dns"): '[url "https://{name}/"]\ninsteadOf = drop:\n',
    ("uv", "tls"): "https://{host}/{text}/",
    ("uv", "http"): "http://{host}/{text}/",
    ("uv", "dns"): "https://{name}/",
}
"""What the file ``config`` of such a command holds."""

_SAME = "the same program as Python, ssl"
_NO_H2 = "does not speak HTTP/2"
_NO_TCP = "speaks HTTP only"
LEFT_OUT = {
    ("wget", "h2"): _NO_H2,
    ("wget", "tcp"): _NO_TCP,
    ("wget", "udp"): _NO_TCP,
    ("python", "h2"): _NO_H2,
    ("urllib", "argv"): _SAME,
    ("urllib", "h2"): _NO_H2,
    ("urllib", "tcp"): _NO_TCP,
    ("urllib", "udp"): _NO_TCP,
    ("urllib", "dns"): _SAME,
    ("requests", "argv"): _SAME,
    ("requests", "h2"): _NO_H2,
    ("requests", "tcp"): _NO_TCP,
    ("requests", "udp"): _NO_TCP,
    ("requests", "dns"): _SAME,
    ("git", "h2"): "the lab has no git remote that speaks HTTP/2",
    ("git", "udp"): "has no protocol over UDP",
    ("uv", "h2"): "sends no header that a file of its own sets",
    ("uv", "tcp"): _NO_TCP,
    ("uv", "udp"): _NO_TCP,
    ("openssl", "h2"): _NO_H2,
    ("openssl", "http"): "speaks TLS only",
    ("openssl", "tcp"): "speaks TLS only",
    ("openssl", "udp"): "speaks TLS only",
    ("openssl", "dns"): "takes its host from the command line only",
}
"""Pairs that are not in the table, and why."""
