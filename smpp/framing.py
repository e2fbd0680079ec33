"""A byte stream cut into SMPP frames, and the one error of the codec (SMPP v3.4, section 3.2); sans-IO."""

from collections.abc import Iterator

from smpp.constants import HEADER_OCTETS, MAX_PDU_OCTETS, CommandStatus


class PduError(Exception):
    """Octets that are no PDU, or a value that cannot be one.

    `framing` is true if the stream's next frame cannot be found any more, so that the link has to end.
    """

    def __init__(
        self,
        text: str,
        *,
        command_status: int = CommandStatus.ESME_RINVCMDLEN,
        command_id: int = 0,
        sequence_number: int = 0,
        framing: bool = False,
    ) -> None:
        super().__init__(text)
        self.command_status = command_status
        self.command_id = command_id
        self.sequence_number = sequence_number
        self.framing = framing


class Splitter:
    """Cuts a byte stream into frames, whatever pieces it arrives in; holds at most one unfinished frame."""

    def __init__(self, max_pdu_octets: int = MAX_PDU_OCTETS) -> None:
        self._max = max_pdu_octets
        self._pending = bytearray()
        self._needed = 4

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the frames that `data` completes, in order; the iterator must be used up.

        Raises PduError (framing) when command_length is under 16 or over the cap (section 3.2).
        """
        if self._pending:
            self._pending += data
            if len(self._pending) < self._needed:
                return
            data = bytes(self._pending)
            self._pending.clear()
        position, end = 0, len(data)
        while end - position >= 4:
            length = int.from_bytes(data[position : position + 4], "big")
            if not HEADER_OCTETS <= length <= self._max:
                raise _bad_length(data[position : position + HEADER_OCTETS], length)
            if end - position < length:
                self._needed = length
                break
            yield data[position : position + length]
            position += length
        else:
            self._needed = 4
        self._pending += data[position:]

    @property
    def buffered(self) -> int:
        """Octets of an unfinished frame that are being held."""
        return len(self._pending)


def _bad_length(header: bytes, length: int) -> PduError:
    whole = len(header) == HEADER_OCTETS
    return PduError(
        f"command_length {length} is outside the limits",
        command_id=int.from_bytes(header[4:8], "big") if whole else 0,
        sequence_number=int.from_bytes(header[12:16], "big") if whole else 0,
        framing=True,
    )
