"""R3. Which channel records the store holds, by tag. A changed class needs a new version and an upgrade."""

from __future__ import annotations

from gateway.cl.channel import effects as f
from gateway.cl.channel import events as e
from gateway.cl.channel import state as s
from gateway.store.codec import Codecs


def register(codecs: Codecs) -> None:
    codecs.register_all(
        "channel.state", s.Proposing, s.Funding, s.Normal, s.Draining, s.Closing, s.OnChain, s.Ended, s.Abandoned,
    )  # fmt: skip
    codecs.register_all(
        "channel.event", e.OpenProposed, e.OpenAgreed, e.OpenAccepted, e.OpenAbandoned, e.ChannelOpened,
        e.OutputChanged, e.ChequeIssued, e.ChequeReceived, e.ChequeExtended, e.ChequeProlonged,
        e.ChequeRevealed, e.CancelWasSeen, e.ChequeDied, e.HeldFulfilled,
        e.HeldCancelled, e.HeldSettled, e.SnapshotSigned, e.SnapshotHeld,
        e.ChannelFrozen, e.DrainStarted, e.CloseDecided, e.StageSeen, e.ChannelEnded, e.HistoryFolded,
    )  # fmt: skip
    codecs.register_all(
        "channel.effect", f.Send, f.SendCheque, f.SendSnapshot, f.SendCancel, f.PublishOpening, f.NoticeLocked,
        f.NoticeExtended, f.NoticeExtensionAsked, f.NoticePreimage, f.NoticeDead, f.NoticeSettled,
        f.NoticeReleased, f.Alarm,
    )  # fmt: skip
