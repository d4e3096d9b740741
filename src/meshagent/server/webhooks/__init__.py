"""Events for programs outside the rooms, and calls that bring services into them (protocol 15)."""
