"""What the flat dialect of the 0.5 generation adds to the operation table: subscriptions without streams."""
