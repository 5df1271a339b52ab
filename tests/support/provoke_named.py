"""Codes whose own room's tests provoke them against a real server, socket, file or database."""

from tests.support.provoke import proved_by

_API = "tests/unit/api/test_api_server.py::"
proved_by(_API + "test_a_bad_field_is_named", "api.bad_request")
proved_by(_API + "test_pages_of_other_origins_get_nothing", "api.foreign_host")
proved_by(
    _API + "test_an_unknown_path_and_a_bug_have_codes_and_leak_nothing", "api.internal", "api.not_found"
)
proved_by(_API + "test_the_token_file_is_private", "api.token.mode")
proved_by(_API + "test_a_large_body_is_refused_before_it_is_read", "api.too_large")
proved_by(_API + "test_each_route_reaches_the_node_once_and_only_with_the_token", "api.unauthorised")

_B11 = "tests/unit/bolt/test_bolt11.py::"
proved_by(_B11 + "test_bad_amounts", "bolt11.amount")
proved_by(
    _B11 + "test_broken_rules", "bolt11.description", "bolt11.field.malformed", "bolt11.field.missing",
    "bolt11.field.not_minimal", "bolt11.field.padding", "bolt11.field.repeated", "bolt11.field.too_large",
    "bolt11.field.truncated", "bolt11.signature",
)  # fmt: skip
proved_by(_B11 + "test_what_cannot_be_encoded", "bolt11.encode.field")
proved_by(_B11 + "test_signer_is_checked", "bolt11.encode.signature")
proved_by(_B11 + "test_payable", "bolt11.feature.dependency", "bolt11.feature.unknown")
proved_by(_B11 + "test_bad_prefixes", "bolt11.prefix")

_B8 = "tests/unit/bolt/test_bolt8.py::"
proved_by(_B8 + "test_one_flipped_bit_breaks_the_session_for_good", "bolt8.frame.mac")
proved_by(_B8 + "test_message_size", "bolt8.frame.too_long")
proved_by(_B8 + "test_a_changed_act_one_is_refused", "bolt8.handshake.key", "bolt8.handshake.mac")

_DEADLINES = "tests/integration/cl_node/test_deadlines_on_chain.py::"
proved_by(
    _DEADLINES + "test_a_full_mempool_alarms_at_half_the_margin_and_the_claim_still_lands",
    "cl.channel.deadline_near",
)

_BTC = "tests/integration/btc_contract/"
proved_by(
    _BTC + "test_hold_invoices_contract.py::test_the_same_hash_gives_the_same_invoice_or_a_refusal",
    "btc.invoice.exists",
)
proved_by(
    _BTC + "test_hold_invoices_contract.py::test_a_hold_invoice_is_open_accepted_settled",
    "btc.invoice.refused",
)
proved_by(
    _BTC + "test_node_contract.py::test_a_locked_wallet_is_named_and_everything_goes_on_after_unlocking",
    "btc.locked",
)
proved_by(_BTC + "test_odd_answers.py::test_a_stream_that_ends_early_is_a_lost_stream", "btc.stream_ended")

_HOSTILE = "tests/unit/cl_chain/test_chain_hostile_answers.py::"
proved_by(_HOSTILE + "test_a_tip_may_not_go_back_further_than_k", "cl.chain.backwards")
proved_by(_HOSTILE + "test_an_address_of_the_wrong_kind", "cl.chain.bad_url")
proved_by(
    _HOSTILE + "test_what_the_node_does_not_hold_is_dropped_and_what_differs_is_refused",
    "cl.chain.inconsistent",
)
proved_by(_HOSTILE + "test_only_the_ledgers_own_no_is_a_refusal", "cl.chain.inputs_spent")
proved_by(
    _HOSTILE + "test_a_provider_without_our_blocks_is_behind_or_on_another_chain",
    "cl.chain.lagging", "cl.chain.no_intersection",
)  # fmt: skip
proved_by(_HOSTILE + "test_late_answers_are_not_taken_for_later_questions", "cl.chain.timeout")
proved_by(
    _HOSTILE + "test_a_bad_answer_has_its_code_and_field",
    "cl.chain.answer_too_large",
    "cl.chain.malformed",
    "cl.chain.rpc_refused",
)
proved_by(_HOSTILE + "test_a_bad_block_ends_the_stream_with_its_code", "cl.chain.no_transaction_cbor")
proved_by(
    "tests/integration/chain_contract/test_several.py::test_figures_that_only_one_says_are_not_built_on",
    "cl.chain.providers_disagree",
)
proved_by(
    "tests/unit/app/test_provider_settings.py::test_a_bad_key_is_named_and_not_shown", "config.provider_key"
)
_BLOCKFROST = "tests/unit/cl_chain/test_blockfrost_hostile_answers.py::"
proved_by(
    _BLOCKFROST + "test_a_bad_tip_has_its_code_and_field", "cl.chain.key_refused", "cl.chain.rate_limited"
)
_VIEW = "tests/unit/cl_chain/test_chain_view.py::"
proved_by(
    _VIEW + "test_only_k_blocks_are_kept_and_deeper_rollbacks_are_refused", "cl.chain.rollback_too_deep"
)
_CHAIN = "tests/integration/chain_contract/test_chain_contract.py::"
proved_by(_CHAIN + "test_provider_down_and_back", "cl.chain.provider_down")
proved_by(_CHAIN + "test_another_network_is_refused", "cl.chain.wrong_network")
proved_by(_CHAIN + "test_a_lost_answer_is_unknown_and_the_same_bytes_settle_it", "cl.chain.mempool")
proved_by(_CHAIN + "test_submit_tells_spent_inputs_from_other_refusals", "cl.chain.submit_refused")

_KEYS = "tests/unit/cl_signer/test_verify_and_signer.py::"
proved_by(
    _KEYS + "test_keystore_refusals", "cl.keystore.corrupt", "cl.keystore.exists", "cl.keystore.missing",
    "cl.keystore.mode", "cl.keystore.network", "cl.keystore.password",
)  # fmt: skip
proved_by(_KEYS + "test_invoice_signature_and_ecdh", "cl.signer.bad_input", "cl.signer.unknown_key")
proved_by(_KEYS + "test_no_second_amount_lock_or_earlier_timeout", "cl.signer.equivocation")
proved_by(_KEYS + "test_the_guard_survives_a_restart_and_a_torn_line", "cl.signer.guard_corrupt")
proved_by(_KEYS + "test_a_channel_key_signs_only_for_its_channel", "cl.signer.not_our_channel")
proved_by(_KEYS + "test_a_snapshot_never_falls_below_a_signed_one", "cl.signer.regression")

_ENDS = "tests/unit/cl_signer/test_ends.py::"
proved_by(_ENDS + "test_terms_that_give_another_body_are_refused", "cl.l1.end_body")
proved_by(_ENDS + "test_our_own_proposal_gets_every_witness_and_the_same_check", "cl.signer.end")
proved_by(_ENDS + "test_after_an_end_nothing_that_moves_value_is_signed", "cl.signer.ended")

_TCP = "tests/unit/cl_net/test_tcp.py::"
proved_by(_TCP + "test_a_server_that_speaks_something_else", "bolt8.handshake.version", "bolt8.handshake.key")
proved_by(_TCP + "test_a_server_that_never_answers", "cl.net.handshake_timeout")
proved_by(_TCP + "test_spoiled_frames", "cl.net.closed", "cl.net.truncated")
proved_by(_TCP + "test_slow_loris_in_a_message", "cl.net.slow")
_LINK = "tests/unit/cl_net/test_transport_contract.py::"
proved_by(_LINK + "test_wrong_node_id", "bolt8.handshake.short")
proved_by(_LINK + "test_idle_peer_is_cut", "cl.net.idle")
proved_by(_LINK + "test_address_in_use", "cl.net.listen")
proved_by(_LINK + "test_the_largest_message_and_one_more", "cl.net.too_long")
proved_by(_LINK + "test_most_connections", "cl.net.too_many")
proved_by(_LINK + "test_nobody_listens", "cl.net.unreachable")

_SESSION = "tests/unit/cl_wire/test_session.py::"
proved_by(_SESSION + "test_bad_messages_are_dropped_and_counted", "cl.session.breaches")
proved_by(_SESSION + "test_conversation_parity", "cl.session.conversation_parity")
proved_by(
    _SESSION + "test_init_that_does_not_fit", "cl.session.feature", "cl.session.network",
    "cl.session.validator", "cl.session.version",
)  # fmt: skip
proved_by(_SESSION + "test_anything_before_init", "cl.session.init_expected")
proved_by(_SESSION + "test_init_twice", "cl.session.init_repeated")
proved_by(_SESSION + "test_ping_flood", "cl.session.ping_flood")
proved_by(_SESSION + "test_pings_of_ours", "cl.session.pong_late")
proved_by(_SESSION + "test_pong_that_answers_nothing", "cl.session.pong_unasked")

_WIRE = "tests/unit/cl_wire/test_codec.py::"
proved_by(_WIRE + "test_two_bodies_are_refused", "cl.wire.ambiguous")
proved_by(_WIRE + "test_deep_nesting_is_refused", "cl.wire.malformed")
proved_by(_WIRE + "test_each_missing_field_is_named", "cl.wire.missing_field")
proved_by(_WIRE + "test_named_breaches", "cl.wire.out_of_range", "cl.wire.too_long", "cl.wire.wrong_length")
proved_by(_WIRE + "test_truncation_at_every_byte", "cl.wire.truncated", "cl.wire.unknown_type")
proved_by(_WIRE + "test_scope_is_held", "cl.wire.unexpected_field")

proved_by(
    "tests/unit/cl_node/test_swap_questions.py::test_a_peer_that_asks_without_end_is_told_so_and_others_are_answered",
    "swap.asked_too_much",
)

_DAMAGE = "tests/unit/store/test_store_sqlite_damage.py::"
proved_by(_DAMAGE + "test_a_url_that_cannot_be_used", "store.bad_url")
proved_by(_DAMAGE + "test_a_writer_from_outside_is_waited_for_and_then_named", "store.busy")
proved_by(_DAMAGE + "test_a_disk_that_refuses_to_write_is_named", "store.commit_unknown", "store.io")
proved_by(_DAMAGE + "test_damage_is_named_before_anything_is_read", "store.corrupt")
proved_by(_DAMAGE + "test_a_full_disk_is_named_and_passes", "store.disk_full")
proved_by(_DAMAGE + "test_a_database_of_another_program_is_left_alone", "store.foreign_database")
proved_by(_DAMAGE + "test_a_place_that_cannot_be_written", "store.read_only")
proved_by(_DAMAGE + "test_an_older_copy_is_refused_until_merged", "store.stale_copy")
proved_by(_DAMAGE + "test_a_server_that_is_not_there", "store.unreachable")
_STORE = "tests/integration/store/test_store_contract.py::"
proved_by(_STORE + "test_a_stale_version_is_a_conflict", "store.conflict")
proved_by(_STORE + "test_history_cannot_be_changed", "store.exists", "store.failed")
proved_by(_STORE + "test_postgres_gone_and_back", "store.fenced")
proved_by(_STORE + "test_the_signer_guard_knows_one_payload_for_an_index", "store.guard_conflict")
proved_by(_STORE + "test_a_hash_has_one_live_swap", "store.hash_live")
proved_by(_STORE + "test_a_second_process_is_refused", "store.in_use")
proved_by(_STORE + "test_a_newer_database_is_refused", "store.newer_database")
proved_by(_STORE + "test_another_network_is_refused", "store.wrong_network")
