"""A connection that writes to its socket once in each turn of its loop."""

from typing import Any

from allocation_contracts.amqp.lenient import LenientConnection


class CoalescingConnection(LenientConnection):
    """Joins the frames of a turn, since pika makes a system call for each frame: three for a message."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:  # noqa: ANN401 - pika's own, passed on
        self._frames: list[bytes] = []
        super().__init__(*arguments, **keywords)

    def _adapter_emit_data(self, data: bytes) -> None:
        if not self._frames:
            self.ioloop.call_later(0, self._emit_all)
        self._frames.append(data)

    def _emit_all(self) -> None:
        frames, self._frames = self._frames, []
        if not self.is_closed:
            super()._adapter_emit_data(b"".join(frames))  # type: ignore[misc] # the stubs leave it out
