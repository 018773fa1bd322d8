# SPDX-License-Identifier: MIT
"""``signed.py HOST``: a request signed as AWS's version 4; the key itself does not travel."""

import hashlib
import hmac
import os
import sys
import urllib.request

DAY, REGION, SERVICE = "20260101", "lab-1", "s3"


def sign(key, text):
    """One step of the derivation."""
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


host = sys.argv[1]
body = b"<CreateBucketConfiguration/>"
moment = f"{DAY}T000000Z"
digest = hashlib.sha256(body).hexdigest()
names = "host;x-amz-content-sha256;x-amz-date"
canonical = (
    f"PUT\n/bucket\n\nhost:{host}\nx-amz-content-sha256:{digest}\nx-amz-date:{moment}\n\n"
    f"{names}\n{digest}"
)
scope = f"{DAY}/{REGION}/{SERVICE}/aws4_request"
text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
key = f"AWS4{os.environ['AWS_SECRET_ACCESS_KEY']}".encode()
for part in (DAY, REGION, SERVICE, "aws4_request"):
    key = sign(key, part)
signature = sign(key, text).hex()
who = f"{os.environ['AWS_ACCESS_KEY_ID']}/{scope}"
headers = {
    "Authorization": f"AWS4-HMAC-SHA256 Credential={who}, SignedHeaders={names}, "
    f"Signature={signature}",
    "x-amz-content-sha256": digest,
    "x-amz-date": moment,
}
request = urllib.request.Request(f"https://{host}/bucket", body, headers, method="PUT")
urllib.request.urlopen(request).read()
