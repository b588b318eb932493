"""Signs requests once more, as AWS's own library does, and ends with an error where a signature or an address differs.

Standard input has a JSON document a line: what was sent (`method`, `url`, `headers`), what it was for (`bucket`, `key`), and with
which key (`id`, `secret`, `token`, `region`).
"""

import json
import sys
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.utils import percent_encode


def signature(sent, parts, parameters):
    """Returns the signature that botocore gives the request at the time it was signed."""
    own = [(name, value) for name, value in parameters.items() if not name.startswith("X-Amz-")]
    names = parameters["X-Amz-SignedHeaders"].split(";")
    request = AWSRequest(
        method=sent["method"],
        url=urlunsplit(parts._replace(query=urlencode(own))),
        headers={name: sent["headers"][name] for name in names},
    )
    request.context["timestamp"] = parameters["X-Amz-Date"]
    credentials = Credentials(sent["id"], sent["secret"], sent["token"])
    auth = S3SigV4QueryAuth(credentials, "s3", sent["region"], expires=int(parameters["X-Amz-Expires"]))
    auth._modify_request_before_signing(request)
    return auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)


checked = 0
for line in sys.stdin:
    sent = json.loads(line)
    parts = urlsplit(sent["url"])
    parameters = dict(parse_qsl(parts.query, keep_blank_values=True))
    path = percent_encode(f"/{sent['bucket']}/{sent['key']}", safe="/~")
    assert parts.path == path, f"the path is {parts.path}, and botocore's {path}"
    given = parameters.pop("X-Amz-Signature")
    wanted = signature(sent, parts, parameters)
    assert given == wanted, f"{sent['method']} {sent['url']}: the signature is {given}, and botocore's {wanted}"
    checked += 1
print(checked)
