"""Start a command and tell what it used: seconds, CPU seconds, and the largest resident set in bytes.

    python -I -S launch.py FILE COMMAND...

A process begins with the high-water mark of whoever started it, so a small one has to: its own ten megabytes are the
least that can be told. What is told goes into FILE, one line; the exit code is the command's.
"""

import os
import sys
import time

begin = time.perf_counter()
child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(child, 0)
passed = time.perf_counter() - begin
with open(sys.argv[1], "w", encoding="ascii") as file:
    file.write(f"{passed} {usage.ru_utime + usage.ru_stime} {usage.ru_maxrss << 10}")
sys.exit(abs(os.waitstatus_to_exitcode(status)))
