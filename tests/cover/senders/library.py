# SPDX-License-Identifier: MIT
"""``library.py urllib|requests URL BODY``: posts the file BODY as most Python programs do."""

import pathlib
import sys
import urllib.request

_, library, url, body = sys.argv
content = pathlib.Path(body).read_bytes()
if library == "urllib":
    urllib.request.urlopen(url, content, 5).read()
else:
    import requests

    requests.post(url, content, timeout=5)
