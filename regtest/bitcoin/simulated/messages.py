"""Rows of the simulated network as LND's protobuf messages."""

from __future__ import annotations

from typing import Any

from gateway.bolt import bolt11
from gateway.bolt.invoice import Description
from gateway.btc.stubs import lightning_pb2 as pb
from gateway.errors import Rejection
from regtest.bitcoin.simulated.ledger import LndError
from regtest.bitcoin.simulated.network import Network
from regtest.bitcoin.simulated.state import SUCCEEDED, Attempt, Channel, Invoice, Payment


def get_info(network: Network, name: str, p2p: str) -> Any:
    node, tip = network.rows.nodes[name], network.rows.blocks[-1]
    channels = network.channels_of(name)
    active = sum(c.other(name) in network.online for c in channels)
    return pb.GetInfoResponse(
        version=node.version,
        commit_hash="simulated",
        identity_pubkey=node.pubkey,
        alias=node.alias,
        num_active_channels=active,
        num_inactive_channels=len(channels) - active,
        num_peers=active,
        block_height=tip.height,
        block_hash=tip.hash,
        best_header_timestamp=tip.time_ms // 1000,
        synced_to_chain=True,
        synced_to_graph=True,
        testnet=False,
        chains=[pb.Chain(chain="bitcoin", network="regtest")],
        uris=[f"{node.pubkey}@{p2p}"],
    )


def _amount(msat: int) -> Any:
    return pb.Amount(sat=msat // 1000, msat=msat)


def channel_balance(network: Network, name: str) -> Any:
    channels = network.channels_of(name)
    local = sum(c.balance(name) for c in channels)
    remote = sum(c.balance(c.other(name)) for c in channels)
    held = [h for c in channels for _, h in network.pending(c.chan_id)]
    return pb.ChannelBalanceResponse(
        balance=local // 1000,
        local_balance=_amount(local),
        remote_balance=_amount(remote),
        unsettled_local_balance=_amount(sum(h.amount_msat for h in held if h.target == name)),
        unsettled_remote_balance=_amount(sum(h.amount_msat for h in held if h.source == name)),
        pending_open_local_balance=_amount(0),
        pending_open_remote_balance=_amount(0),
    )


def list_channels(network: Network, name: str, *, active_only: bool) -> Any:
    listed = [_channel(network, name, c) for c in network.channels_of(name)]
    return pb.ListChannelsResponse(channels=[c for c in listed if c.active or not active_only])


def _channel(network: Network, name: str, channel: Channel) -> Any:
    peer = channel.other(name)
    held = network.pending(channel.chan_id)
    limits = pb.ChannelConstraints(
        csv_delay=144,
        chan_reserve_sat=channel.reserve_sat,
        dust_limit_sat=354,
        max_pending_amt_msat=channel.capacity_sat * 990,
        min_htlc_msat=1,
        max_accepted_htlcs=483,
    )
    return pb.Channel(
        active=peer in network.online,
        remote_pubkey=network.rows.nodes[peer].pubkey,
        channel_point=channel.funding,
        chan_id=channel.chan_id,
        capacity=channel.capacity_sat,
        local_balance=channel.balance(name) // 1000,
        remote_balance=channel.balance(peer) // 1000,
        unsettled_balance=sum(h.amount_msat for _, h in held) // 1000,
        initiator=name == channel.a,
        local_constraints=limits,
        remote_constraints=limits,
        pending_htlcs=[
            pb.HTLC(
                incoming=h.target == name,
                amount=h.amount_msat // 1000,
                hash_lock=bytes.fromhex(p.hash),
                expiration_height=h.expiry,
                htlc_index=h.htlc_index,
            )
            for p, h in held
        ],
    )


def invoice(row: Invoice) -> Any:
    return pb.Invoice(
        memo=row.memo,
        r_preimage=bytes.fromhex(row.preimage),
        r_hash=bytes.fromhex(row.hash),
        value=row.value_msat // 1000,
        value_msat=row.value_msat,
        settled=row.state == "SETTLED",
        creation_date=row.created_ms // 1000,
        settle_date=row.settled_ms // 1000,
        payment_request=row.payment_request,
        expiry=row.expiry_s,
        cltv_expiry=row.cltv,
        add_index=row.add_index,
        settle_index=row.settle_index,
        amt_paid_msat=_paid(row),
        amt_paid_sat=_paid(row) // 1000,
        payment_addr=bytes.fromhex(row.payment_addr),
        state=pb.Invoice.InvoiceState.Value(row.state),
        htlcs=[
            pb.InvoiceHTLC(
                chan_id=h.chan_id,
                htlc_index=h.htlc_index,
                amt_msat=h.amount_msat,
                accept_height=h.accept_height,
                accept_time=h.accept_ms // 1000,
                resolve_time=h.resolve_ms // 1000,
                expiry_height=h.expiry,
                state=pb.InvoiceHTLCState.Value(h.state),
                mpp_total_amt_msat=h.total_msat,
            )
            for h in row.htlcs
        ],
    )


def _paid(row: Invoice) -> int:
    """LND sets it once a whole set is accepted, and keeps it."""
    if row.state == "ACCEPTED":
        return sum(h.amount_msat for h in row.accepted())
    return sum(h.amount_msat for h in row.htlcs if h.state == "SETTLED")


def payment(network: Network, row: Payment) -> Any:
    """Fees and attempts as LND reports them. Fees count attempts that were not failed."""
    fee = sum(a.hops[0].amount_msat - a.hops[-1].amount_msat for a in row.attempts if a.status == SUCCEEDED)
    return pb.Payment(
        payment_hash=row.hash,
        value=row.amount_msat // 1000,
        value_sat=row.amount_msat // 1000,
        value_msat=row.amount_msat,
        creation_date=row.created_ms // 1000,
        creation_time_ns=row.created_ms * 1_000_000,
        fee=fee // 1000,
        fee_sat=fee // 1000,
        fee_msat=fee,
        payment_preimage=row.preimage or "00" * 32,
        payment_request=row.payment_request,
        status=pb.Payment.PaymentStatus.Value(row.status),
        failure_reason=pb.PaymentFailureReason.Value(row.reason),
        payment_index=row.index,
        htlcs=[_attempt(network, row, a) for a in row.attempts],
    )


def _attempt(network: Network, row: Payment, attempt: Attempt) -> Any:
    hops, nodes = attempt.hops, network.rows.nodes
    message = pb.HTLCAttempt(
        attempt_id=attempt.attempt_id,
        status=pb.HTLCAttempt.HTLCStatus.Value(attempt.status),
        attempt_time_ns=attempt.created_ms * 1_000_000,
        resolve_time_ns=attempt.resolved_ms * 1_000_000,
        route=pb.Route(
            total_time_lock=hops[0].expiry,
            total_amt_msat=hops[0].amount_msat,
            total_amt=hops[0].amount_msat // 1000,
            total_fees_msat=hops[0].amount_msat - hops[-1].amount_msat,
            hops=[
                pb.Hop(
                    chan_id=hop.chan_id,
                    chan_capacity=network.rows.channels[hop.chan_id].capacity_sat,
                    amt_to_forward_msat=after.amount_msat,
                    fee_msat=hop.amount_msat - after.amount_msat,
                    expiry=after.expiry,
                    pub_key=nodes[hop.target].pubkey,
                )
                for hop, after in zip(hops, [*hops[1:], hops[-1]], strict=True)
            ],
        ),
    )
    if attempt.status == SUCCEEDED:
        message.preimage = bytes.fromhex(row.preimage)
    elif attempt.status == "FAILED":
        message.failure.code = pb.Failure.FailureCode.Value(attempt.result)
        message.failure.failure_source_index = attempt.failed_at
    return message


def pay_request(text: str) -> Any:
    read = bolt11.decode(text)
    if isinstance(read, Rejection):
        raise LndError(f"invalid invoice: {read.code}")
    amount = read.amount.value if read.amount is not None else 0
    return pb.PayReq(
        destination=read.payee.hex(),
        payment_hash=read.hashlock.hex(),
        num_satoshis=amount // 1000,
        num_msat=amount,
        timestamp=read.created.value // 1000,
        expiry=read.expiry.value // 1000,
        description=read.description.text if isinstance(read.description, Description) else "",
        cltv_expiry=read.min_final_cltv.value,
        payment_addr=read.payment_secret,
    )
