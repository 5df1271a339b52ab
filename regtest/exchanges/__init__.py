"""Simulated public tickers of the exchanges, and an operator's oracle, on one local port."""
