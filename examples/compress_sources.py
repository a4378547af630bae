"""An agent with honest work: compresses and hashes every file below a folder, for a few seconds.

    compress_sources.py FOLDER SECONDS

Ends with one line of JSON: what it did, and what the kernel says that it used.
"""

import bz2
import hashlib
import json
import pathlib
import resource
import sys
import time


def main():
    folder, seconds = pathlib.Path(sys.argv[1]), float(sys.argv[2])
    texts = [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]
    digest, packed, files, end = hashlib.sha256(), 0, 0, time.monotonic() + seconds
    while time.monotonic() < end:
        text = texts[files % len(texts)]
        small = bz2.compress(text)
        digest.update(small)
        packed += len(text) - len(small)
        files += 1
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"files": files, "bytes_saved": packed, "digest": digest.hexdigest()[:16],
                      "cpu_seconds": used.ru_utime + used.ru_stime,
                      "resident_peak_bytes": used.ru_maxrss * 1024}))


if __name__ == "__main__":
    main()
