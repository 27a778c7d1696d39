"""Drops packets between addresses of the loopback network, with iptables: the network of a test breaks."""

import subprocess

from allocation_worker.testing.servers.programs import ProgramError, find_program


class PacketFilter:
    """Rules in a chain of their own. Needs root and the program iptables.

    Args:
        name: The name of the chain, up to 28 characters. Nothing else on the machine may use it.
    """

    def __init__(self, name: str) -> None:
        self._chain = name

    def drop(self, *matches: tuple[str, ...]) -> None:
        """Drop all packets that match, such as `("-s", "127.0.5.1")`, until `clear`.

        Raises:
            ProgramError: The program iptables is missing, or this process is not root.
        """
        _iptables("-N", self._chain)
        _iptables("-I", "INPUT", "-j", self._chain)
        for match in matches:
            _iptables("-A", self._chain, *match, "-j", "DROP")

    def clear(self) -> None:
        """Let all packets through again. Without rules, this does nothing."""
        if find_program("iptables") is None:
            return
        while _run_iptables("-D", "INPUT", "-j", self._chain).returncode == 0:
            pass
        for action in ("-F", "-X"):
            _run_iptables(action, self._chain)


def _iptables(*arguments: str) -> None:
    done = _run_iptables(*arguments)
    if done.returncode:
        raise ProgramError(f"iptables {' '.join(arguments)}: {done.stderr.strip()}")


def _run_iptables(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = find_program("iptables")
    if program is None:
        raise ProgramError("iptables is missing; install it, or leave partitions out.")
    command = [str(program), "--wait", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)
