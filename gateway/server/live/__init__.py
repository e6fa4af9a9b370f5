"""What operators look at while the gateway serves: the last requests, counters, the state of all."""
