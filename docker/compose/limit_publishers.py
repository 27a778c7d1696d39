"""Imports the topic permissions of /run/secrets/definitions.json, once the exchange that they are for exists.

RabbitMQ 4.3 refuses them before, so they cannot be among what the broker loads when it starts.
"""

import base64
import ssl
from pathlib import Path
from urllib.request import Request, urlopen

SECRETS = Path("/run/secrets")
URL = "https://rabbitmq:15671/api/definitions"

login = base64.b64encode((SECRETS / "login").read_bytes()).decode()
request = Request(
    URL,
    data=(SECRETS / "definitions.json").read_bytes(),
    headers={"Authorization": f"Basic {login}", "Content-Type": "application/json"},
)
with urlopen(request, timeout=30, context=ssl.create_default_context(cafile=SECRETS / "ca.pem")):  # noqa: S310 - as above
    pass
