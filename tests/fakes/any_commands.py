"""Commands of every kind by chance, for hypothesis. They are about few lines and batches, so that these meet."""

from datetime import UTC, date, datetime

from hypothesis import strategies as st

from allocation_worker.domain.commands import (
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

skus = st.sampled_from(["LAMP", "LAMP", "VASE", "NULL"])
orderids = st.sampled_from(["o1", "o2", "o3", '{"o4"}'])
lineids = st.sampled_from(["", "2"])
batchrefs = st.sampled_from(["b1", "b2", "b3", "b\\4"])
times = st.sampled_from([datetime(2026, 1, 1, 12, tzinfo=UTC), datetime(2026, 1, 1, 13, tzinfo=UTC)])
etas = st.sampled_from([None, date(2026, 1, 1), date(2026, 1, 2)])

commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(Allocate, orderid=orderids, sku=skus, lineid=lineids, qty=st.sampled_from([1, 2, 2, 3, 5])),
    st.builds(Allocate, orderid=orderids, sku=skus, lineid=lineids, qty=st.just(2)),
    st.builds(
        Allocate,
        orderid=orderids,
        sku=skus,
        lineid=lineids,
        qty=st.sampled_from([1, 2, 3, 5, 9]),
        wait=st.just(True),  # noqa: FBT003 - the value of a field
        priority=st.sampled_from([0, 0, 9]),
        needed_by=etas,
    ),
    st.builds(Deallocate, orderid=orderids, sku=skus, lineid=lineids),
    st.builds(Ship, orderid=orderids, sku=skus, lineid=lineids),
    st.builds(CreateBatch, batchref=batchrefs, sku=skus, qty=st.sampled_from([2, 5, 9]), eta=etas),
    st.builds(ChangeBatchEta, batchref=batchrefs, eta=etas),
    st.builds(ChangeBatchQuantity, batchref=batchrefs, qty=st.integers(0, 12)),
    st.builds(ChangeLineQuantity, orderid=orderids, sku=skus, lineid=lineids, qty=st.sampled_from([1, 2, 3, 5])),
    # Held until long ago, so that the clock of the database does not shorten it.
    st.builds(Hold, orderid=orderids, sku=skus, lineid=lineids, qty=st.sampled_from([1, 2, 3, 5]), until=times),
)
