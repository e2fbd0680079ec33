"""Hypothesis strategies for PDUs within the limits of the specification."""

from hypothesis import strategies as st

from smpp import pdu as p
from smpp.constants import Tag

octet = st.integers(0, 255)
tlvs = st.lists(
    st.tuples(st.integers(0, 0xFFFF).filter(lambda tag: tag != Tag.MESSAGE_PAYLOAD), st.binary(max_size=40)),
    max_size=4,
).map(tuple)


def text(limit: int) -> st.SearchStrategy[str]:
    """A C-octet string whose limit includes the NUL."""
    return st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=limit - 1)


def any_pdu() -> st.SearchStrategy[p.Pdu]:
    """Any request or response that the codec can encode."""
    return st.one_of([_build(cls) for cls in CLASSES])


def _build(cls: type[p.Pdu]) -> st.SearchStrategy[p.Pdu]:
    fields: dict[str, st.SearchStrategy[object]] = {"sequence_number": st.integers(0, 0xFFFFFFFF)}
    for field in cls.LAYOUT:
        kinds = {"text": text(field.limit), "octet": octet, "counted": st.binary(max_size=254)}
        fields[field.name] = kinds[field.kind]
    if "tlvs" in cls.__struct_fields__ and cls is not p.SubmitMultiResp:
        fields["tlvs"] = tlvs
    if "body" in cls.__struct_fields__:
        fields["body"] = st.binary(max_size=60)
    if issubclass(cls, p.ShortMessage):
        fields["esm_class"] = st.integers(0, 255).map(lambda value: value & ~0x40)
    return st.builds(cls, **fields)


CLASSES: tuple[type[p.Pdu], ...] = (
    p.BindTransmitter, p.BindReceiver, p.BindTransceiver, p.BindTransmitterResp, p.BindReceiverResp,
    p.BindTransceiverResp, p.Outbind, p.Unbind, p.UnbindResp, p.GenericNack, p.SubmitSm, p.SubmitSmResp,
    p.DeliverSm, p.DeliverSmResp, p.SubmitMulti, p.SubmitMultiResp, p.DataSm, p.DataSmResp, p.QuerySm,
    p.QuerySmResp, p.CancelSm, p.CancelSmResp, p.ReplaceSm, p.ReplaceSmResp, p.EnquireLink, p.EnquireLinkResp,
    p.AlertNotification,
)  # fmt: skip
