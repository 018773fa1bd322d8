# SPDX-License-Identifier: MIT
"""``web.py URL BODY [HEADER]...`` with urllib, ``--requests`` in front with requests.

BODY is a file, ``-`` none. ``$NAME`` in URL and headers stands for that variable of the
environment: the value is not on the command line.
"""

import os
import pathlib
import sys
import urllib.request

arguments = sys.argv[1:]
library = arguments.pop(0) if arguments[0] == "--requests" else ""
url, body, *lines = map(os.path.expandvars, arguments)
content = None if body == "-" else pathlib.Path(body).read_bytes()
headers = dict(line.split(": ", 1) for line in lines)
if library:
    import requests

    requests.request("POST" if content else "GET", url, data=content, headers=headers)
else:
    request = urllib.request.Request(url, content, headers)
    urllib.request.urlopen(request).read()
