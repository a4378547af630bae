"""An agent that uses all the CPU it can get: endless loops in several processes, for a few seconds.

    spin.py PROCESSES SECONDS

Ends with one line of JSON: what the kernel says that it used.
"""

import json
import os
import resource
import sys
import time


def main():
    processes, end = int(sys.argv[1]), time.monotonic() + float(sys.argv[2])
    for _ in range(processes):
        if os.fork() == 0:
            while time.monotonic() < end:
                pass
            os._exit(0)
    for _ in range(processes):
        os.wait()
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(json.dumps({"cpu_seconds": sum(part.ru_utime + part.ru_stime for part in used)}))


if __name__ == "__main__":
    main()
