"""Becomes a server program, and leaves a watcher beside it that ends the server when whoever started it is gone.

    python -I -S launch.py REMOVE COMMAND...      # standard input: a pipe whose other end the owner holds

The pipe is how the owner's end is noticed, whatever it dies of: the system closes the owner's side. A byte that arrives
first lets the watcher go. REMOVE is a folder to delete with the server ("" for none). A watcher, rather than Linux's
"signal at the parent's death", because that follows the thread that started the server, and exists on Linux alone. Run
as a script by itself, so it imports nothing of ours.
"""

import os
import signal
import sys
import time

GRACE_SECONDS = 10.0


def watch(server: int, remove: str) -> None:
    """Wait for the owner's word or its end, then clear up. The server's process is this one's parent."""
    os.closerange(3, 256)  # the lock on the folder is for owner and server alone
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if os.read(0, 1):
        return
    if not remove and os.getppid() == server:  # data to be kept: give it the time to close them well
        os.kill(server, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        while os.getppid() == server and time.monotonic() < deadline:
            time.sleep(0.05)
    # While it is our parent its id cannot have gone to another process.
    if os.getppid() == server:
        os.kill(server, signal.SIGKILL)
        while os.getppid() == server:
            time.sleep(0.01)
    if remove:
        import shutil

        shutil.rmtree(remove, ignore_errors=True)


def main() -> None:
    """Leave the watcher, then become the server, so that the owner's child is the server itself."""
    remove, *command = sys.argv[1:]
    server = os.getpid()
    if os.fork() == 0:
        watch(server, remove)
        os._exit(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
