"""What a store tells others: metrics, traces, logs and alerts, all read from it, none from the way of a request."""
