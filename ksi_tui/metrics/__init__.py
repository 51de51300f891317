"""What a running engine did and how it is, for Prometheus."""
