"""An agent that calls a language model and tells mete what each call cost.

    token_agent.py CALLS TOKENS_EACH

Under `mete run` the socket in METE_SOCKET takes the reports; nothing else is needed than HTTP. Here
the calls are pauses. Ends with one line of JSON: how many tokens it reported.
"""

import http.client
import json
import os
import socket
import sys
import time
import uuid


class MeteConnection(http.client.HTTPConnection):
    """HTTP over the Unix socket that METE_SOCKET names."""

    def __init__(self):
        super().__init__("mete", timeout=60)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.environ["METE_SOCKET"])


def report(**usage):
    """Tells mete what was used, once; returns the receipt. Raises when nothing was recorded."""
    connection = MeteConnection()
    connection.request("POST", "/v1/self/usage", json.dumps(usage),
                       {"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())})
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    if response.status != 200:
        raise RuntimeError(f"{answer['code']}: {answer['detail']}")
    return answer


def main():
    calls, tokens = int(sys.argv[1]), int(sys.argv[2])
    sent = 0
    for _ in range(calls):
        time.sleep(0.1)  # the language model
        sent += report(tokens=tokens)["recorded"]["tokens"]
    print(json.dumps({"tokens_sent": sent}))


if __name__ == "__main__":
    main()
