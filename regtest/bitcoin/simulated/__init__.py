"""A Lightning network in memory whose nodes answer over LND's own gRPC services."""
