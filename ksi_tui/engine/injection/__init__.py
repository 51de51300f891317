"""Results that go from one session into the prompts of others."""
