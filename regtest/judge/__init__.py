"""Second opinions on the embedded devnet: scalus's ledger emulator under Node.js."""
