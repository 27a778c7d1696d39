"""Publishing from a program that forks or exits."""

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from allocation_contracts import ORDERS_QUEUE
from tests.integration.rabbitmq.rig import Place

NOWHERE = "amqp://guest:guest@127.0.0.1:1/"

BEGIN = """
import os, sys, time
from allocation_contracts import Allocate
from allocation_contracts.amqp import Outgoing, Publisher

def line(number):
    return Outgoing(command=Allocate(orderid=f"o-{number}", sku="CHAIR", qty=1), message_id=f"m-{number}")

publisher = Publisher(sys.argv[1], timeout=5)
"""


def run(url: str, program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        # From Python 3.12 on, a program of several threads is warned when it forks.
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", BEGIN + dedent(program), url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def arrived(place: Place) -> list[str | None]:
    return [properties.message_id for properties, _ in place.take_all(ORDERS_QUEUE)]


def test_a_program_that_ends_without_close_waits_for_the_confirms(place: Place) -> None:
    ended = run(place.url, "for number in range(200): publisher.publish_soon(line(number))")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert arrived(place) == [f"m-{number}" for number in range(200)]


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_child_of_multiprocessing_waits_for_the_confirms_of_its_own_publisher(
    place: Place, tmp_path: Path, method: str
) -> None:
    """Such a child calls no atexit functions at its end."""
    program = tmp_path / "program.py"
    program.write_text(
        dedent(
            f"""
            import multiprocessing, sys
            from allocation_contracts import Allocate
            from allocation_contracts.amqp import Outgoing, Publisher

            def work(url):
                global publisher
                publisher = Publisher(url, timeout=30)
                for number in range(200):
                    command = Allocate(orderid=f"o-{{number}}", sku="CHAIR", qty=1)
                    publisher.publish_soon(Outgoing(command=command, message_id=f"m-{{number}}"))

            if __name__ == "__main__":
                child = multiprocessing.get_context({method!r}).Process(target=work, args=[sys.argv[1]])
                child.start()
                child.join()
                sys.exit(child.exitcode)
            """
        )
    )
    ended = subprocess.run(
        [sys.executable, program, place.url], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert arrived(place) == [f"m-{number}" for number in range(200)]


def test_one_that_ends_by_an_error_waits_too(place: Place) -> None:
    ended = run(place.url, "publisher.publish_soon(line(1)); raise SystemExit('no more')")
    assert (ended.returncode, ended.stderr) == (1, "no more\n")
    assert arrived(place) == ["m-1"]


def test_at_the_end_it_says_what_was_not_confirmed() -> None:
    ended = run(NOWHERE, "publisher.publish_soon(line(1)); publisher.publish_soon(line(2))")
    assert "commands_not_confirmed commands=2 " in ended.stderr
    assert "m-1, m-2" in ended.stderr


def test_what_was_closed_says_nothing_at_the_end(place: Place) -> None:
    ended = run(place.url, "publisher.publish(line(1).command); publisher.close()")
    assert (ended.returncode, ended.stderr) == (0, "")


CALLS = ["publisher.publish(line(1).command)", "publisher.publish_soon(line(1))", "publisher.publish_all([line(1)])"]


@pytest.mark.parametrize("call", CALLS)
def test_in_a_forked_child_each_call_fails_at_once_and_says_what_to_do(place: Place, call: str) -> None:
    ended = run(
        place.url,
        f"""
        publisher.publish(line(0).command, message_id="m-0")
        if child := os.fork():
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            publisher.publish(line(2).command, message_id="m-2")
            publisher.close()
            sys.exit(code)
        began = time.monotonic()
        try:
            {call}
        except RuntimeError as error:
            print(error, file=sys.stderr)
            sys.exit(7 if time.monotonic() - began < 0.5 else 8)
        """,
    )
    assert ended.returncode == 7
    assert "make a Publisher in each process, after the fork" in ended.stderr
    assert arrived(place) == ["m-0", "m-2"]


def test_a_forked_child_leaves_its_parents_connection_alone(place: Place) -> None:
    ended = run(
        place.url,
        """
        with publisher:
            publisher.publish_soon(line(0))
            child = os.fork()
            if not child:
                sys.exit(3)  # it runs through the end of the block, and through what is done at an exit
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
            publisher.publish_soon(line(1))
        """,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert arrived(place) == ["m-0", "m-1"]


def test_a_forked_child_may_have_a_publisher_of_its_own(place: Place) -> None:
    ended = run(
        place.url,
        """
        publisher.publish(line(0).command, message_id="m-0")
        child = os.fork()
        if not child:
            with Publisher(sys.argv[1], timeout=5) as own:
                own.publish(line(1).command, message_id="m-1")
            sys.exit(0)
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert arrived(place) == ["m-0", "m-1"]
