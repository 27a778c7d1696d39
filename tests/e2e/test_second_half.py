"""Waiting lines, holds, dates that move, quantities and shipping, as an external program sees them over AMQP."""

import pytest

from harness.client import ExternalClient
from harness.service import RunningService
from tests.e2e.stories import Story, tell

SEEN_IN_OTHER_SYSTEMS = {
    "Lowering a waiting line frees no stock that never was.": """
        create b 1               -> batch-created b 1 -
        allocate X 1             -> allocated X 1 b -
        allocate W1 1 wait       -> backordered W1 1 0 -
        allocate W2 2 wait       -> backordered W2 2 0 -
        change W2 1              -> line-quantity-changed W2 1 2 - -
        cancel W2                -> deallocated W2 1 - cancelled
        ship X                   -> shipped X 1 b
    """,
    "Of several lines that wait, all that fit are served, in order.": """
        create b0 1              -> batch-created b0 1 -
        allocate X 1             -> allocated X 1 b0 -
        allocate W1 1 wait       -> backordered W1 1 0 -
        allocate W2 2 wait       -> backordered W2 2 0 -
        create b 3               -> batch-created b 3 -; allocated W1 1 b -; allocated W2 2 b -
    """,
    "A line that does not fit is passed over and keeps its place.": """
        create b0 1              -> batch-created b0 1 -
        allocate X 1             -> allocated X 1 b0 -
        allocate W1 10 wait      -> backordered W1 10 0 -
        allocate W2 3 wait       -> backordered W2 3 0 -
        create b1 5              -> batch-created b1 5 -; allocated W2 3 b1 -
        create b2 12             -> batch-created b2 12 -; allocated W1 10 b2 -
    """,
    "A batch that is created serves the queue.": """
        create b0 1              -> batch-created b0 1 -
        allocate W 2 wait        -> backordered W 2 1 -
        create b 2               -> batch-created b 2 -; allocated W 2 b -
    """,
    "A batch that grows serves the queue.": """
        create b 1               -> batch-created b 1 -
        allocate W 2 wait        -> backordered W 2 1 -
        stock b 2                -> batch-quantity-changed b 2 1; allocated W 2 b -
    """,
    "A batch that shrinks serves the queue with what its victim leaves.": """
        create b 5               -> batch-created b 5 -
        allocate A 5             -> allocated A 5 b -
        allocate W 2 wait        -> backordered W 2 0 -
        stock b 3                -> batch-quantity-changed b 3 5; deallocated A 5 b batch-quantity-changed; out-of-stock A 5 3 -; allocated W 2 b -
    """,
    "A batch whose day comes near enough serves the queue.": """
        create b 5 eta d5        -> batch-created b 5 d5
        allocate W 2 by d3 wait  -> backordered W 2 0 -
        eta b d4                 -> batch-eta-changed b d4 d5
        eta b d3                 -> batch-eta-changed b d3 d4; allocated W 2 b d3
    """,
    "A batch that arrives serves the queue.": """
        create b 5 eta d5        -> batch-created b 5 d5
        allocate W 2 by d3 wait  -> backordered W 2 0 -
        eta b -                  -> batch-eta-changed b - d5; allocated W 2 b -
    """,
    "A line that leaves a late batch serves the queue.": """
        create b 5 eta d3        -> batch-created b 5 d3
        allocate A 5 by d3       -> allocated A 5 b d3
        allocate W 2 wait        -> backordered W 2 0 -
        eta b d4                 -> batch-eta-changed b d4 d3; deallocated A 5 b batch-eta-changed; out-of-stock A 5 0 -; allocated W 2 b d4
    """,
    "A line that is cancelled serves the queue.": """
        create b 2               -> batch-created b 2 -
        allocate A 2             -> allocated A 2 b -
        allocate W 2 wait        -> backordered W 2 0 -
        cancel A                 -> deallocated A 2 b cancelled; allocated W 2 b -
    """,
    "A line that becomes smaller serves the queue.": """
        create b 3               -> batch-created b 3 -
        allocate A 3             -> allocated A 3 b -
        allocate W 2 wait        -> backordered W 2 0 -
        change A 1               -> line-quantity-changed A 1 3 b -; allocated W 2 b -
    """,
    "A line that becomes larger and moves serves the queue.": """
        create b1 3              -> batch-created b1 3 -
        create b2 4              -> batch-created b2 4 -
        allocate A 3             -> allocated A 3 b1 -
        allocate B 2             -> allocated B 2 b2 -
        allocate C 2             -> allocated C 2 b2 -
        allocate W 3 wait        -> backordered W 3 0 -
        cancel B                 -> deallocated B 2 b2 cancelled
        cancel C                 -> deallocated C 2 b2 cancelled; allocated W 3 b2 -
        create b3 4              -> batch-created b3 4 -
        allocate V 5 wait        -> backordered V 5 4 -
        allocate U 2 wait        -> allocated U 2 b3 -
        cancel U                 -> deallocated U 2 b3 cancelled
        change A 4               -> line-quantity-changed A 4 3 b3 -
        change V 3               -> line-quantity-changed V 3 5 b1 -
    """,
    "A hold that lapses serves the queue.": """
        create b 2               -> batch-created b 2 -
        hold A 2                 -> held A 2 b -
        allocate W 2 wait        -> backordered W 2 0 -
        hold A 2 soon            -> held A 2 b -; hold-lapsed A 2 b; allocated W 2 b -
    """,
    "A hold that becomes smaller serves the queue.": """
        create b 3               -> batch-created b 3 -
        hold A 3                 -> held A 3 b -
        allocate W 2 wait        -> backordered W 2 0 -
        hold A 1                 -> held A 1 b -; allocated W 2 b -
    """,
    "An edit without a change reserves nothing anew.": """
        create b 5               -> batch-created b 5 -
        allocate A 3             -> allocated A 3 b -
        allocate B 2             -> allocated B 2 b -
        change A 3               -> again allocated A 3 b -
        change A 4               -> rejected not-enough-stock
        allocate A 3             -> again allocated A 3 b -
    """,
    "Stock that was shipped is not set to zero by the warehouse.": """
        create b 1               -> batch-created b 1 -
        allocate A 1             -> allocated A 1 b -
        ship A                   -> shipped A 1 b
        stock b 0                -> rejected batch-shipped
    """,
    "A new day of arrival overwrites no promise.": """
        create b 5 eta d3        -> batch-created b 5 d3
        allocate A 2             -> allocated A 2 b d3
        allocate B 2 by d3       -> allocated B 2 b d3
        create c 5 eta d2        -> batch-created c 5 d2
        eta b d4                 -> batch-eta-changed b d4 d3; promise-changed A 2 b d4 d3; deallocated B 2 b batch-eta-changed; allocated B 2 c d2
        create b 5 eta d3        -> again batch-created b 5 d3
        allocate A 2             -> again promise-changed A 2 b d4 d3
    """,
    "The same day again tells no line.": """
        create b 5 eta d3        -> batch-created b 5 d3
        allocate A 2             -> allocated A 2 b d3
        eta b d3                 -> batch-eta-changed b d3 d3
        allocate A 2             -> again allocated A 2 b d3
    """,
    "The last piece is not sold twice after a hold has lapsed.": """
        create b 1               -> batch-created b 1 -
        hold A 1 soon            -> held A 1 b -; hold-lapsed A 1 b
        hold B 1                 -> held B 1 b -
        allocate B 1             -> allocated B 1 b -
        allocate A 1             -> out-of-stock A 1 0 -
    """,
    "Nobody is blocked by the own hold.": """
        create b 5               -> batch-created b 5 -
        hold A 3                 -> held A 3 b -
        hold A 5                 -> held A 5 b -
        allocate B 1             -> out-of-stock B 1 0 -
    """,
    "A receipt that is too small for all that wait serves one line.": """
        create b0 1              -> batch-created b0 1 -
        allocate W1 10 wait      -> backordered W1 10 1 -
        allocate W2 10 wait      -> backordered W2 10 1 -
        allocate W3 10 wait      -> backordered W3 10 1 -
        create b1 5              -> batch-created b1 5 -
        create b2 10             -> batch-created b2 10 -; allocated W1 10 b2 -
    """,
}

INTERPLAY = {
    "What arrives leaves held, allocated and shipped lines alone, and serves the waiting in order.": """
        create b 6               -> batch-created b 6 -
        hold H 2                 -> held H 2 b -
        allocate A 2             -> allocated A 2 b -
        allocate S 2             -> allocated S 2 b -
        ship S                   -> shipped S 2 b
        allocate W1 2 wait       -> backordered W1 2 0 -
        allocate W2 2 priority 5 wait -> backordered W2 2 0 -
        allocate W3 2 wait       -> backordered W3 2 0 -
        create c 2               -> batch-created c 2 -; allocated W2 2 c -
        stock b 8                -> batch-quantity-changed b 8 6; allocated W1 2 b -
        create d 2 eta d1        -> batch-created d 2 d1; allocated W3 2 d d1
        eta d -                  -> batch-eta-changed d - d1; promise-changed W3 2 d - d1
        hold H 2                 -> held H 2 b -
        allocate A 2             -> again allocated A 2 b -
        ship S                   -> again shipped S 2 b
    """,
    "A batch that shrinks loses held lines first, then the last that were asked for; what was shipped is refused.": """
        create b 8               -> batch-created b 8 -
        hold H 2                 -> held H 2 b -
        allocate A1 2            -> allocated A1 2 b -
        allocate A2 2            -> allocated A2 2 b -
        allocate S 2             -> allocated S 2 b -
        ship S                   -> shipped S 2 b
        allocate W 1 wait        -> backordered W 1 0 -
        stock b 7                -> batch-quantity-changed b 7 8; hold-lapsed H 2 b; allocated W 1 b -
        stock b 5                -> batch-quantity-changed b 5 7; deallocated W 1 b batch-quantity-changed; deallocated A2 2 b batch-quantity-changed; out-of-stock A2 2 1 -; allocated W 1 b -
        stock b 1                -> rejected batch-shipped
        stock b 2                -> batch-quantity-changed b 2 5; deallocated W 1 b batch-quantity-changed; deallocated A1 2 b batch-quantity-changed; out-of-stock A1 2 0 -; backordered W 1 0 -
    """,
}


@pytest.mark.parametrize("together", [False, True], ids=["one at a time", "together"])
def test_each_story_comes_out_as_it_is_told(service: RunningService, client: ExternalClient, together: bool) -> None:
    stories = [Story(title, text) for title, text in {**SEEN_IN_OTHER_SYSTEMS, **INTERPLAY}.items()]
    differences = tell(client, stories, together=together)
    assert not differences, "\n\n".join(differences)
    assert service.judge(client).faults == []
