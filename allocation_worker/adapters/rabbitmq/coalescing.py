"""A connection that writes to its socket once a turn of its loop."""

from typing import Any

import pika


class CoalescingConnection(pika.SelectConnection):
    """pika hands each frame to the kernel by a system call of its own, three a message; this joins them first."""

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
