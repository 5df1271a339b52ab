"""R3. Which channel records the store holds, by tag. A changed class needs a new version and an upgrade."""

from __future__ import annotations

from gateway.cl.channel import effects as f
from gateway.cl.channel import events as e
from gateway.cl.channel import state as s
from gateway.store.codec import Codecs


def register(codecs: Codecs) -> None:
    codecs.register_all(
        "channel.state", s.Proposing, s.Funding, s.Normal, s.Ending, s.EndProposed, s.EndSigned, s.EndHeld, s.Closing,
        s.OnChain, s.Ended, s.Abandoned,
    )  # fmt: skip
    # version 1 did not say whose wish it was: then nobody builds a common end, and each may close alone
    codecs.register(s.Draining, "channel.state.Draining", 2, {1: lambda old: {**old, "by_us": False}})
    codecs.register(e.DrainStarted, "channel.event.DrainStarted", 2, {1: lambda old: {**old, "by_us": False}})
    codecs.register_all(
        "channel.event", e.OpenProposed, e.OpenAgreed, e.OpenAccepted, e.OpenAbandoned, e.ChannelOpened,
        e.OutputChanged, e.ChequeIssued, e.ChequeReceived, e.ChequeExtended, e.ChequeProlonged,
        e.ChequeRevealed, e.CancelWasSeen, e.ChequeDied, e.HeldFulfilled,
        e.HeldCancelled, e.HeldSettled, e.SnapshotSigned, e.SnapshotHeld,
        e.ChannelFrozen, e.EndBegun, e.EndOffered, e.EndAccepted, e.EndCountersigned, e.CloseDecided, e.StageSeen,
        e.ChannelEnded, e.HistoryFolded,
    )  # fmt: skip
    codecs.register_all(
        "channel.effect", f.Send, f.SendCheque, f.SendSnapshot, f.SendCancel, f.PublishOpening, f.TellPayout,
        f.BuildEnd, f.SignEnd, f.PublishEnd, f.NoticeLocked,
        f.NoticeExtended, f.NoticeExtensionAsked, f.NoticePreimage, f.NoticeDead, f.NoticeSettled,
        f.NoticeReleased, f.Alarm,
    )  # fmt: skip
