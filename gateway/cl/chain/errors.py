"""Codes of chain access (docs/errors.md is generated from them)."""

from gateway.errors import Action, Fault, define

DOWN = define(
    "cl.chain.provider_down",
    Fault.ENVIRONMENT,
    Action.RETRY,
    "the chain provider cannot be reached or has ended the connection",
    "Check that the provider runs and that the configuration has its address; the node retries by itself.",
    503,
)
TIMEOUT = define(
    "cl.chain.timeout",
    Fault.ENVIRONMENT,
    Action.RETRY,
    "the chain provider did not answer in time",
    "Check the load and the network of the machine that runs the provider; the node retries by itself.",
    503,
)
MALFORMED = define(
    "cl.chain.malformed",
    Fault.ENVIRONMENT,
    Action.RETRY,
    "the chain provider's answer has a wrong form",
    "Check the provider's version (Ogmios 6, Kupo 2.8 or newer) and that the address is its own.",
    502,
)
NO_CBOR = define(
    "cl.chain.no_transaction_cbor",
    Fault.LOCAL,
    Action.STOP,
    "Ogmios sends blocks without the bytes of their transactions",
    "Start Ogmios with --include-transaction-cbor.",
    502,
)
TOO_LARGE = define(
    "cl.chain.answer_too_large",
    Fault.ENVIRONMENT,
    Action.RETRY,
    "the chain provider's answer is larger than any honest one",
    "Check what answers at the provider's address.",
    502,
)
WRONG_NETWORK = define(
    "cl.chain.wrong_network",
    Fault.LOCAL,
    Action.STOP,
    "the chain provider serves another network",
    "Point the configuration at a provider of the network that this node is set up for.",
    502,
)
LAGGING = define(
    "cl.chain.lagging",
    Fault.ENVIRONMENT,
    Action.RETRY,
    "the index is behind the chain",
    "Wait until Kupo has caught up; if it does not, check its log and its connection to the node.",
    503,
)
BACKWARDS = define(
    "cl.chain.backwards",
    Fault.ENVIRONMENT,
    Action.WARN,
    "the provider's tip went back further than the ledger allows",
    "The provider was exchanged, restored or is synchronising anew. Use it again when it has caught up.",
    502,
)
INCONSISTENT = define(
    "cl.chain.inconsistent",
    Fault.ENVIRONMENT,
    Action.WARN,
    "the provider's answers contradict each other",
    "Do not trust this provider: check its node and its disk, or use another one.",
    502,
)
NO_INTERSECTION = define(
    "cl.chain.no_intersection",
    Fault.ENVIRONMENT,
    Action.STOP,
    "the provider knows none of the blocks that this node has seen",
    "The provider follows another chain. On a new development chain, start with an empty database.",
    502,
)
TOO_DEEP = define(
    "cl.chain.rollback_too_deep",
    Fault.ENVIRONMENT,
    Action.STOP,
    "the chain was rolled back to before the oldest block that this node remembers",
    "This exceeds the ledger's own security parameter: compare this provider with another one before going on.",
    502,
)
REFUSED = define(
    "cl.chain.rpc_refused",
    Fault.ENVIRONMENT,
    Action.RETRY,
    "the chain provider refused a request",
    "See the detail; check the provider's version and configuration.",
    502,
)
SUBMIT_REFUSED = define(
    "cl.chain.submit_refused",
    Fault.LOCAL,
    Action.REFUSE,
    "the ledger refused the transaction",
    "Nothing was spent. The node builds a new transaction on a fresh view; if it repeats, report it with the detail.",
    422,
)
INPUTS_SPENT = define(
    "cl.chain.inputs_spent",
    Fault.ENVIRONMENT,
    Action.RETRY,
    "an input of the transaction is unknown or already spent",
    "Nothing was spent by this transaction, unless it is itself on chain already. The node looks and builds anew.",
    409,
)
MEMPOOL = define(
    "cl.chain.mempool",
    Fault.ENVIRONMENT,
    Action.RETRY,
    "the provider's mempool did not take the transaction",
    "Usually it is full for a moment; the node sends the same bytes again.",
    503,
)
BAD_URL = define(
    "cl.chain.bad_url",
    Fault.LOCAL,
    Action.STOP,
    "the address of a chain provider cannot be used",
    "Use ws:// or wss:// for Ogmios, http:// or https:// for Kupo, Blockfrost and Koios.",
)
RATE_LIMITED = define(
    "cl.chain.rate_limited",
    Fault.ENVIRONMENT,
    Action.RETRY,
    "the chain provider asks for fewer requests",
    "The node waits as long as the provider says. If it repeats, take a larger plan or add a second provider.",
    503,
)
KEY_REFUSED = define(
    "cl.chain.key_refused",
    Fault.LOCAL,
    Action.STOP,
    "the chain provider does not accept our key",
    "Check the key (its file or environment variable), its network, and that the plan has not run out.",
    502,
)
DISAGREE = define(
    "cl.chain.providers_disagree",
    Fault.ENVIRONMENT,
    Action.RETRY,
    "the chain providers contradict each other, and not enough of them agree",
    "See gateway provider status. Nothing new is risked until they agree: remove the provider that is wrong.",
    502,
)
