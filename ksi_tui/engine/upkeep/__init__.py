"""What must be done again and again while the engine works."""
