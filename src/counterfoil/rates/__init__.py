"""Where prices come from: one file a source, each an implementation of `core.ports.RateSource`."""
