"""Examples that the project makes itself: small, deterministic, learnable, in plain English."""
