"""Waiting lines, holds, dates that move, quantities and shipping, as an external program sees them over AMQP."""

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
        stock b 3                -> batch-quantity-changed b 3 5; deallocated A 5 b batch-quantity-changed;
                                    out-of-stock A 5 3 -; allocated W 2 b -
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
        eta b d4                 -> batch-eta-changed b d4 d3; deallocated A 5 b batch-eta-changed;
                                    out-of-stock A 5 0 -; allocated W 2 b d4
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
        create b2 4 eta d5       -> batch-created b2 4 d5
        allocate A 3             -> allocated A 3 b1 -
        allocate W 3 by d4 wait  -> backordered W 3 0 -
        change A 4               -> line-quantity-changed A 4 3 b2 d5; allocated W 3 b1 -
    """,
    "A hold that lapses serves the queue.": """
        create b 2               -> batch-created b 2 -
        hold A 2                 -> held A 2 b -
        allocate W 2 wait        -> backordered W 2 0 -
        hold A 2 soon            -> held A 2 b -; hold-lapsed A 2 b; allocated W 2 b -
    """,
    "A hold that becomes larger and moves serves the queue.": """
        create b1 3              -> batch-created b1 3 -
        create b2 4 eta d5       -> batch-created b2 4 d5
        hold A 3                 -> held A 3 b1 -
        allocate W 3 by d4 wait  -> backordered W 3 0 -
        hold A 4                 -> held A 4 b2 d5; allocated W 3 b1 -
    """,
    "A held line whose batch is too late for its order serves the queue.": """
        create b1 3 eta d5       -> batch-created b1 3 d5
        hold A 3                 -> held A 3 b1 d5
        allocate W 3 wait        -> backordered W 3 0 -
        allocate A 3 by d4       -> out-of-stock A 3 0 -; allocated W 3 b1 d5
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
        eta b d4                 -> batch-eta-changed b d4 d3; promise-changed A 2 b d4 d3;
                                    deallocated B 2 b batch-eta-changed; allocated B 2 c d2
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
    "Stock that arrives serves the waiting in order: a higher priority first, then who asked first.": """
        create b 1               -> batch-created b 1 -
        allocate W1 2 wait       -> backordered W1 2 1 -
        allocate W2 2 priority 5 wait -> backordered W2 2 1 -
        allocate W3 2 wait       -> backordered W3 2 1 -
        allocate W4 2 priority 5 wait -> backordered W4 2 1 -
        create c 2               -> batch-created c 2 -; allocated W2 2 c -
        stock b 4                -> batch-quantity-changed b 4 1; allocated W4 2 b -; allocated W1 2 b -
        create d 2 eta d1        -> batch-created d 2 d1; allocated W3 2 d d1
    """,
    "Stock that arrives leaves what is held.": """
        create b 2 eta d5        -> batch-created b 2 d5
        hold H 2                 -> held H 2 b d5
        create c 2               -> batch-created c 2 -
        stock b 3                -> batch-quantity-changed b 3 2
        eta b -                  -> batch-eta-changed b - d5; promise-changed H 2 b - d5
        allocate H 2             -> allocated H 2 b -
    """,
    "Stock that arrives leaves what is allocated; nobody moves up.": """
        create b 2 eta d5        -> batch-created b 2 d5
        allocate A 2             -> allocated A 2 b d5
        create c 2               -> batch-created c 2 -
        stock b 3                -> batch-quantity-changed b 3 2
        create d 2 eta d4        -> batch-created d 2 d4
        eta d d1                 -> batch-eta-changed d d1 d4
        eta b -                  -> batch-eta-changed b - d5; promise-changed A 2 b - d5
        allocate A 2             -> again promise-changed A 2 b - d5
    """,
    "Stock that arrives leaves what was shipped.": """
        create b 2               -> batch-created b 2 -
        allocate S 2             -> allocated S 2 b -
        ship S                   -> shipped S 2 b
        create c 2               -> batch-created c 2 -
        stock b 3                -> batch-quantity-changed b 3 2
        eta b -                  -> batch-eta-changed b - -
        ship S                   -> again shipped S 2 b
    """,
    "A batch that shrinks serves the waiting with what is left over, after its victims.": """
        create b 6               -> batch-created b 6 -
        allocate A 1             -> allocated A 1 b -
        allocate B 5             -> allocated B 5 b -
        allocate V 4 priority 9 wait -> backordered V 4 0 -
        allocate W 2 wait        -> backordered W 2 0 -
        create c 3               -> batch-created c 3 -; allocated W 2 c -
        stock b 5                -> batch-quantity-changed b 5 6; deallocated B 5 b batch-quantity-changed;
                                    out-of-stock B 5 4 -; allocated V 4 b -
    """,
    "A batch that shrinks takes held lines first, though they asked first: another batch holds them.": """
        create b 8               -> batch-created b 8 -
        hold H1 2                -> held H1 2 b -
        hold H2 2                -> held H2 2 b -
        allocate A 4             -> allocated A 4 b -
        create c 2 eta d1        -> batch-created c 2 d1
        stock b 6                -> batch-quantity-changed b 6 8; held H2 2 c d1
        stock b 4                -> batch-quantity-changed b 4 6; hold-lapsed H1 2 b
        allocate H2 2            -> allocated H2 2 c d1
        allocate H1 2            -> out-of-stock H1 2 0 -
    """,
    "A batch that shrinks takes the last asked off first, and places the first asked again first.": """
        create b1 15             -> batch-created b1 15 -
        allocate first 5         -> allocated first 5 b1 -
        allocate second 5        -> allocated second 5 b1 -
        allocate third 5 wait    -> allocated third 5 b1 -
        create b2 5 eta d1       -> batch-created b2 5 d1
        stock b1 0               -> batch-quantity-changed b1 0 15; deallocated third 5 b1 batch-quantity-changed;
                                    deallocated second 5 b1 batch-quantity-changed;
                                    deallocated first 5 b1 batch-quantity-changed; allocated first 5 b2 d1;
                                    out-of-stock second 5 0 -; backordered third 5 0 -
        create b3 5              -> batch-created b3 5 -; allocated third 5 b3 -
    """,
    "A batch that shrinks passes shipped lines over; below what was shipped it is refused.": """
        create b 4               -> batch-created b 4 -
        allocate A 2             -> allocated A 2 b -
        allocate S 2             -> allocated S 2 b -
        ship S                   -> shipped S 2 b
        stock b 1                -> rejected batch-shipped
        allocate A 2             -> again allocated A 2 b -
        stock b 2                -> batch-quantity-changed b 2 4; deallocated A 2 b batch-quantity-changed;
                                    out-of-stock A 2 0 -
    """,
    "A batch that is moved to a day that still is early enough serves the waiting that may use it now.": """
        create b 5 eta d6        -> batch-created b 5 d6
        allocate W1 2 by d4 wait -> backordered W1 2 0 -
        allocate W2 2 by d3 wait -> backordered W2 2 0 -
        eta b d4                 -> batch-eta-changed b d4 d6; allocated W1 2 b d4
    """,
    "A batch that comes later tells held and allocated lines, and moves who needs it earlier.": """
        create b 9 eta d2        -> batch-created b 9 d2
        allocate A 2 by d3       -> allocated A 2 b d2
        hold H 2                 -> held H 2 b d2
        allocate B 2 by d2       -> allocated B 2 b d2
        allocate W 2 by d2 wait  -> allocated W 2 b d2
        create c 2 eta d1        -> batch-created c 2 d1
        eta b d3                 -> batch-eta-changed b d3 d2; promise-changed A 2 b d3 d2;
                                    promise-changed H 2 b d3 d2; deallocated B 2 b batch-eta-changed;
                                    deallocated W 2 b batch-eta-changed; allocated B 2 c d1; backordered W 2 0 -
        allocate H 2             -> allocated H 2 b d3
        eta b d2                 -> batch-eta-changed b d2 d3; promise-changed A 2 b d2 d3;
                                    promise-changed H 2 b d2 d3; allocated W 2 b d2
    """,
    "A line that is cancelled leaves the queue and frees nothing; from held and allocated it gives its stock back.": """
        create b 3               -> batch-created b 3 -
        hold H 1                 -> held H 1 b -
        allocate A 2             -> allocated A 2 b -
        allocate W1 1 wait       -> backordered W1 1 0 -
        allocate W2 1 wait       -> backordered W2 1 0 -
        allocate W3 2 wait       -> backordered W3 2 0 -
        cancel W1                -> deallocated W1 1 - cancelled
        cancel H                 -> deallocated H 1 b cancelled; allocated W2 1 b -
        cancel A                 -> deallocated A 2 b cancelled; allocated W3 2 b -
        hold H 1                 -> rejected line-cancelled
        allocate A 2             -> rejected line-cancelled
        allocate W1 1 wait       -> rejected line-cancelled
        ship A                   -> rejected line-cancelled
        change A 1               -> rejected line-cancelled
        cancel A                 -> deallocated A 2 - cancelled
    """,
    "A line that was shipped stays so.": """
        create b 3               -> batch-created b 3 -
        allocate S 2             -> allocated S 2 b -
        ship S                   -> shipped S 2 b
        cancel S                 -> rejected line-shipped
        allocate S 2             -> rejected line-shipped
        hold S 2                 -> rejected line-shipped
        change S 1               -> rejected line-shipped
        ship S                   -> again shipped S 2 b
    """,
    "A line that is asked for again is announced again while it waits or is allocated, and confirmed if held.": """
        create b 3               -> batch-created b 3 -
        hold H 1                 -> held H 1 b -
        allocate A 2             -> allocated A 2 b -
        allocate W 1 wait        -> backordered W 1 0 -
        allocate W 1 wait        -> again backordered W 1 0 -
        allocate A 2             -> again allocated A 2 b -
        allocate H 1             -> allocated H 1 b -
        allocate H 1             -> again allocated H 1 b -
    """,
}

MORE_RULES = {
    "A waiting line keeps its place for less, takes a new one for more, and leaves the queue without wait.": """
        create b 1               -> batch-created b 1 -
        allocate W1 5 wait       -> backordered W1 5 1 -
        allocate W2 5 wait       -> backordered W2 5 1 -
        allocate W3 5 wait       -> backordered W3 5 1 -
        allocate W3 4 wait       -> backordered W3 4 1 -
        allocate W1 6 wait       -> backordered W1 6 1 -
        allocate W2 5            -> out-of-stock W2 5 1 -
        create c 10              -> batch-created c 10 -; allocated W3 4 c -; allocated W1 6 c -
    """,
    "A waiting line whose quantity is changed keeps its place for less, and takes a new one for more.": """
        create b 1               -> batch-created b 1 -
        allocate W1 5 wait       -> backordered W1 5 1 -
        allocate W2 5 wait       -> backordered W2 5 1 -
        change W1 6              -> line-quantity-changed W1 6 5 - -
        change W2 4              -> line-quantity-changed W2 4 5 - -
        change W2 4              -> again line-quantity-changed W2 4 5 - -
        create c 6               -> batch-created c 6 -; allocated W2 4 c -
        create d 6               -> batch-created d 6 -; allocated W1 6 d -
    """,
    "A line needed by a day takes no later batch; the same day is fine, and so is the warehouse.": """
        create b 9 eta d3        -> batch-created b 9 d3
        allocate A 1 by d2       -> out-of-stock A 1 0 -
        allocate B 1 by d3       -> allocated B 1 b d3
        create c 9               -> batch-created c 9 -
        allocate A 1 by d2       -> allocated A 1 c -
    """,
    "A line of a SKU that nobody created does not wait.": """
        allocate A 1 wait        -> rejected unknown-sku
        hold B 1                 -> rejected unknown-sku
        ship C                   -> rejected line-not-allocated
        change D 1               -> rejected unknown-line
        eta b d1                 -> rejected unknown-batch
        stock b 1                -> rejected unknown-batch
    """,
    "A batch that has arrived gets no day again.": """
        create b 9 eta d3        -> batch-created b 9 d3
        eta b -                  -> batch-eta-changed b - d3
        eta b -                  -> batch-eta-changed b - -
        eta b d4                 -> rejected batch-arrived
        create b 9 eta d3        -> again batch-created b 9 d3
        create b 9               -> rejected batch-exists
    """,
    "Only a line that is allocated from a batch in the warehouse is shipped.": """
        create b 4 eta d3        -> batch-created b 4 d3
        allocate A 4             -> allocated A 4 b d3
        allocate O 1             -> out-of-stock O 1 0 -
        allocate W 1 wait        -> backordered W 1 0 -
        ship A                   -> rejected batch-not-arrived
        ship O                   -> rejected line-not-allocated
        ship W                   -> rejected line-not-allocated
        ship never               -> rejected line-not-allocated
        eta b -                  -> batch-eta-changed b - d3; promise-changed A 4 b - d3
        ship A                   -> shipped A 4 b
    """,
    "A change of quantity that was overtaken is rejected.": """
        create b 9               -> batch-created b 9 -
        allocate A 3             -> allocated A 3 b -
        change A 4 from 3        -> line-quantity-changed A 4 3 b -
        change A 5 from 3        -> rejected line-quantity-conflict
        allocate A 3             -> rejected line-quantity-conflict
        allocate A 4             -> again line-quantity-changed A 4 3 b -
    """,
    "More of a line stays with its batch if that has room, else another batch takes all of it.": """
        create b 5 eta d1        -> batch-created b 5 d1
        allocate A 3             -> allocated A 3 b d1
        create c 6               -> batch-created c 6 -
        change A 5               -> line-quantity-changed A 5 3 b d1
        allocate W 5 wait        -> allocated W 5 c -
        cancel W                 -> deallocated W 5 c cancelled
        allocate V 7 wait        -> backordered V 7 6 -
        change A 6               -> line-quantity-changed A 6 5 c -
        change V 5               -> line-quantity-changed V 5 7 b d1
    """,
    "A line whose day or quantity was changed is not the next victim for that.": """
        create b 4 eta d2        -> batch-created b 4 d2
        allocate A 1             -> allocated A 1 b d2
        allocate B 1             -> allocated B 1 b d2
        change A 2               -> line-quantity-changed A 2 1 b d2
        eta b d3                 -> batch-eta-changed b d3 d2; promise-changed A 2 b d3 d2; promise-changed B 1 b d3 d2
        stock b 2                -> batch-quantity-changed b 2 4; deallocated B 1 b batch-quantity-changed;
                                    out-of-stock B 1 0 -
    """,
    "A hold keeps its batch when it is confirmed, even if a better one has come.": """
        create b 5 eta d2        -> batch-created b 5 d2
        hold A 3                 -> held A 3 b d2
        ship A                   -> rejected line-not-allocated
        create c 5               -> batch-created c 5 -
        hold A 4                 -> held A 4 b d2
        hold A 6                 -> rejected not-enough-stock
        allocate A 5             -> rejected line-quantity-conflict
        change A 5               -> line-quantity-changed A 5 4 b d2
        allocate A 5             -> allocated A 5 b d2
        hold A 5                 -> again allocated A 5 b d2
    """,
    "A hold neither waits nor displaces anybody.": """
        create b 2               -> batch-created b 2 -
        allocate A 1             -> allocated A 1 b -
        hold H 2                 -> out-of-stock H 2 1 -
        allocate W 2 wait        -> backordered W 2 1 -
        cancel A                 -> deallocated A 1 b cancelled; allocated W 2 b -
        hold H 2                 -> out-of-stock H 2 0 -
    """,
    "A line whose hold has lapsed is as if it had never been asked for.": """
        create b 2               -> batch-created b 2 -
        hold A 2 soon            -> held A 2 b -; hold-lapsed A 2 b
        change A 1               -> rejected unknown-line
        ship A                   -> rejected line-not-allocated
        hold A 1                 -> held A 1 b -
        allocate A 1             -> allocated A 1 b -
    """,
}

EXAMINED = {
    "A batch that shrinks meets shipped, held, allocated and waiting lines at once, and each gets what is its due.": """
        create b1 10             -> batch-created b1 10 -
        create b2 3 eta d3       -> batch-created b2 3 d3
        allocate S 3             -> allocated S 3 b1 -
        ship S                   -> shipped S 3 b1
        allocate A 2             -> allocated A 2 b1 -
        hold H 2                 -> held H 2 b1 -
        allocate V 3 by d2 wait  -> allocated V 3 b1 -
        allocate W9 4 priority 9 wait -> backordered W9 4 3 -
        allocate W0 3 by d2 wait -> backordered W0 3 0 -
        stock b1 5               -> batch-quantity-changed b1 5 10; deallocated V 3 b1 batch-quantity-changed;
                                    backordered V 3 0 -; held H 2 b2 d3
        stock b1 2               -> rejected batch-shipped
        stock b1 3               -> batch-quantity-changed b1 3 5; deallocated A 2 b1 batch-quantity-changed;
                                    out-of-stock A 2 1 -
        eta b2 d1                -> batch-eta-changed b2 d1 d3; promise-changed H 2 b2 d1 d3
        cancel H                 -> deallocated H 2 b2 cancelled; allocated V 3 b2 d1
        create b1 10             -> again batch-created b1 10 -
        create b2 3 eta d3       -> again batch-created b2 3 d3
        create b2 3 eta d1       -> rejected batch-exists
    """,
    "A held line is the first victim, even if less would have done; who waits gets what it was too large for.": """
        create b 5               -> batch-created b 5 -
        hold H 4                 -> held H 4 b -
        allocate A 1             -> allocated A 1 b -
        allocate W 3 wait        -> backordered W 3 0 -
        stock b 4                -> batch-quantity-changed b 4 5; hold-lapsed H 4 b; allocated W 3 b -
        allocate A 1             -> again allocated A 1 b -
    """,
    "Who has lost its batch finds the one that it left taken by a higher priority, and is served at its old place.": """
        create b1 5 eta d2       -> batch-created b1 5 d2
        create b2 5              -> batch-created b2 5 -
        allocate X 5             -> allocated X 5 b2 -
        allocate N 3 by d3 wait  -> allocated N 3 b1 d2
        allocate A 2             -> allocated A 2 b1 d2
        allocate W 2 wait        -> backordered W 2 0 -
        allocate P 3 priority 5 wait -> backordered P 3 0 -
        eta b1 d5                -> batch-eta-changed b1 d5 d2; deallocated N 3 b1 batch-eta-changed;
                                    promise-changed A 2 b1 d5 d2; backordered N 3 0 -; allocated P 3 b1 d5
        eta b1 d5                -> batch-eta-changed b1 d5 d5
        cancel X                 -> deallocated X 5 b2 cancelled; allocated N 3 b2 -; allocated W 2 b2 -
    """,
    "A hold that is confirmed with a day too early for its batch waits, and gets the batch once that is earlier.": """
        create b 2 eta d5        -> batch-created b 2 d5
        hold H 2                 -> held H 2 b d5
        allocate W 1 wait        -> backordered W 1 0 -
        allocate H 2 by d3 wait  -> backordered H 2 0 -; allocated W 1 b d5
        eta b d3                 -> batch-eta-changed b d3 d5; promise-changed W 1 b d3 d5
        cancel W                 -> deallocated W 1 b cancelled; allocated H 2 b d3
        eta b d4                 -> batch-eta-changed b d4 d3; deallocated H 2 b batch-eta-changed; backordered H 2 0 -
    """,
    "A line that was moved is not the next victim for that.": """
        create b1 2              -> batch-created b1 2 -
        allocate A 2             -> allocated A 2 b1 -
        create b2 5              -> batch-created b2 5 -
        allocate B 2             -> allocated B 2 b2 -
        stock b1 0               -> batch-quantity-changed b1 0 2; deallocated A 2 b1 batch-quantity-changed;
                                    allocated A 2 b2 -
        stock b2 3               -> batch-quantity-changed b2 3 5; deallocated B 2 b2 batch-quantity-changed;
                                    out-of-stock B 2 1 -
    """,
    "A hold that was prolonged and confirmed keeps its place.": """
        create b 4               -> batch-created b 4 -
        hold H 2                 -> held H 2 b -
        allocate A 2             -> allocated A 2 b -
        hold H 2                 -> held H 2 b -
        allocate H 2             -> allocated H 2 b -
        stock b 2                -> batch-quantity-changed b 2 4; deallocated A 2 b batch-quantity-changed;
                                    out-of-stock A 2 0 -
    """,
    "A line that was asked for after its hold had lapsed is the next victim.": """
        create b 4               -> batch-created b 4 -
        hold H 2 soon            -> held H 2 b -; hold-lapsed H 2 b
        allocate A 2             -> allocated A 2 b -
        allocate H 2             -> allocated H 2 b -
        stock b 2                -> batch-quantity-changed b 2 4; deallocated H 2 b batch-quantity-changed;
                                    out-of-stock H 2 0 -
    """,
    "A line that waits and wants more goes behind those of its priority, and before those of a lower one.": """
        create b 1 eta d1        -> batch-created b 1 d1
        allocate L 3 wait        -> backordered L 3 1 -
        allocate A 3 priority 5 wait -> backordered A 3 1 -
        allocate B 3 priority 5 wait -> backordered B 3 1 -
        change A 4               -> line-quantity-changed A 4 3 - -
        stock b 4                -> batch-quantity-changed b 4 1; allocated B 3 b d1
        create c 4               -> batch-created c 4 -; allocated A 4 c -
        create d 3               -> batch-created d 3 -; allocated L 3 d -
    """,
    "Another priority or day of a line that waits is taken up after it has left the queue, at its old place.": """
        create b 2 eta d2        -> batch-created b 2 d2
        allocate W 2 by d1 wait  -> backordered W 2 0 -
        allocate W 2 priority 9 wait -> again backordered W 2 0 -
        allocate W 2 by d1       -> out-of-stock W 2 0 -
        allocate X 3 wait        -> backordered X 3 2 -
        allocate W 2 wait        -> allocated W 2 b d2
    """,
    "A line that waits leaves the queue when it is held.": """
        create b 1               -> batch-created b 1 -
        allocate W 2 wait        -> backordered W 2 1 -
        hold W 1 soon            -> held W 1 b -; hold-lapsed W 1 b
        allocate V 3 wait        -> backordered V 3 1 -
        hold V 3                 -> out-of-stock V 3 1 -
        create c 5               -> batch-created c 5 -
    """,
    "What overtakes the cancelled order of an unknown SKU is rejected, now and after the batch has come.": """
        cancel A                 -> deallocated A 0 - cancelled
        ship A                   -> rejected line-cancelled
        hold A 1                 -> rejected line-cancelled
        change A 1               -> rejected line-cancelled
        allocate A 1 wait        -> rejected line-cancelled
        create b 3               -> batch-created b 3 -
        ship A                   -> rejected line-cancelled
        hold A 1                 -> rejected line-cancelled
        change A 1               -> rejected line-cancelled
        allocate A 1 wait        -> rejected line-cancelled
        cancel A                 -> deallocated A 0 - cancelled
        allocate B 3             -> allocated B 3 b -
    """,
    "A line that is out of stock gets another quantity, or the same, without stock.": """
        create b 2               -> batch-created b 2 -
        allocate A 3             -> out-of-stock A 3 2 -
        change A 3               -> line-quantity-changed A 3 3 - -
        change A 2               -> line-quantity-changed A 2 3 - -
        allocate A 2             -> allocated A 2 b -
    """,
    "The largest quantities are taken, moved and served.": """
        create b 2147483647      -> batch-created b 2147483647 -
        create c 2147483647      -> batch-created c 2147483647 -
        allocate A 2147483647    -> allocated A 2147483647 b -
        hold H 2147483647        -> held H 2147483647 c -
        allocate V 2147483647 priority 9 wait -> backordered V 2147483647 0 -
        allocate W 2147483647 wait -> backordered W 2147483647 0 -
        cancel H                 -> deallocated H 2147483647 c cancelled; allocated V 2147483647 c -
        change A 1               -> line-quantity-changed A 1 2147483647 b -
        change A 2147483647      -> line-quantity-changed A 2147483647 1 b -
        stock b 0                -> batch-quantity-changed b 0 2147483647;
                                    deallocated A 2147483647 b batch-quantity-changed; out-of-stock A 2147483647 0 -
        stock b 2147483647       -> batch-quantity-changed b 2147483647 0; allocated W 2147483647 b -
    """,
}


def test_each_story_comes_out_as_it_is_told_one_command_at_a_time(
    service: RunningService, client: ExternalClient
) -> None:
    assert_as_told(service, client, together=False)


def test_each_story_comes_out_as_it_is_told_with_its_commands_sent_together(
    service: RunningService, client: ExternalClient
) -> None:
    assert_as_told(service, client, together=True)


def assert_as_told(service: RunningService, client: ExternalClient, *, together: bool) -> None:
    texts = {**SEEN_IN_OTHER_SYSTEMS, **INTERPLAY, **MORE_RULES, **EXAMINED}
    stories = [Story(title, text) for title, text in texts.items()]
    differences = tell(client, stories, together=together)
    assert not differences, "\n\n".join(differences)
    assert service.judge(client).faults == []
