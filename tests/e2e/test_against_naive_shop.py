"""Random commands of all kinds to processes that are killed: each answer is that of the naive shop."""

import random
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import psycopg2
import pytest

from allocation_contracts import (
    Allocate,
    ChangeBatchEta,
    ChangeBatchQuantity,
    ChangeLineQuantity,
    Command,
    CreateBatch,
    Deallocate,
    Hold,
    Ship,
)
from allocation_worker.domain import commands as domain
from allocation_worker.testing.waiting import wait_until
from harness.client import ExternalClient
from harness.service import RunningService
from tests.e2e.naive_judge import Asked, differences

COMMANDS = 10_000
SKUS = 20
KILLED_EVERY = 500
"""Commands between two kills."""

REPEATED = 0.05
"""The part of the commands that is published twice."""

DAYS = [date(2040, 1, day) for day in range(1, 9)]
QUANTITIES = [1, 1, 2, 2, 3, 3, 4, 5, 7, 10]


class Customer:
    """Makes up commands about one SKU, and repeats some of them. The orders change in time, as lines end."""

    def __init__(self, sku: str, chance: random.Random) -> None:
        self.sku = sku
        self._chance = chance
        self._sent: list[Command] = []
        self._batches = 0

    def next(self) -> Command:
        chance = self._chance
        if self._sent and chance.random() < 0.08:
            return chance.choice(self._sent[-40:])
        kinds = [self._allocate, self._wait, self._hold, self._confirm, self._cancel, self._ship, self._change]
        stock = [self._create, self._grow_or_shrink, self._move]
        command = chance.choices([*kinds, *stock], [14, 18, 10, 7, 8, 9, 12, 5, 7, 8])[0]()
        self._sent.append(command)
        return command

    def _line(self) -> tuple[str, str]:
        return f"o{len(self._sent) // 8 + self._chance.randrange(14)}", self._chance.choice(["", "", "", "2"])

    def _quantity(self) -> int:
        return self._chance.choice(QUANTITIES)

    def _day(self) -> date | None:
        return self._chance.choice([None, *DAYS])

    def _allocate(self) -> Command:
        orderid, lineid = self._line()
        needed_by = self._day() if self._chance.random() < 0.3 else None
        return Allocate(orderid=orderid, sku=self.sku, lineid=lineid, qty=self._quantity(), needed_by=needed_by)

    def _wait(self) -> Command:
        orderid, lineid = self._line()
        return Allocate(
            orderid=orderid,
            sku=self.sku,
            lineid=lineid,
            qty=self._quantity(),
            wait=True,
            priority=self._chance.choice([0, 0, 0, 1, 9]),
            needed_by=self._chance.choice([None, self._day()]),
        )

    def _hold(self) -> Command:
        orderid, lineid = self._line()
        until = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=self._chance.choice([-5, 1, 2, 4, 600]))
        return Hold(orderid=orderid, sku=self.sku, lineid=lineid, qty=self._quantity(), until=until)

    def _confirm(self) -> Command:
        holds = [command for command in self._sent[-25:] if isinstance(command, Hold)]
        if not holds:
            return self._hold()
        hold = self._chance.choice(holds)
        needed_by = self._day() if self._chance.random() < 0.3 else None
        return Allocate(orderid=hold.orderid, sku=self.sku, lineid=hold.lineid, qty=hold.qty, needed_by=needed_by)

    def _known_line(self) -> tuple[str, str]:
        lines = [command for command in self._sent[-50:] if isinstance(command, Allocate | Hold)]
        if not lines or self._chance.random() < 0.2:
            return self._line()
        line = self._chance.choice(lines)
        return line.orderid, line.lineid

    def _cancel(self) -> Command:
        orderid, lineid = self._line()
        return Deallocate(orderid=orderid, sku=self.sku, lineid=lineid)

    def _ship(self) -> Command:
        orderid, lineid = self._known_line()
        return Ship(orderid=orderid, sku=self.sku, lineid=lineid)

    def _change(self) -> Command:
        orderid, lineid = self._known_line()
        from_qty = self._quantity() if self._chance.random() < 0.3 else None
        return ChangeLineQuantity(orderid=orderid, sku=self.sku, lineid=lineid, qty=self._quantity(), from_qty=from_qty)

    def _batch(self) -> str:
        """A batch of late, or one that was never created."""
        return f"{self.sku}-b{max(0, self._batches - self._chance.choice([-3, 0, 1, 1, 2, 3, 5, 7]))}"

    def _create(self) -> Command:
        self._batches += 1
        qty = self._chance.choice([1, 3, 6, 10, 15, 25])
        return CreateBatch(batchref=f"{self.sku}-b{self._batches}", sku=self.sku, qty=qty, eta=self._day())

    def _grow_or_shrink(self) -> Command:
        return ChangeBatchQuantity(batchref=self._batch(), qty=self._chance.choice([0, 0, 1, 2, 4, 6, 9, 14, 20]))

    def _move(self) -> Command:
        return ChangeBatchEta(batchref=self._batch(), eta=self._day())


class Asking:
    """Asks all customers side by side, a few commands of each at a time.

    Args:
        client: Publishes the commands, and receives the events.
        together: The most commands of one customer that are under way.
        chance: Decides everything.
    """

    def __init__(self, client: ExternalClient, together: int, chance: random.Random) -> None:
        self.asked: dict[str, Asked] = {}
        self._client = client
        self._together = together
        self._chance = chance
        self._customers = [Customer(f"SKU{number}", chance) for number in range(SKUS)]
        self._open: dict[str, set[str]] = {each.sku: set() for each in self._customers}
        self._heard = 0

    def go_on(self) -> bool:
        """Ask those customers that have all their answers, and return whether there were any."""
        free = [each for each in self._customers if not self.unanswered()[each.sku]]
        for customer in free:
            for _ in range(self._chance.randint(1, self._together)):
                self._ask(customer)
        return bool(free)

    def unanswered(self) -> dict[str, set[str]]:
        """Return the message_ids that have no event yet, by SKU."""
        while self._heard < len(self._client.received):
            cause = self._client.received[self._heard].causation_id
            self._open[self.asked[cause].sku].discard(cause)
            self._heard += 1
        return self._open

    def _ask(self, customer: Customer) -> None:
        command, seen = customer.next(), len(self._client.received)
        message_id = str(uuid4())
        conversation = self._chance.choice([None, f"conversation-{seen}"])
        self.asked[message_id] = Asked(
            command=in_domain(command, message_id),
            sku=customer.sku,
            correlation_id=conversation or message_id,
            seen=seen,
        )
        self._open[customer.sku].add(message_id)
        for _ in range(2 if self._chance.random() < REPEATED else 1):
            self._client.send(command, message_id=message_id, correlation_id=conversation)


def in_domain(command: Command, message_id: str) -> domain.Command:
    cause = {"message_id": message_id} if isinstance(command, Hold) else {}
    made: domain.Command = getattr(domain, type(command).__name__)(**dict(command), **cause)
    return made


def holds_that_end_soon(database_url: str) -> int:
    dsn = database_url.replace("+psycopg2", "")
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM order_lines WHERE held_until < now() + interval '1 minute'")
        [[count]] = cursor
        return int(count)


@pytest.mark.long
@pytest.mark.parametrize("together", [1, 30])
def test_random_commands_are_answered_as_by_the_naive_shop(fresh_service: RunningService, together: int) -> None:
    chance = random.Random(together)
    verbs = ["consume", "consume", "relay"]
    # Several transactions for those that are sent together, and no grace, since a SKU waits for its answers.
    settings = {"ALLOCATION_GRACE_ATTEMPTS": "0", "ALLOCATION_GROUP_LIMIT": "20"}
    running = [fresh_service.start(verb, settings=settings) for verb in verbs]
    kills = 0
    with fresh_service.client() as client:
        asking = Asking(client, together, chance)
        while len(asking.asked) < COMMANDS:
            wait_until(asking.go_on, within=120, otherwise=fresh_service.logs, every=0.005)
            if len(asking.asked) > KILLED_EVERY * (kills + 1):
                kills += 1
                victim = chance.randrange(len(verbs))
                running[victim].kill()
                running[victim] = fresh_service.start(verbs[victim], settings=settings)
        client.wait_answered(within=120)
        wait_until(lambda: not holds_that_end_soon(fresh_service.database_url), within=60, otherwise=fresh_service.logs)
        assert fresh_service.judge(client).faults == []
        assert differences(asking.asked, client.received) == []
        assert kills >= COMMANDS // KILLED_EVERY - 1
